//! The maps of the minimal programs, of the sizes of Penstock's.

use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, SkStorage};
use aya_ebpf::macros::btf_map;
use penstock_abi::{Addr4, Addr6, FlowKey, FrontendKey};
use yardsticks::{
    MAX_BACKENDS, MAX_FLOWS, MAX_FRONTENDS, MinimalBackend, MinimalFlow, MinimalPeer, MinimalService,
};

/// `BPF_F_MMAPABLE` (kernel 5.5): the benchmark writes the array through a mapping.
pub(crate) const MMAPABLE: usize = 1 << 10;

#[btf_map(name = "frontends4")]
pub(crate) static FRONTENDS4: HashMap<FrontendKey<Addr4>, MinimalService, { MAX_FRONTENDS as usize }> =
    HashMap::new();
#[btf_map(name = "frontends6")]
pub(crate) static FRONTENDS6: HashMap<FrontendKey<Addr6>, MinimalService, { MAX_FRONTENDS as usize }> =
    HashMap::new();
#[btf_map(name = "backends4")]
pub(crate) static BACKENDS4: Array<MinimalBackend<Addr4>, { MAX_BACKENDS as usize }, MMAPABLE> = Array::new();
#[btf_map(name = "backends6")]
pub(crate) static BACKENDS6: Array<MinimalBackend<Addr6>, { MAX_BACKENDS as usize }, MMAPABLE> = Array::new();
#[btf_map(name = "flows4")]
pub(crate) static FLOWS4: LruHashMap<FlowKey<Addr4>, MinimalFlow, { MAX_FLOWS as usize }> = LruHashMap::new();
#[btf_map(name = "peers4")]
pub(crate) static PEERS4: SkStorage<MinimalPeer<Addr4>> = SkStorage::new();
#[btf_map(name = "peers6")]
pub(crate) static PEERS6: SkStorage<MinimalPeer<Addr6>> = SkStorage::new();
