//! Loading the object's programs over maps that are pinned in a folder.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use aya::programs::ProgramError;
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;

use crate::maps::Specs;
use crate::sys;
use crate::{Error, Hook};

/// The loaded programs, one for each hook.
pub struct Programs {
    by_hook: BTreeMap<Hook, sys::Program>,
    flush_log: Option<Box<dyn FnMut() + Send>>,
}

impl Programs {
    /// The program of a hook.
    ///
    /// # Errors
    /// [`Error::BadObject`] where the object has none.
    pub fn get(&self, hook: Hook) -> Result<&sys::Program, Error> {
        self.by_hook
            .get(&hook)
            .ok_or_else(|| Error::BadObject { reason: format!("it has no program {hook}") })
    }

    pub(crate) fn fd(&self, hook: Hook) -> Result<BorrowedFd<'_>, Error> {
        self.get(hook).map(|program| program.as_fd())
    }

    /// Passes on what the programs of a debug build have logged since the last call, to the `log` crate.
    pub fn flush_log(&mut self) {
        if let Some(flush) = &mut self.flush_log {
            flush();
        }
    }

    /// Programs made by hand, for tests of what does not look inside of them.
    #[doc(hidden)]
    #[must_use]
    pub fn from_parts(by_hook: BTreeMap<Hook, sys::Program>) -> Self {
        Self { by_hook, flush_log: None }
    }
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_hook.keys()).finish()
    }
}

/// Loads every program. Maps that are pinned in the folder are used, those that are not are made and pinned there; whoever
/// calls has compared those that are with `specs`, which the loader does not.
pub(crate) fn load(object: &[u8], specs: &Specs, folder: &Path) -> Result<Programs, Error> {
    let mut loader = EbpfLoader::new();
    // Nothing is relocated against the kernel's types, and parsing them takes a tenth of a second and many megabytes.
    loader.btf(None);
    // Maps of kinds that the loader has no type for are still made and pinned.
    loader.allow_unsupported_maps();
    for (name, spec) in specs.iter() {
        loader.map_max_entries(name, spec.max_entries).map_pin_path(name, folder.join(name));
    }
    if !cfg!(debug_assertions) {
        // The programs read the level from constant memory, so the verifier removes what it turns off.
        loader.override_global(aya_log::LEVEL, &0_u8, false);
    }
    let mut ebpf = loader.load(object).map_err(|error| Error::bad_object(&error))?;
    let mut by_hook = BTreeMap::new();
    let names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        // Programs that are no hook's (the benchmark's wrapper, say) are not the agent's to load.
        if let Some(hook) = Hook::from_name(&name) {
            by_hook.insert(hook, load_one(&mut ebpf, hook)?);
        }
    }
    if let Some(missing) = Hook::all().find(|hook| !by_hook.contains_key(hook)) {
        return Err(Error::BadObject { reason: format!("it has no program {missing}") });
    }
    Ok(Programs { by_hook, flush_log: log_reader(&mut ebpf) })
}

fn load_one(ebpf: &mut Ebpf, hook: Hook) -> Result<sys::Program, Error> {
    use aya::programs::Program::{CgroupSockAddr, SchedClassifier};
    let refused = |error: ProgramError| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            Error::Program { program: hook.name().to_owned(), cause: io_error, log: verifier_log.to_string() }
        }
        other => Error::bad_object(&other),
    };
    let fd = match ebpf.program_mut(hook.name()) {
        Some(CgroupSockAddr(program)) if hook.direction().is_none() => {
            program.load().and_then(|()| program.fd()).map_err(refused)?.as_fd().try_clone_to_owned()
        }
        Some(SchedClassifier(program)) if hook.direction().is_some() => {
            program.load().and_then(|()| program.fd()).map_err(refused)?.as_fd().try_clone_to_owned()
        }
        _ => return Err(Error::BadObject { reason: format!("its program {hook} is of another type") }),
    };
    fd.map(sys::Program::from).map_err(Error::system("dup", hook))
}

/// The reader of what programs log, where the object has the ring for it.
fn log_reader(ebpf: &mut Ebpf) -> Option<Box<dyn FnMut() + Send>> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let mut logger = EbpfLogger::init(ebpf).ok()?;
    Some(Box::new(move || logger.flush()))
}
