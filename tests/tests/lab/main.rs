//! Penstock across namespaces, with real sockets. Needs root rights.

mod wires;
