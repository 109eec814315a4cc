//! The `manifests` source: a watched directory of ordinary Kubernetes YAML.
//!
//! A file is read when its writer has closed it, or when it was moved or linked into place: half-written text is not seen. Neither
//! a broken document, an unreadable file nor a directory that went away takes back what was told before.

mod document;
mod folder;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use penstock_model::objects::{Event, Kind};

use self::document::Format;
use self::folder::Folder;
use super::{Health, Update, Updates};

/// Changes that follow each other this closely are told together: a rename is two events, `cp *.yaml` many.
const QUIET: Duration = Duration::from_millis(3);
/// What is told is never older than this, however busy the directory is.
const LONGEST: Duration = Duration::from_millis(50);
/// How often the directory is looked through without being told of a change: network filesystems tell of none.
const RESCAN: Duration = Duration::from_secs(30);
/// How often a directory that went away is looked for.
const RETRY: Duration = Duration::from_secs(1);
/// A file that was written to so recently may still be written: looking through the directory leaves it alone.
const SETTLED: Duration = Duration::from_millis(20);
/// Events that are told at once at most, so that a large directory is not in memory as a whole.
const BATCH: usize = 1_024;

/// Reads a directory, then watches it on a thread of its own until the receiver is gone.
///
/// # Errors
/// The directory is not there, or cannot be watched.
pub(crate) fn spawn(directory: &Path, updates: Updates) -> Result<()> {
    let is_directory = fs::metadata(directory)
        .with_context(|| format!("directory of manifests {}", directory.display()))?
        .is_dir();
    ensure!(is_directory, "source manifests:{0}: {0} is not a directory", directory.display());
    let watch = Watch::start(directory)?;
    let directory = directory.to_owned();
    thread::Builder::new()
        .name("manifests".into())
        .spawn(move || {
            let mut source =
                Source { directory, updates, folder: Folder::default(), stamps: Stamps::default() };
            // An error here says that nobody listens any longer: the agent is ending.
            let _ = source.run(watch);
        })
        .context("start a thread for the manifests")?;
    Ok(())
}

type Stamps = std::collections::HashMap<PathBuf, Stamp>;

/// What changes when a file does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: SystemTime,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: metadata.modified()?,
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn is_settled(&self) -> bool {
        // A time in the future says nothing; to wait for it would be worse than to read too early.
        self.modified.elapsed().map_or(true, |age| age >= SETTLED)
    }
}

/// The kernel's notices of changes.
struct Watch {
    _watcher: RecommendedWatcher,
    notices: Receiver<notify::Result<notify::Event>>,
}

impl Watch {
    fn start(directory: &Path) -> Result<Self> {
        let (sender, notices) = mpsc::channel();
        let mut watcher = notify::recommended_watcher(sender).context("start inotify")?;
        watcher
            .watch(directory, RecursiveMode::NonRecursive)
            .with_context(|| format!("watch directory {}", directory.display()))?;
        Ok(Self { _watcher: watcher, notices })
    }
}

/// What notices ask for.
#[derive(PartialEq, Eq, Debug, Default)]
struct Todo {
    paths: BTreeSet<PathBuf>,
    /// Look through the whole directory.
    scan: bool,
    /// The directory itself is gone, or may be another one.
    lost: bool,
}

impl Todo {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, notice: notify::Result<notify::Event>, directory: &Path) {
        let event = match notice {
            Ok(event) => event,
            Err(_) => {
                self.scan = true;
                return;
            }
        };
        self.scan |= event.need_rescan();
        for path in event.paths {
            let wanted = match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => true,
                EventKind::Modify(ModifyKind::Name(_)) => true,
                // A new file is read when it is closed; a new link never is.
                EventKind::Create(_) => is_link(&path),
                _ => false,
            };
            if !wanted {
                continue;
            }
            if path == directory {
                self.lost = true;
            } else if format_of(&path).is_some() {
                self.paths.insert(path);
            } else {
                // kubelet mounts a ConfigMap as links through `..data`, and moves another `..data` into its place.
                self.scan |= path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
            }
        }
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}

fn format_of(path: &Path) -> Option<Format> {
    Format::of_name(path.file_name().and_then(OsStr::to_str)?)
}

/// The receiver of the updates is gone.
struct Closed;

struct Source {
    directory: PathBuf,
    updates: Updates,
    folder: Folder,
    stamps: Stamps,
}

