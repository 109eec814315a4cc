//! The tables as BPF maps.
#![expect(unsafe_code, reason = "map values are reached through pointers that the kernel gives")]

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::btf_map;
use penstock_abi::{
    Addr, Addr4, Addr6, Backend, Config, Counter, DropCount, Event, Flow, FlowKey, FrontendKey, NextHop,
    Reason, Selection, Service, ServiceCount, SocketPeer, UdpPeer, UdpPeerKey, maps, timeout,
};
use penstock_datapath::{FlowCell, Inserted, NodeTables, Tables, V4, V6};

/// `BPF_F_MMAPABLE` (kernel 5.5): the agent writes these arrays through a mapping.
const MMAPABLE: usize = 1 << 10;
/// `EEXIST`, as helpers return it.
const EEXIST: i32 = -17;

// The sizes are defaults: the agent creates the maps at the sizes that it is told.
#[btf_map(name = "frontends4")]
static FRONTENDS4: HashMap<FrontendKey<Addr4>, u32, { maps::MAX_FRONTENDS as usize }> = HashMap::new();
#[btf_map(name = "frontends6")]
static FRONTENDS6: HashMap<FrontendKey<Addr6>, u32, { maps::MAX_FRONTENDS as usize }> = HashMap::new();
#[btf_map(name = "services")]
static SERVICES: Array<Service, { maps::MAX_SERVICES as usize }, MMAPABLE> = Array::new();
#[btf_map(name = "slots")]
static SLOTS: Array<u32, { maps::MAX_SLOTS as usize }, MMAPABLE> = Array::new();
#[btf_map(name = "backends4")]
static BACKENDS4: Array<Backend<Addr4>, { maps::MAX_BACKENDS as usize }, MMAPABLE> = Array::new();
#[btf_map(name = "backends6")]
static BACKENDS6: Array<Backend<Addr6>, { maps::MAX_BACKENDS as usize }, MMAPABLE> = Array::new();
#[btf_map(name = "next_hops")]
static NEXT_HOPS: Array<NextHop, { maps::MAX_NEXT_HOPS as usize }, MMAPABLE> = Array::new();
#[btf_map(name = "endpoints4")]
static ENDPOINTS4: HashMap<Addr4, u32, { maps::MAX_ENDPOINTS as usize }> = HashMap::new();
#[btf_map(name = "endpoints6")]
static ENDPOINTS6: HashMap<Addr6, u32, { maps::MAX_ENDPOINTS as usize }> = HashMap::new();
#[btf_map(name = "flows4")]
static FLOWS4: LruHashMap<FlowKey<Addr4>, Flow<Addr4>, { maps::MAX_FLOWS as usize }> = LruHashMap::new();
#[btf_map(name = "flows6")]
static FLOWS6: LruHashMap<FlowKey<Addr6>, Flow<Addr6>, { maps::MAX_FLOWS as usize }> = LruHashMap::new();
#[btf_map(name = "sockets4")]
pub(crate) static SOCKETS4: SkStorage<SocketPeer<Addr4>> = SkStorage::new();
#[btf_map(name = "sockets6")]
pub(crate) static SOCKETS6: SkStorage<SocketPeer<Addr6>> = SkStorage::new();
#[btf_map(name = "udp_peers4")]
static UDP_PEERS4: LruHashMap<UdpPeerKey<Addr4>, UdpPeer<Addr4>, { maps::MAX_UDP_PEERS as usize }> =
    LruHashMap::new();
#[btf_map(name = "udp_peers6")]
static UDP_PEERS6: LruHashMap<UdpPeerKey<Addr6>, UdpPeer<Addr6>, { maps::MAX_UDP_PEERS as usize }> =
    LruHashMap::new();
#[btf_map(name = "service_counts")]
static SERVICE_COUNTS: PerCpuArray<ServiceCount, { maps::MAX_SERVICES as usize }> = PerCpuArray::new();
#[btf_map(name = "drops")]
static DROPS: PerCpuArray<DropCount, { Reason::COUNT as usize }> = PerCpuArray::new();
#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<u64, { Counter::COUNT as usize }> = PerCpuArray::new();
#[btf_map(name = "events")]
static EVENTS: RingBuf<Event, { maps::EVENTS_BYTES as usize }> = RingBuf::new();
#[btf_map(name = "config")]
static CONFIG: Array<Config, 1, MMAPABLE> = Array::new();

