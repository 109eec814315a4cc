//! Where things are pinned.
//!
//! The kernel forbids dots in names on a bpffs, hence the dashes.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use penstock_abi::SCHEMA;

use crate::sys::{is_bpffs, mount_bpffs};
use crate::{Error, Hook};

/// The paths of everything that Penstock pins, below one mount of bpffs:
/// `<root>/penstock/v<SCHEMA>/<map>` and `<root>/penstock/links/<link>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
    schema: u32,
    mounts: bool,
}

impl Pins {
    /// Below this mount point, for the schema of this build.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), schema: SCHEMA, mounts: true }
    }

    /// The same below another schema's folder: lets a test play an upgrade with one build.
    #[doc(hidden)]
    #[must_use]
    pub fn with_schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// The same, but a bpffs must be there: one that is mounted within a container goes with it, and all that is pinned there.
    #[must_use]
    pub fn without_mounting(mut self) -> Self {
        self.mounts = false;
        self
    }

    /// The mount point of the bpffs.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The schema whose folder is used.
    #[must_use]
    pub fn schema(&self) -> u32 {
        self.schema
    }

    /// The folder of everything that Penstock pins.
    #[must_use]
    pub fn base(&self) -> PathBuf {
        self.root.join("penstock")
    }

    /// The folder of the maps.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.maps_of(self.schema)
    }

    /// The folder of another schema's maps.
    pub(crate) fn maps_of(&self, schema: u32) -> PathBuf {
        self.base().join(format!("v{schema}"))
    }

    /// Where a schema's maps are made that are to take the place of those in use: not complete while it is there.
    pub(crate) fn maps_new(&self, schema: u32) -> PathBuf {
        self.base().join(format!("v{schema}-new"))
    }

    /// Where a schema's maps are kept that were replaced, until every link runs the new programs.
    pub(crate) fn maps_old(&self, schema: u32) -> PathBuf {
        self.base().join(format!("v{schema}-old"))
    }

    /// A map's pin.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// The folder of the links, shared by all schemas.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.base().join("links")
    }

    /// The pin of a hook's link: by device for a hook on devices, otherwise by hook alone.
    #[must_use]
    pub fn link(&self, hook: Hook, ifindex: Option<u32>) -> PathBuf {
        self.links().join(match ifindex {
            Some(ifindex) => format!("{hook}-{ifindex}"),
            None => hook.to_string(),
        })
    }

    /// The schemas that have a folder of maps, in ascending order.
    ///
    /// # Errors
    /// Where the folder cannot be read; that it is missing is no error.
    pub fn schemas(&self) -> Result<Vec<u32>, Error> {
        self.schemas_with("")
    }

    /// The schemas that have a folder whose name ends so, in ascending order.
    pub(crate) fn schemas_with(&self, ending: &str) -> Result<Vec<u32>, Error> {
        let number = |name: &String| name.strip_prefix('v')?.strip_suffix(ending)?.parse().ok();
        let mut schemas: Vec<u32> = list(&self.base())?.iter().filter_map(number).collect();
        schemas.sort_unstable();
        Ok(schemas)
    }

    /// Mounts a bpffs where there is none, and tells whether it did.
    ///
    /// # Errors
    /// Where the mount cannot be made, or is not to be made and yet is not there.
    pub fn mount(&self) -> Result<bool, Error> {
        let what = self.root.display().to_string();
        fs::create_dir_all(&self.root).map_err(Error::system("mkdir", &what))?;
        if is_bpffs(&self.root).map_err(Error::system("statfs", &what))? {
            return Ok(false);
        }
        if !self.mounts {
            return Err(Error::NoBpffs { path: self.root.clone() });
        }
        mount_bpffs(&self.root).map_err(Error::system("mount of bpffs", &what))?;
        Ok(true)
    }

    /// Makes the folders, and mounts a bpffs first where there is none.
    ///
    /// # Errors
    /// As [`Self::mount`], and where the folders cannot be made.
    pub fn prepare(&self) -> Result<(), Error> {
        if self.mount()? {
            tracing::info!(path = %self.root.display(), "mounted bpffs");
        }
        let links = self.links();
        fs::create_dir_all(&links).map_err(Error::system("mkdir", links.display()))
    }
}

/// The names in a folder; none where it does not exist.
pub(crate) fn list(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::system("readdir", folder.display())(error)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> =
        names.collect::<io::Result<_>>().map_err(Error::system("readdir", folder.display()))?;
    names.sort_unstable();
    Ok(names)
}

/// Removes a folder of pins; that it is missing is no error.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), Error> {
    ignore_missing(fs::remove_dir_all(folder)).map_err(Error::system("remove", folder.display()))
}

/// Removes one pin; that it is missing is no error.
pub(crate) fn remove_pin(pin: &Path) -> Result<(), Error> {
    ignore_missing(fs::remove_file(pin)).map_err(Error::system("unlink", pin.display()))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
