//! The file system that a virtual machine starts from: a cpio archive in the "newc" form, which the kernel unpacks
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell;

const MAGIC: &str = "070701";
/// The entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// An archive in the making. Folders are made as files need them; a path is written once.
#[derive(Debug, Default)]
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    written: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Adds an empty folder, with those above it.
    pub(super) fn folder(&mut self, path: &Path) -> Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        self.folder(parent)?;
        if self.written.insert(path.to_owned()) {
            self.entry(path, FOLDER | 0o755, &[])?;
        }
        Ok(())
    }

    /// Adds a file; `mode` is its permissions.
    pub(super) fn file(&mut self, path: &Path, mode: u32, contents: &[u8]) -> Result<()> {
        self.folder(path.parent().with_context(|| format!("{} is no file", path.display()))?)?;
        if self.written.insert(path.to_owned()) {
            self.entry(path, REGULAR | mode, contents)?;
        }
        Ok(())
    }

    /// Adds a program of this machine at `path`, without its debug information, and every library that it loads.
    pub(super) fn program(&mut self, program: &Path, path: &Path) -> Result<()> {
        let contents = stripped(program)?;
        self.file(path, 0o755, &contents)?;
        for library in libraries(program)? {
            let contents = read(&library)?;
            self.file(&library, 0o755, &contents)?;
        }
        Ok(())
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry(Path::new(TRAILER), 0, &[])?;
        Ok(self.bytes)
    }

    fn entry(&mut self, path: &Path, mode: u32, contents: &[u8]) -> Result<()> {
        let name = path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?;
        let name = name.trim_start_matches('/');
        let size = u32::try_from(contents.len()).with_context(|| format!("{name} is too large"))?;
        let inode = u32::try_from(self.written.len())?;
        let name_size = u32::try_from(name.len() + 1)?;
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), size of the name, checksum
        let header = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(MAGIC.bytes());
        for field in header {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
        Ok(())
    }

    /// Names and contents end on a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The program without debug information: the machine's memory holds the whole file system.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let copy = crate::workspace::target().join("vm").join("stripped");
    shell::output(Command::new("strip").arg("--strip-debug").arg("-o").arg(&copy).arg(program))?;
    let contents = read(&copy)?;
    fs::remove_file(&copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    Ok(contents)
}

/// The libraries, and the loader, that a program is started with; none for a static one.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    // ldd fails for a static program; that is an answer.
    Ok(library_paths(&String::from_utf8_lossy(&output.stdout)))
}

/// The paths that ldd prints: `libc.so.6 => /lib/libc.so.6 (0x...)`, `/lib64/ld-linux.so.2 (0x...)`.
fn library_paths(output: &str) -> Vec<PathBuf> {
    let words = output.lines().flat_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    words.filter(|word| !word.ends_with(':')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Initramfs, library_paths};

    #[test]
    fn an_archive_has_each_folder_once_and_ends_with_the_trailer() {
        let mut archive = Initramfs::default();
        archive.file(Path::new("/usr/bin/a"), 0o755, b"abcde").expect("fits");
        archive.file(Path::new("/usr/bin/b"), 0o644, b"").expect("fits");
        archive.file(Path::new("/usr/bin/a"), 0o755, b"again").expect("fits");
        let bytes = archive.finish().expect("fits");
        let text = String::from_utf8_lossy(&bytes);
        let count = |name: &str| text.matches(name).count();
        assert_eq!((count("usr\0"), count("usr/bin\0"), count("usr/bin/a\0"), count("again")), (1, 1, 1, 0));
        assert_eq!(bytes.len() % 4, 0);
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
    }

    #[test]
    fn a_header_tells_mode_size_and_length_of_the_name() {
        let mut archive = Initramfs::default();
        archive.file(Path::new("/init"), 0o755, b"abcde").expect("fits");
        let text = String::from_utf8_lossy(&archive.bytes).into_owned();
        assert!(text.starts_with("07070100000001000081ed0000000000000000000000010000000000000005"), "{text}");
        // "init" and its zero: 110 bytes of header and 5 of name make 115, padded to 116.
        assert_eq!(text.get(116..121), Some("abcde"));
    }

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        let output = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let wanted = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(library_paths(output), wanted);
        assert!(library_paths("\tstatically linked\n").is_empty());
    }
}
