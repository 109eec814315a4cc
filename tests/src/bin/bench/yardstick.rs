//! The yardstick programs, loaded.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aya::EbpfLoader;
use aya::programs::Program as Loaded;
use penstock_abi::{Addr, Addr4, Addr6, FrontendKey, Plain};
use penstock_kernel::sys::{Map, Program, Update};
use penstock_kernel::table::{Hash, MappedArray};
use yardsticks::{MinimalBackend, MinimalService, Scene};

/// Names the object, as Penstock's is named by `PENSTOCK_BPF_OBJECT`.
const OBJECT: &str = "PENSTOCK_YARDSTICKS_OBJECT";
const MAPS: [&str; 7] = ["frontends4", "frontends6", "backends4", "backends6", "flows4", "scene", "targets"];

/// The programs and their tables.
pub(crate) struct Yardsticks {
    programs: BTreeMap<String, Program>,
    pub(crate) frontends4: Hash<FrontendKey<Addr4>, MinimalService>,
    pub(crate) frontends6: Hash<FrontendKey<Addr6>, MinimalService>,
    pub(crate) backends4: MappedArray<MinimalBackend<Addr4>>,
    pub(crate) backends6: MappedArray<MinimalBackend<Addr6>>,
    pub(crate) scene: MappedArray<Scene>,
    targets: Map,
}

impl Yardsticks {
    /// Loads all programs. Their maps are pinned in a folder of the bpffs, which is made.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let path = std::env::var_os(OBJECT).map(PathBuf::from).with_context(|| {
            format!("{OBJECT} does not name the yardsticks' object: start this with `cargo xtask bench`")
        })?;
        let object = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut loader = EbpfLoader::new();
        loader.allow_unsupported_maps();
        for map in MAPS {
            loader.map_pin_path(map, folder.join(map));
        }
        let mut ebpf = loader.load(&object).context("loading the yardsticks")?;
        let mut programs = BTreeMap::new();
        for (name, program) in ebpf.programs_mut() {
            let fd = load(program).with_context(|| format!("loading the yardstick {name}"))?;
            programs.insert(name.to_owned(), Program::from(fd));
        }
        Ok(Self {
            programs,
            frontends4: Hash::open(folder, "frontends4")?,
            frontends6: Hash::open(folder, "frontends6")?,
            backends4: MappedArray::open(folder, "backends4")?,
            backends6: MappedArray::open(folder, "backends6")?,
            scene: MappedArray::open(folder, "scene")?,
            targets: Map::open(&folder.join("targets")).context("opening the map of targets")?,
        })
    }

    /// A program by its name.
    pub(crate) fn program(&self, name: &str) -> Result<&Program> {
        self.programs.get(name).with_context(|| format!("the object has no program {name}"))
    }

    /// Puts a program before the wrapper, at a place of the target's map.
    pub(crate) fn set_target(&self, place: u32, program: &Program) -> Result<()> {
        use std::os::fd::AsRawFd as _;
        let fd = program.as_fd().as_raw_fd();
        self.targets
            .update(place.bytes(), &fd.to_ne_bytes(), Update::Any)
            .context("naming the program under test")
    }
}

fn load(program: &mut Loaded) -> Result<OwnedFd> {
    let fd = match program {
        Loaded::SchedClassifier(program) => {
            program.load()?;
            program.fd()?.as_fd().try_clone_to_owned()?
        }
        Loaded::CgroupSockAddr(program) => {
            program.load()?;
            program.fd()?.as_fd().try_clone_to_owned()?
        }
        _ => bail!("it is of no kind that a yardstick should be"),
    };
    Ok(fd)
}

/// The tables of one family.
pub(crate) trait MinimalTables<A: Addr> {
    /// Frontends to services.
    fn frontends(&self) -> &Hash<FrontendKey<A>, MinimalService>;
    /// Backends by index.
    fn backends(&self) -> &MappedArray<MinimalBackend<A>>;
}

impl MinimalTables<Addr4> for Yardsticks {
    fn frontends(&self) -> &Hash<FrontendKey<Addr4>, MinimalService> {
        &self.frontends4
    }

    fn backends(&self) -> &MappedArray<MinimalBackend<Addr4>> {
        &self.backends4
    }
}

impl MinimalTables<Addr6> for Yardsticks {
    fn frontends(&self) -> &Hash<FrontendKey<Addr6>, MinimalService> {
        &self.frontends6
    }

    fn backends(&self) -> &MappedArray<MinimalBackend<Addr6>> {
        &self.backends6
    }
}