impl Source {
    fn run(&mut self, watch: Watch) -> Result<(), Closed> {
        let mut watch = Some(watch);
        let mut health = Health::default();
        while self.scan() == Scan::Unsettled {
            thread::sleep(SETTLED);
        }
        self.tell_health(&mut health, None)?;
        self.tell()?;
        self.send(Update::Events(Kind::ALL.map(Event::Synced).to_vec()))?;
        let mut rescan = RESCAN;
        loop {
            let todo = match &watch {
                Some(watch) => wait(watch, &self.directory, rescan),
                None => {
                    thread::sleep(RETRY);
                    Todo { lost: true, ..Todo::default() }
                }
            };
            if self.updates.is_closed() {
                return Err(Closed);
            }
            if todo.lost {
                watch = None;
            }
            let mut lost = None;
            if watch.is_none() {
                match Watch::start(&self.directory) {
                    Ok(started) => watch = Some(started),
                    Err(error) => lost = Some(format!("{error:#}; serving what was read before")),
                }
            }
            if lost.is_none() {
                for path in &todo.paths {
                    self.read(path);
                }
                if todo.scan || todo.lost {
                    rescan = match self.scan() {
                        Scan::Complete => RESCAN,
                        Scan::Unsettled => SETTLED,
                        Scan::Missing => {
                            watch = None;
                            RESCAN
                        }
                    };
                }
            }
            self.tell_health(&mut health, lost)?;
            self.tell()?;
        }
    }

    /// Tells how the source is where that has changed: before the objects, so that whoever sees those can ask about it.
    fn tell_health(&mut self, told: &mut Health, lost: Option<String>) -> Result<(), Closed> {
        let mut health = self.folder.health();
        health.problems.extend(lost);
        if health == *told {
            return Ok(());
        }
        for problem in health.problems.iter().filter(|problem| !told.problems.contains(problem)) {
            tracing::warn!("manifests: {problem}");
        }
        told.clone_from(&health);
        self.send(Update::Health(health))
    }