/// The node's tables.
pub(crate) struct Kernel;

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper reads a clock (kernel 5.11).
    unsafe { bpf_ktime_get_coarse_ns() }
}

impl NodeTables for Kernel {
    #[inline(always)]
    fn selection(&self, service: u32) -> Option<Selection> {
        let service = SERVICES.get_ptr(service)?;
        // SAFETY: the pointer is to an element of the array, and stays so. The agent replaces the word by one aligned
        // store, and this is one aligned load: volatile, so that it is not done twice.
        Some(unsafe { addr_of!((*service).cluster).read_volatile() })
    }

    #[inline(always)]
    fn slot(&self, slot: u32) -> Option<u32> {
        let slot = SLOTS.get_ptr(slot)?;
        // SAFETY: as for the word above.
        Some(unsafe { slot.read_volatile() })
    }

    #[inline(always)]
    fn next_hop(&self, index: u32) -> Option<NextHop> {
        NEXT_HOPS.get(index).copied()
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        timeout::stamp(now_ns())
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper only returns a word.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn count_flow(&self, service: u32) {
        if let Some(count) = SERVICE_COUNTS.get_ptr_mut(service) {
            // SAFETY: the element is this CPU's own. A socket hook may be preempted here, and a count be lost: it is a count.
            unsafe { (*count).flows += 1 }
        }
    }

    #[inline(always)]
    fn count_unserved(&self, service: u32) {
        if let Some(count) = SERVICE_COUNTS.get_ptr_mut(service) {
            // SAFETY: the element is this CPU's own; see `count_flow`.
            unsafe { (*count).unserved += 1 }
        }
    }

    #[inline(always)]
    fn count_drop(&self, reason: Reason, bytes: u32) {
        if let Some(count) = DROPS.get_ptr_mut(reason as u32) {
            // SAFETY: the element is this CPU's own; see `count_flow`.
            unsafe {
                (*count).packets += 1;
                (*count).bytes += u64::from(bytes);
            }
        }
    }

    #[inline(always)]
    fn count(&self, counter: Counter) {
        if let Some(count) = COUNTERS.get_ptr_mut(counter as u32) {
            // SAFETY: the element is this CPU's own; see `count_flow`.
            unsafe { *count += 1 }
        }
    }

    #[inline(always)]
    fn through_stack(&self) -> bool {
        let Some(config) = CONFIG.get_ptr(0) else { return false };
        // SAFETY: the pointer is to the table's one element, and a word is loaded at once.
        unsafe { addr_of!((*config).through_stack).read_volatile() != 0 }
    }

    #[inline(always)]
    fn samples_event(&self) -> bool {
        let Some(config) = CONFIG.get_ptr(0) else { return false };
        // SAFETY: as for the word above.
        let one_in = unsafe { addr_of!((*config).event_sample).read_volatile() };
        one_in != 0 && (u64::from(self.random()) * u64::from(one_in)) >> 32 == 0
    }

    #[inline(always)]
    fn record(&self, event: Event) {
        let Some(mut entry) = EVENTS.reserve(0) else {
            self.count(Counter::EventLost);
            return;
        };
        entry.write(Event { time: now_ns(), ..event });
        entry.submit(0);
    }
}

/// An element of a flows table.
pub(crate) struct Cell<A>(*mut Flow<A>);

impl<A> Clone for Cell<A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A> Copy for Cell<A> {}

impl<A: Addr> FlowCell<A> for Cell<A> {
    #[inline(always)]
    fn read(self) -> Flow<A> {
        let flow = self.0;
        // SAFETY: the pointer is to an element of the table, whose memory stays mapped while the program runs. The kernel
        // may recycle the element meanwhile: so each field is read once, and the tag after all others.
        unsafe {
            let copy = Flow {
                tag: 0,
                src: addr_of!((*flow).src).read_volatile(),
                dst: addr_of!((*flow).dst).read_volatile(),
                sport: addr_of!((*flow).sport).read_volatile(),
                dport: addr_of!((*flow).dport).read_volatile(),
                backend: addr_of!((*flow).backend).read_volatile(),
                generation: addr_of!((*flow).generation).read_volatile(),
                client_hop: addr_of!((*flow).client_hop).read_volatile(),
                last_seen: addr_of!((*flow).last_seen).read_volatile(),
                kind: addr_of!((*flow).kind).read_volatile(),
                state: addr_of!((*flow).state).read_volatile(),
                _pad: 0,
            };
            Flow { tag: addr_of!((*flow).tag).read_volatile(), ..copy }
        }
    }

