//! The maps by name, and how many elements they have where nothing else is asked for.
//!
//! A name is also the name of the pin: `/sys/fs/bpf/penstock/v<SCHEMA>/<name>`. The kernel keeps 15 bytes of a name.

/// Hash: [`crate::FrontendKey`]`<Addr4>` to service index (`u32`). Written by the agent.
pub const FRONTENDS4: &str = "frontends4";
/// Hash: [`crate::FrontendKey`]`<Addr6>` to service index (`u32`). Written by the agent.
pub const FRONTENDS6: &str = "frontends6";
/// Array, mapped: service index to [`crate::Service`]. Written by the agent.
pub const SERVICES: &str = "services";
/// Array, mapped: slot to backend index (`u32`). Written by the agent.
pub const SLOTS: &str = "slots";
/// Array, mapped: backend index to [`crate::Backend`]`<Addr4>`. Written by the agent.
pub const BACKENDS4: &str = "backends4";
/// Array, mapped: backend index to [`crate::Backend`]`<Addr6>`. Written by the agent.
pub const BACKENDS6: &str = "backends6";
/// Array, mapped: index to [`crate::NextHop`]. Written by the agent.
pub const NEXT_HOPS: &str = "next_hops";
/// Hash: address of a pod on this node ([`crate::Addr4`]) to next-hop index (`u32`). Written by the agent.
pub const ENDPOINTS4: &str = "endpoints4";
/// Hash: address of a pod on this node ([`crate::Addr6`]) to next-hop index (`u32`). Written by the agent.
pub const ENDPOINTS6: &str = "endpoints6";
/// LRU hash: [`crate::FlowKey`]`<Addr4>` to [`crate::Flow`]`<Addr4>`. Written by the programs.
pub const FLOWS4: &str = "flows4";
/// LRU hash: [`crate::FlowKey`]`<Addr6>` to [`crate::Flow`]`<Addr6>`. Written by the programs.
pub const FLOWS6: &str = "flows6";
/// Socket storage: [`crate::SocketPeer`]`<Addr4>`. Written by the programs.
pub const SOCKETS4: &str = "sockets4";
/// Socket storage: [`crate::SocketPeer`]`<Addr6>`. Written by the programs.
pub const SOCKETS6: &str = "sockets6";
/// LRU hash: [`crate::UdpPeerKey`]`<Addr4>` to [`crate::UdpPeer`]`<Addr4>`. Written by the programs.
pub const UDP_PEERS4: &str = "udp_peers4";
/// LRU hash: [`crate::UdpPeerKey`]`<Addr6>` to [`crate::UdpPeer`]`<Addr6>`. Written by the programs.
pub const UDP_PEERS6: &str = "udp_peers6";
/// Per-CPU array: service index to [`crate::ServiceCount`]. Written by the programs.
pub const SERVICE_COUNTS: &str = "service_counts";
/// Per-CPU array: [`crate::Reason`] to [`crate::DropCount`]. Written by the programs.
pub const DROPS: &str = "drops";
/// Per-CPU array: [`crate::Counter`] to `u64`. Written by the programs.
pub const COUNTERS: &str = "counters";
/// Ring buffer of [`crate::Event`]. Written by the programs.
pub const EVENTS: &str = "events";
/// Array of one [`crate::Config`], mapped. Written by the agent.
pub const CONFIG: &str = "config";
/// Hash, not preallocated: service index (`u32`) to [`crate::ServiceName`]. Written by the agent, read by people only:
/// the programs do not have it.
pub const SERVICE_NAMES: &str = "service_names";

/// Elements of the frontends tables, each.
pub const MAX_FRONTENDS: u32 = 65_536;
/// Elements of the services table and of the tables by service index.
pub const MAX_SERVICES: u32 = 65_536;
/// Elements of the slots table: room for every backend twice, since a changed set is written beside the old one.
pub const MAX_SLOTS: u32 = 524_288;
/// Elements of the backends tables, each.
pub const MAX_BACKENDS: u32 = 262_144;
/// Elements of the next-hops table.
pub const MAX_NEXT_HOPS: u32 = 16_384;
/// Elements of the endpoints tables, each.
pub const MAX_ENDPOINTS: u32 = 4_096;
/// Elements of the flows tables, each: two for a connection.
pub const MAX_FLOWS: u32 = 524_288;
/// Elements of the unconnected-UDP tables, each.
pub const MAX_UDP_PEERS: u32 = 65_536;
/// Bytes of the events ring.
pub const EVENTS_BYTES: u32 = 262_144;