    /// Reads each file that is new or has changed, and forgets those that are gone.
    fn scan(&mut self) -> Scan {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(_) => return Scan::Missing,
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| format_of(path).is_some());
        paths.sort_unstable();
        let gone: Vec<_> = self
            .folder
            .paths()
            .filter(|known| paths.binary_search_by(|path| path.as_path().cmp(known)).is_err())
            .map(Path::to_owned)
            .collect();
        let mut scan = Scan::Complete;
        for path in paths {
            match Stamp::of(&path) {
                Ok(stamp) if self.stamps.get(&path) == Some(&stamp) => {}
                Ok(stamp) if !stamp.is_settled() => scan = Scan::Unsettled,
                _ => self.read(&path),
            }
        }
        for path in gone {
            self.read(&path);
        }
        scan
    }

    fn read(&mut self, path: &Path) {
        let Some(format) = format_of(path) else { return };
        self.stamps.remove(path);
        let stamp = Stamp::of(path);
        match stamp.and_then(|stamp| Ok((stamp, fs::read_to_string(path)?))) {
            Ok((stamp, text)) => {
                self.stamps.insert(path.to_owned(), stamp);
                self.folder.update(path, &text, format);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.folder.remove(path),
            Err(error) => self.folder.unreadable(path, &error),
        }
    }

    fn tell(&mut self) -> Result<(), Closed> {
        loop {
            let taken = self.folder.take();
            let mut events = taken.events;
            while !events.is_empty() {
                let rest = events.split_off(events.len().min(BATCH));
                self.send(Update::Events(std::mem::replace(&mut events, rest)))?;
            }
            if taken.again.is_empty() {
                return Ok(());
            }
            for path in &taken.again {
                self.read(path);
            }
        }
    }

    fn send(&self, update: Update) -> Result<(), Closed> {
        self.updates.blocking_send(update).map_err(|_| Closed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scan {
    /// Every file was read.
    Complete,
    /// Some file was written to just now and was left out.
    Unsettled,
    /// The directory cannot be read.
    Missing,
}

/// Waits for notices and gathers those that belong together.
fn wait(watch: &Watch, directory: &Path, rescan: Duration) -> Todo {
    let mut todo = Todo::default();
    let started = Instant::now();
    let mut first: Option<Instant> = None;
    loop {
        let timeout = match first {
            None => rescan.saturating_sub(started.elapsed()),
            Some(first) => QUIET.min(LONGEST.saturating_sub(first.elapsed())),
        };
        match watch.notices.recv_timeout(timeout) {
            Ok(notice) => {
                todo.add(notice, directory);
                if !todo.is_empty() {
                    first.get_or_insert_with(Instant::now);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                todo.scan |= first.is_none();
                return todo;
            }
            Err(RecvTimeoutError::Disconnected) => {
                todo.lost = true;
                return todo;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::channel;

    fn node(name: &str) -> String {
        format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n")
    }

    /// The names told of since the last call, until `wanted` of them are there.
    async fn told(updates: &mut tokio::sync::mpsc::Receiver<Update>, wanted: &[&str]) {
        let mut found: Vec<String> = Vec::new();
        while found.len() < wanted.len() {
            let update = tokio::time::timeout(Duration::from_secs(20), updates.recv()).await;
            match update.expect("the source tells what changed").expect("the source lives") {
                Update::Events(events) => found.extend(events.iter().map(|event| match event {
                    Event::Upsert(object) => format!("+{}", object.metadata().name),
                    Event::Delete(key) => format!("-{}", key.name),
                    Event::Synced(kind) => format!("synced {kind}"),
                    Event::Replace { .. } => "replace".into(),
                })),
                Update::Health(_) => {}
            }
        }
        assert_eq!(found, wanted);
    }

    #[tokio::test]
    async fn files_that_come_change_move_and_go_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a.yaml"), node("a")).unwrap();
        let (sender, mut updates) = channel(16);
        spawn(directory.path(), sender).unwrap();
        let synced = Kind::ALL.map(|kind| format!("synced {kind}"));
        told(&mut updates, &["+a"]).await;
        told(&mut updates, &synced.each_ref().map(String::as_str)).await;

        fs::write(path("b.json"), r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"}}"#)
            .unwrap();
        told(&mut updates, &["+b"]).await;
        fs::write(path("README.md"), node("x")).unwrap();
        fs::write(path(".half"), node("a") + &node("c")).unwrap();
        fs::rename(path(".half"), path("a.yaml")).unwrap();
        told(&mut updates, &["+c"]).await;
        fs::write(path(".target"), node("d")).unwrap();
        std::os::unix::fs::symlink(path(".target"), path("d.yml")).unwrap();
        told(&mut updates, &["+d"]).await;
        fs::remove_file(path("a.yaml")).unwrap();
        let mut gone = Vec::new();
        while gone.len() < 2 {
            match updates.recv().await {
                Some(Update::Events(events)) => gone.extend(events),
                Some(Update::Health(_)) => {}
                None => panic!("the source lives"),
            }
        }
        assert!(gone.iter().all(|event| matches!(event, Event::Delete(_))), "{gone:?}");
    }

    #[tokio::test]
    async fn a_directory_that_goes_away_and_comes_back_takes_nothing_with_it() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("d");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.yaml"), node("a")).unwrap();
        let (sender, mut updates) = channel(16);
        spawn(&directory, sender).unwrap();
        let synced = Kind::ALL.map(|kind| format!("synced {kind}"));
        told(&mut updates, &["+a"]).await;
        told(&mut updates, &synced.each_ref().map(String::as_str)).await;
        fs::rename(&directory, parent.path().join("e")).unwrap();
        loop {
            match updates.recv().await.expect("the source lives") {
                Update::Health(health) if health.problems.iter().any(|it| it.contains("watch directory")) => {
                    break;
                }
                Update::Health(_) => {}
                Update::Events(events) => panic!("{events:?}"),
            }
        }
        fs::write(parent.path().join("e/b.yaml"), node("b")).unwrap();
        fs::rename(parent.path().join("e"), &directory).unwrap();
        told(&mut updates, &["+b"]).await;
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let (sender, _updates) = channel(1);
        let error = spawn(Path::new("/nonexistent/manifests"), sender).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/manifests"), "{error:#}");
    }

    #[test]
    fn a_file_is_not_read_before_its_writer_has_closed_it() {
        let directory = tempfile::tempdir().unwrap();
        let watch = Watch::start(directory.path()).unwrap();
        let path = directory.path().join("a.yaml");
        let mut file = fs::File::create(&path).unwrap();
        io::Write::write_all(&mut file, b"half").unwrap();
        let mut todo = Todo::default();
        while let Ok(notice) = watch.notices.recv_timeout(Duration::from_millis(100)) {
            todo.add(notice, directory.path());
        }
        assert!(todo.is_empty(), "{todo:?}");
        drop(file);
        assert!(wait(&watch, directory.path(), RESCAN).paths.contains(&path));
    }
}
