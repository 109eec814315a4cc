//! Housekeeping of tracked connections: what has expired, and which indices are still named.

use std::collections::BTreeSet;

use penstock_abi::{Addr, Flow, FlowKey, Protocol, timeout};

use crate::Error;
use crate::maps::Tables;
use crate::sys::monotonic_coarse_ns;
use crate::table::Hash;

/// Now, by the clock that flows are stamped with.
#[must_use]
pub fn now() -> u32 {
    timeout::stamp(monotonic_coarse_ns())
}

/// What one pass over the flows found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Halves seen.
    pub seen: usize,
    /// Halves removed since they had been idle for too long.
    pub expired: usize,
    /// Halves of UDP flows removed since their backend is gone.
    pub orphaned: usize,
    /// Halves of IPv4 that stay.
    pub left4: usize,
    /// Halves of IPv6 that stay.
    pub left6: usize,
    /// Backend indices that flows of IPv4 still name.
    pub backends4: BTreeSet<u32>,
    /// Backend indices that flows of IPv6 still name.
    pub backends6: BTreeSet<u32>,
    /// Next-hop indices that flows still name as the way back to their client.
    pub next_hops: BTreeSet<u32>,
}

/// Passes over all flows: removes what has expired at `now` and the UDP flows of dead backends, and tells what the others
/// name.
///
/// An index that is in no set, that was out of the tables for a grace period before this call, and that the result does
/// not have, is named by nothing.
///
/// # Errors
/// [`Error::System`].
pub fn sweep(
    tables: &Tables,
    now: u32,
    dead4: &BTreeSet<u32>,
    dead6: &BTreeSet<u32>,
) -> Result<Swept, Error> {
    let mut swept = Swept::default();
    let mut backends = BTreeSet::new();
    sweep_family(&tables.flows4, now, dead4, &mut backends, &mut swept)?;
    swept.left4 = swept.seen - swept.expired - swept.orphaned;
    swept.backends4 = std::mem::take(&mut backends);
    sweep_family(&tables.flows6, now, dead6, &mut backends, &mut swept)?;
    swept.left6 = swept.seen - swept.expired - swept.orphaned - swept.left4;
    swept.backends6 = backends;
    Ok(swept)
}

fn sweep_family<A: Addr>(
    flows: &Hash<FlowKey<A>, Flow<A>>,
    now: u32,
    dead: &BTreeSet<u32>,
    backends: &mut BTreeSet<u32>,
    swept: &mut Swept,
) -> Result<(), Error>
where
    FlowKey<A>: penstock_abi::Plain,
    Flow<A>: penstock_abi::Plain,
{
    let mut doomed = Vec::new();
    flows.for_each(|key, flow| {
        swept.seen += 1;
        match fate(key.protocol, &flow, now, dead) {
            Fate::Stays => {
                backends.insert(flow.backend);
                swept.next_hops.insert(flow.client_hop);
            }
            Fate::Expired => {
                swept.expired += 1;
                doomed.push(key);
            }
            Fate::Orphaned => {
                swept.orphaned += 1;
                doomed.push(key);
            }
        }
    })?;
    flows.remove_all(&doomed).map(drop)
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Expired,
    Orphaned,
}

fn fate<A>(protocol: Protocol, flow: &Flow<A>, now: u32, dead: &BTreeSet<u32>) -> Fate {
    if timeout::expired(protocol, flow.state, flow.last_seen, now) {
        Fate::Expired
    } else if protocol == Protocol::UDP && dead.contains(&flow.backend) {
        Fate::Orphaned
    } else {
        Fate::Stays
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_abi::{Addr4, TcpState};

    fn flow(backend: u32, state: u8) -> Flow<Addr4> {
        Flow { backend, state, last_seen: 1000, ..Flow::default() }
    }

    #[test]
    fn a_flow_expires_by_the_time_of_its_state() {
        let dead = BTreeSet::new();
        let idle = timeout::UDP_UNREPLIED;
        assert_eq!(fate(Protocol::UDP, &flow(1, 0), 1000 + idle, &dead), Fate::Stays);
        assert_eq!(fate(Protocol::UDP, &flow(1, 0), 1001 + idle, &dead), Fate::Expired);
        assert_eq!(fate(Protocol::UDP, &flow(1, TcpState::REPLIED), 1001 + idle, &dead), Fate::Stays);
    }

    #[test]
    fn a_dead_backend_keeps_its_tcp_flows_and_loses_its_udp_flows() {
        let dead = BTreeSet::from([7]);
        assert_eq!(fate(Protocol::UDP, &flow(7, 0), 1000, &dead), Fate::Orphaned);
        assert_eq!(fate(Protocol::TCP, &flow(7, TcpState::REPLIED), 1000, &dead), Fate::Stays);
        assert_eq!(fate(Protocol::UDP, &flow(8, 0), 1000, &dead), Fate::Stays);
    }
}
