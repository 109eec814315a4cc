//! Images unpacked once, for all nodes of all clusters: what containerd's folder holds of them.
//!
//! A node starts with a copy of containerd's books and with links to blobs and unpacked layers, which nobody changes once
//! they are complete; so a node has its images in no time, whatever their size. A store's name tells what it was made of,
//! and a store has its name from the moment that it is complete.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash as _, Hasher as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::keeper::OVERLAID;

/// Where whoever builds the images keeps them too.
const CACHE: &str = "PENSTOCK_CACHE";

/// containerd's books: its own, and its snapshotter's.
const BOOKS: [(&str, &str); 2] = [
    ("io.containerd.metadata.v1.bolt", "meta.db"),
    ("io.containerd.snapshotter.v1.overlayfs", "metadata.db"),
];
const BLOBS: &str = "io.containerd.content.v1.content/blobs/sha256";
const LAYERS: &str = "io.containerd.snapshotter.v1.overlayfs/snapshots";

/// A store, made already or not.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    /// The store of these archives; `None` where the cache is in a folder that nodes cannot write to.
    pub(crate) fn of<'a>(archives: impl Iterator<Item = &'a Path>) -> Result<Option<Self>> {
        let Some(home) = home().filter(|home| OVERLAID.iter().all(|folder| !home.starts_with(folder))) else {
            return Ok(None);
        };
        let mut key = DefaultHasher::new();
        for archive in archives {
            let metadata = archive.metadata().with_context(|| format!("looking at {}", archive.display()))?;
            let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            (archive, metadata.len(), changed).hash(&mut key);
        }
        Ok(Some(Self { folder: home.join("unpacked").join(format!("{:016x}", key.finish())) }))
    }

    /// Sees to it that the store is there: `unpack` makes it in the folder it gets, while nobody else does.
    pub(crate) fn ensure(&self, unpack: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if self.folder.exists() {
            // What was not used for long is removed by whoever builds the images. A cache that cannot be written to is left as it is.
            let _ = File::open(&self.folder).and_then(|folder| folder.set_modified(SystemTime::now()));
            return Ok(());
        }
        let home = self.folder.parent().context("a store is in a folder")?;
        fs::create_dir_all(home).with_context(|| format!("making {}", home.display()))?;
        let path = self.folder.with_extension("lock");
        let lock = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        lock.lock().with_context(|| format!("locking {}", path.display()))?;
        if self.folder.exists() {
            return Ok(());
        }
        let partial = self.folder.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("removing {}", partial.display()))?;
        }
        fs::create_dir(&partial).with_context(|| format!("making {}", partial.display()))?;
        unpack(&partial)?;
        fs::rename(&partial, &self.folder).with_context(|| format!("renaming {}", partial.display()))
    }

    /// Fills the folder of a containerd that does not run.
    pub(crate) fn share(&self, root: &Path) -> Result<()> {
        for (plugin, book) in BOOKS {
            make(&root.join(plugin))?;
            copy(&self.folder.join(plugin).join(book), &root.join(plugin).join(book))?;
        }
        each(&self.folder.join(BLOBS), &root.join(BLOBS), |from, to| {
            // Where the cache is on another disk than the cluster.
            fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
        })?;
        each(&self.folder.join(LAYERS), &root.join(LAYERS), |from, to| symlink(from, to))
    }
}

/// Where caches are.
fn home() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    folder(CACHE).or_else(|| {
        Some(folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?.join("penstock"))
    })
}

/// Does something with each entry of a folder and its like in another one, which is made.
fn each(from: &Path, to: &Path, work: impl Fn(&Path, &Path) -> std::io::Result<()>) -> Result<()> {
    make(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry?.path();
        let name = entry.file_name().context("an entry has a name")?;
        work(&entry, &to.join(name)).with_context(|| format!("sharing {}", entry.display()))?;
    }
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("copying {}", from.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_made_once_and_what_failed_is_made_again() {
        let home = std::env::temp_dir().join(format!("pst-store-test-{}", std::process::id()));
        let store = Store { folder: home.join("key") };
        assert!(store.ensure(|_| anyhow::bail!("no space")).is_err());
        store.ensure(|folder| Ok(fs::write(folder.join("a"), "")?)).unwrap();
        store.ensure(|_| anyhow::bail!("made twice")).unwrap();
        assert!(store.folder.join("a").exists());
        fs::remove_dir_all(&home).unwrap();
    }
}