    #[inline(always)]
    fn set_last_seen(self, stamp: u32) {
        // SAFETY: one aligned store into an element; in one that was recycled it ages another flow by nothing.
        unsafe { addr_of_mut!((*self.0).last_seen).write_volatile(stamp) }
    }

    #[inline(always)]
    fn set_state(self, state: u8) {
        // SAFETY: one store of a byte into an element, as above.
        unsafe { addr_of_mut!((*self.0).state).write_volatile(state) }
    }
}

#[inline(always)]
fn inserted(result: Result<(), i32>) -> Inserted {
    match result {
        Ok(()) => Inserted::Yes,
        Err(EEXIST) => Inserted::Exists,
        Err(_) => Inserted::Full,
    }
}

/// The two families' tables differ by name alone.
macro_rules! family {
    ($family:ty, $addr:ty, $frontends:ident, $backends:ident, $endpoints:ident, $flows:ident, $udp:ident) => {
        impl Tables<$family> for Kernel {
            type FlowCell = Cell<$addr>;

            #[inline(always)]
            fn frontend(&self, key: &FrontendKey<$addr>) -> Option<u32> {
                // SAFETY: the value is one aligned word, copied at once.
                unsafe { $frontends.get_ptr(key).map(|index| index.read_volatile()) }
            }

            #[inline(always)]
            fn backend(&self, index: u32) -> Option<Backend<$addr>> {
                let backend = $backends.get_ptr(index)?;
                // SAFETY: the pointer is to an element of the array. It is immutable while anyone can name its index, but
                // for two fields that are replaced by single stores: each is read once.
                unsafe {
                    Some(Backend {
                        addr: (*backend).addr,
                        port: (*backend).port,
                        protocol: (*backend).protocol,
                        member: addr_of!((*backend).member).read_volatile(),
                        service: (*backend).service,
                        next_hop: addr_of!((*backend).next_hop).read_volatile(),
                        generation: (*backend).generation,
                    })
                }
            }

            #[inline(always)]
            fn endpoint(&self, addr: &$addr) -> Option<u32> {
                // SAFETY: the value is one aligned word, copied at once.
                unsafe { $endpoints.get_ptr(addr).map(|index| index.read_volatile()) }
            }

            #[inline(always)]
            fn flow(&self, key: &FlowKey<$addr>) -> Option<Cell<$addr>> {
                $flows.get_ptr_mut(key).map(Cell)
            }

            #[inline(always)]
            fn insert_flow(&self, key: &FlowKey<$addr>, flow: &Flow<$addr>) -> Inserted {
                inserted($flows.insert(key, flow, BPF_NOEXIST.into()))
            }

            #[inline(always)]
            fn remove_flow(&self, key: &FlowKey<$addr>) {
                // That it was not there is as good.
                let _ = $flows.remove(key);
            }

            #[inline(always)]
            fn udp_peer(&self, key: &UdpPeerKey<$addr>) -> Option<UdpPeer<$addr>> {
                let peer = $udp.get_ptr(key)?;
                // SAFETY: an element of an LRU table, which the kernel may recycle meanwhile: the tag is read last.
                unsafe {
                    let copy = UdpPeer {
                        tag: 0,
                        frontend: addr_of!((*peer).frontend).read_volatile(),
                        port: addr_of!((*peer).port).read_volatile(),
                        _pad: 0,
                    };
                    Some(UdpPeer { tag: addr_of!((*peer).tag).read_volatile(), ..copy })
                }
            }

            #[inline(always)]
            fn set_udp_peer(&self, key: &UdpPeerKey<$addr>, peer: &UdpPeer<$addr>) {
                // Where it fails, the answer comes from the backend's own address: the next one may do better.
                let _ = $udp.insert(key, peer, 0);
            }
        }
    };
}
family!(V4, Addr4, FRONTENDS4, BACKENDS4, ENDPOINTS4, FLOWS4, UDP_PEERS4);
family!(V6, Addr6, FRONTENDS6, BACKENDS6, ENDPOINTS6, FLOWS6, UDP_PEERS6);
