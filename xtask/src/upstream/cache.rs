//! Where builds are kept: `$PENSTOCK_CACHE`, else `penstock` below `$XDG_CACHE_HOME` or `~/.cache`.
//!
//! Each build is a folder named by its key. A key changes with whatever goes into a build, so what has a key's name is
//! right, for every checkout. A folder has its name from the moment that it is complete: it is made aside and renamed, under a lock
//! that also keeps two processes from building the same thing twice. A new one is the occasion to remove those that nobody
//! has used for a month.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::prune::{self, PARTIAL};

/// What the lab has unpacked of the images lies beside the builds, and ages as they do (`tests/src/cluster/store.rs`).
const UNPACKED: &str = "unpacked";

/// The name of a build: readable, and different for different content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// `what` and `version` are for people; `parts` is everything that goes into the build.
    pub(super) fn new<'a>(what: &str, version: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            // With its length, so that no two lists of parts read the same.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{what}-{version}-{digest}"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The folder of this build, where there is one.
pub(super) fn look(key: &Key) -> Result<Option<PathBuf>> {
    let folder = home()?.join(key.as_str());
    Ok(folder.is_dir().then_some(folder))
}

/// The folder of this build, which `build` fills where there is none yet.
pub(super) fn ensure(key: &Key, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let home = home()?;
    let mut is_new = false;
    let folder = ensure_in(&home, key, |folder| {
        is_new = true;
        build(folder)
    })?;
    prune::mark_used(&folder);
    if is_new {
        prune::prune(&home);
        prune::prune(&home.with_file_name(UNPACKED));
    }
    Ok(folder)
}

fn ensure_in(home: &Path, key: &Key, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = home.join(key.as_str());
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(home).with_context(|| format!("cannot make {}", home.display()))?;
    let path = home.join(format!("{}.lock", key.as_str()));
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another process that builds {}", key.as_str());
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    if folder.is_dir() {
        return Ok(folder);
    }
    // Whoever holds the lock owns this folder; what is in it is of a build that was interrupted.
    let aside = home.join(format!("{}{PARTIAL}", key.as_str()));
    if aside.exists() {
        fs::remove_dir_all(&aside).with_context(|| format!("cannot remove {}", aside.display()))?;
    }
    fs::create_dir(&aside).with_context(|| format!("cannot make {}", aside.display()))?;
    eprintln!("building {}; this happens once", key.as_str());
    let start = Instant::now();
    build(&aside)?;
    fs::rename(&aside, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    eprintln!("built {} in {} s", folder.display(), start.elapsed().as_secs());
    Ok(folder)
}

/// The files of a folder, by name.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("cannot read {}", folder.display()))?;
    files.sort();
    Ok(files)
}

fn home() -> Result<PathBuf> {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    home_of(given("PENSTOCK_CACHE"), given("XDG_CACHE_HOME"), given("HOME"))
        .context("nowhere to keep what is built: set PENSTOCK_CACHE to a folder")
}

/// Relative folders are not taken from `XDG_CACHE_HOME`, as its specification says.
fn home_of(cache: Option<PathBuf>, xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let penstock = cache.or_else(|| {
        let caches = xdg.filter(|folder| folder.is_absolute()).or_else(|| Some(home?.join(".cache")))?;
        Some(caches.join("penstock"))
    })?;
    Some(std::path::absolute(penstock).ok()?.join("upstream"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::bail;

    use super::{Key, ensure_in, home_of};

    fn key(parts: &[&str]) -> Key {
        Key::new("etcd", "v3", parts.iter().map(|part| part.as_bytes()))
    }

    #[test]
    fn a_key_changes_with_every_part_and_with_where_parts_end() {
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["a", "c"]));
        assert_ne!(key(&["a", "b"]), key(&["ab", ""]));
        assert_ne!(key(&["a", "b"]), key(&["ab"]));
        assert!(key(&[]).as_str().starts_with("etcd-v3-"));
    }

    #[test]
    fn what_is_built_is_not_built_again() {
        let home = tempfile::tempdir().unwrap();
        let built = AtomicUsize::new(0);
        let build = |folder: &Path| {
            built.fetch_add(1, Ordering::Relaxed);
            Ok(fs::write(folder.join("program"), "x")?)
        };
        let first = ensure_in(home.path(), &key(&[]), build).unwrap();
        let second = ensure_in(home.path(), &key(&[]), build).unwrap();
        assert_eq!(first, second);
        assert!(first.join("program").is_file());
        assert_eq!(built.into_inner(), 1);
    }

    #[test]
    fn processes_at_the_same_time_build_once() {
        let home = tempfile::tempdir().unwrap();
        let built = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    ensure_in(home.path(), &key(&[]), |folder| {
                        built.fetch_add(1, Ordering::Relaxed);
                        Ok(fs::write(folder.join("program"), "x")?)
                    })
                    .unwrap()
                });
            }
        });
        assert_eq!(built.into_inner(), 1);
    }

    #[test]
    fn a_build_that_failed_leaves_nothing_to_be_taken_for_a_build() {
        let home = tempfile::tempdir().unwrap();
        let failed = ensure_in(home.path(), &key(&[]), |folder| {
            fs::write(folder.join("half"), "x")?;
            bail!("no room")
        });
        assert_eq!(failed.unwrap_err().to_string(), "no room");
        let folder = ensure_in(home.path(), &key(&[]), |folder| Ok(fs::write(folder.join("whole"), "x")?));
        assert_eq!(super::files(&folder.unwrap()).unwrap().len(), 1);
    }

    #[test]
    fn builds_are_kept_where_the_variables_say() {
        let path = |text: &str| Some(PathBuf::from(text));
        let wanted = |text: &str| Some(PathBuf::from(text));
        assert_eq!(home_of(path("/p"), path("/x"), path("/h")), wanted("/p/upstream"));
        assert_eq!(home_of(None, path("/x"), path("/h")), wanted("/x/penstock/upstream"));
        assert_eq!(home_of(None, path("x"), path("/h")), wanted("/h/.cache/penstock/upstream"));
        assert_eq!(home_of(None, None, path("/h")), wanted("/h/.cache/penstock/upstream"));
        assert_eq!(home_of(None, None, None), None);
    }
}
