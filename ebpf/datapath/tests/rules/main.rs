//! The rules, packet by packet and call by call, over tables in memory: scenes told one by one, each in both families, and
//! random sequences held against a reference.

mod ageing;
mod agreement;
mod flows;
mod node_traffic;
mod packets;
mod replay;
mod sockets;
mod support;
mod unserved;
