//! The rules, packet by packet, over tables in memory: scenes told one by one, and random ones held against a reference.

mod agreement;
mod replay;
mod support;
