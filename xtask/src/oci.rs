//! Image archives: what `docker load`, `podman load` and `ctr images import` take, written without any daemon.
//!
//! An archive is a tar file of an [OCI image layout] with docker's `manifest.json` beside it, as `docker save` writes it.
//! Layers are not compressed: archives stay on the machine, and a registry's client compresses what it pushes.
//!
//! The same content gives the same archive, bit by bit: entries are sorted, times are 0, everything belongs to root, and
//! nothing of the machine (its clock, its users, the order of its folders) is in it.
//!
//! [OCI image layout]: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// An image: its names, what its containers run, and its files.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Full names with registry and tag, such as `docker.io/library/busybox:1.37`; at least one.
    pub(crate) names: Vec<String>,
    /// As OCI spells it: `amd64`, `arm64`. See [`architecture`].
    pub(crate) architecture: String,
    pub(crate) config: Config,
    /// Lowest first.
    pub(crate) layers: Vec<Layer>,
}

/// What a container of the image runs, where it says nothing else.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Config {
    /// `uid`, `uid:gid` or names of the image's own; root where it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cmd: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) working_dir: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
}

/// The files of one layer. Paths are relative to the image's root; folders above them need not be named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Folder { mode: u32 },
    Bytes { bytes: Vec<u8>, mode: u32 },
    File { from: PathBuf, mode: u32 },
    Link { target: PathBuf },
}

/// Folders that nobody named.
const FOLDER_MODE: u32 = 0o755;

impl Layer {
    /// A folder.
    pub(crate) fn folder(&mut self, path: impl Into<PathBuf>, mode: u32) -> &mut Self {
        self.insert(path.into(), Entry::Folder { mode })
    }

    /// A file of these bytes.
    pub(crate) fn bytes(
        &mut self,
        path: impl Into<PathBuf>,
        bytes: impl Into<Vec<u8>>,
        mode: u32,
    ) -> &mut Self {
        self.insert(path.into(), Entry::Bytes { bytes: bytes.into(), mode })
    }

    /// A copy of the file `from`, which is read when the archive is written.
    pub(crate) fn file(
        &mut self,
        path: impl Into<PathBuf>,
        from: impl Into<PathBuf>,
        mode: u32,
    ) -> &mut Self {
        self.insert(path.into(), Entry::File { from: from.into(), mode })
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> &mut Self {
        self.insert(path.into(), Entry::Link { target: target.into() })
    }

    /// All that is below the folder `from`, at the image's root. Hard links become copies.
    ///
    /// # Errors
    /// Where something cannot be read, or is no folder, file or symbolic link: a layer of ours has no devices.
    pub(crate) fn tree(&mut self, from: &Path) -> Result<&mut Self> {
        let mut pending = vec![PathBuf::new()];
        while let Some(folder) = pending.pop() {
            let at = from.join(&folder);
            for found in fs::read_dir(&at).with_context(|| format!("cannot read {}", at.display()))? {
                let found = found.with_context(|| format!("cannot read {}", at.display()))?;
                let (path, from) = (folder.join(found.file_name()), found.path());
                let metadata =
                    found.metadata().with_context(|| format!("cannot look at {}", from.display()))?;
                let mode = metadata.permissions().mode() & 0o7777;
                if metadata.is_dir() {
                    pending.push(path.clone());
                    self.folder(path, mode);
                } else if metadata.is_file() {
                    self.file(path, from, mode);
                } else if metadata.is_symlink() {
                    let target =
                        fs::read_link(&from).with_context(|| format!("cannot read {}", from.display()))?;
                    self.link(path, target);
                } else {
                    bail!(
                        "{} is neither folder, file nor symbolic link: no image can hold it",
                        from.display()
                    );
                }
            }
        }
        Ok(self)
    }

    fn insert(&mut self, path: PathBuf, entry: Entry) -> &mut Self {
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            self.entries.entry(above.to_owned()).or_insert(Entry::Folder { mode: FOLDER_MODE });
        }
        self.entries.insert(path, entry);
        self
    }

    /// The layer as a tar file.
    fn write(&self, out: impl Write) -> Result<()> {
        let mut tar = tar::Builder::new(out);
        for (path, entry) in &self.entries {
            entry.append(&mut tar, path).with_context(|| match entry {
                Entry::File { from, .. } => format!("cannot put {} into an image", from.display()),
                _ => format!("cannot put /{} into an image", path.display()),
            })?;
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }
}

impl Entry {
    fn append(&self, tar: &mut tar::Builder<impl Write>, path: &Path) -> io::Result<()> {
        use tar::EntryType;
        match self {
            Self::Folder { mode } => {
                tar.append_data(&mut header(EntryType::Directory, 0, *mode), path, io::empty())
            }
            Self::Bytes { bytes, mode } => {
                let size = bytes.len().try_into().map_err(io::Error::other)?;
                tar.append_data(&mut header(EntryType::Regular, size, *mode), path, bytes.as_slice())
            }
            Self::File { from, mode } => {
                let file = File::open(from)?;
                let size = file.metadata()?.len();
                // The header's size counts: a file that grows or shrinks meanwhile must not shift what follows.
                let mut content = file.take(size);
                tar.append_data(&mut header(EntryType::Regular, size, *mode), path, &mut content)?;
                match content.limit() {
                    0 => Ok(()),
                    _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it shrank while it was read")),
                }
            }
            Self::Link { target } => tar.append_link(&mut header(EntryType::Symlink, 0, 0o777), path, target),
        }
    }
}

fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// A blob of the archive, named by its digest.
struct Blob<R> {
    digest: String,
    size: u64,
    content: R,
}

impl<R> Blob<R> {
    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn descriptor(&self, media_type: &str) -> serde_json::Value {
        json!({
            "mediaType": media_type,
            "digest": format!("sha256:{}", self.digest),
            "size": self.size,
        })
    }
}

impl Blob<Vec<u8>> {
    fn json(value: &serde_json::Value) -> Result<Self> {
        let content = serde_json::to_vec(value)?;
        Ok(Self { digest: hex(&Sha256::digest(&content)), size: content.len().try_into()?, content })
    }
}

impl Blob<File> {
    /// The layer in a file without a name in `folder`: layers may be large.
    fn layer(layer: &Layer, folder: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder)
            .with_context(|| format!("cannot make a file in {}", folder.display()))?;
        let mut hashed = Hashed { hash: Sha256::new(), inner: BufWriter::new(file) };
        layer.write(&mut hashed)?;
        let mut content = hashed.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        content.rewind()?;
        Ok(Self { digest: hex(&hashed.hash.finalize()), size: content.metadata()?.len(), content })
    }
}

/// Writes on, and hashes what went through.
struct Hashed<W> {
    hash: Sha256,
    inner: W,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Image {
    /// Writes the archive. It appears whole or not at all: written aside, then renamed.
    ///
    /// # Errors
    /// Where a file of a layer cannot be read, a name has no tag, or the archive cannot be written.
    pub(crate) fn write(&self, archive: &Path) -> Result<()> {
        let folder =
            archive.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut aside = tempfile::NamedTempFile::new_in(folder)
            .with_context(|| format!("cannot make a file in {}", folder.display()))?;
        self.write_to(BufWriter::new(aside.as_file_mut()), folder)
            .with_context(|| format!("cannot write the image {}", archive.display()))?;
        // Temporary files are for their owner alone; an image is no secret.
        aside.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        aside.persist(archive).with_context(|| format!("cannot write {}", archive.display()))?;
        Ok(())
    }

    fn write_to(&self, out: impl Write, scratch: &Path) -> Result<()> {
        ensure!(!self.names.is_empty(), "it has no name");
        let mut layers =
            self.layers.iter().map(|layer| Blob::layer(layer, scratch)).collect::<Result<Vec<_>>>()?;
        let config = Blob::json(&json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect::<Vec<_>>(),
            },
        }))?;
        let manifest = Blob::json(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": layers
                .iter()
                .map(|layer| layer.descriptor("application/vnd.oci.image.layer.v1.tar"))
                .collect::<Vec<_>>(),
        }))?;
        let named = |name: &String| -> Result<_> {
            let mut descriptor = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
            descriptor["annotations"] =
                json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag(name)? });
            Ok(descriptor)
        };
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.names.iter().map(named).collect::<Result<Vec<_>>>()?,
        });
        // Docker's own list, for those that do not know the layout.
        let docker = json!([{
            "Config": config.path(),
            "RepoTags": self.names,
            "Layers": layers.iter().map(Blob::path).collect::<Vec<_>>(),
        }]);

        let mut layer = Layer::default();
        layer
            .bytes("oci-layout", serde_json::to_vec(&json!({ "imageLayoutVersion": "1.0.0" }))?, 0o644)
            .bytes("index.json", serde_json::to_vec(&index)?, 0o644)
            .bytes("manifest.json", serde_json::to_vec(&docker)?, 0o644)
            .bytes(config.path(), config.content, 0o644)
            .bytes(manifest.path(), manifest.content, 0o644);
        let mut tar = tar::Builder::new(out);
        for (path, entry) in &layer.entries {
            entry.append(&mut tar, path)?;
        }
        let mut written = Vec::new();
        for blob in &mut layers {
            // Two layers of the same content are one blob.
            if !written.contains(&blob.digest) {
                let mut header = header(tar::EntryType::Regular, blob.size, 0o644);
                tar.append_data(&mut header, blob.path(), BufReader::new(&mut blob.content))?;
                written.push(blob.digest.clone());
            }
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }
}

/// This machine's architecture, as OCI spells it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The tag of a full name. A colon before the last slash is a registry's port.
fn tag(name: &str) -> Result<&str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let (_, tag) = last.split_once(':').with_context(|| format!("the image name {name} has no tag"))?;
    Ok(tag)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::{Path, PathBuf};

    use serde_json::Value;
    use sha2::{Digest as _, Sha256};

    use super::{Config, Image, Layer, hex, tag};

    const NAMES: [&str; 2] = ["registry.example:5000/some/thing:1.0", "docker.io/library/thing:latest"];

    fn image(layers: Vec<Layer>) -> Image {
        Image {
            names: NAMES.map(str::to_owned).to_vec(),
            architecture: "arm64".to_owned(),
            config: Config {
                entrypoint: vec!["/run".to_owned()],
                cmd: vec!["fast".to_owned()],
                env: vec!["A=b".to_owned()],
                labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
                ..Config::default()
            },
            layers,
        }
    }

    /// Path to (mode, content or link's target).
    fn entries(tar: &[u8]) -> Vec<(PathBuf, u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(tar);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            let times_and_owners = (header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap());
            assert_eq!(times_and_owners, (0, 0, 0));
            let mode = header.mode().unwrap();
            let mut content = Vec::new();
            match entry.link_name().unwrap() {
                Some(target) => content.extend_from_slice(target.as_os_str().as_encoded_bytes()),
                None => drop(entry.read_to_end(&mut content).unwrap()),
            }
            found.push((entry.path().unwrap().into_owned(), mode, content));
        }
        found
    }

    fn archive_of(image: &Image) -> BTreeMap<PathBuf, Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some/image.tar");
        image.write(&file).unwrap();
        let left = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing but the archive stays");
        let mut archive = BTreeMap::new();
        for (path, _, content) in entries(&fs::read(&file).unwrap()) {
            assert!(archive.insert(path, content).is_none(), "nothing is there twice");
        }
        archive
    }

    fn parsed(archive: &BTreeMap<PathBuf, Vec<u8>>, path: impl AsRef<Path>) -> Value {
        serde_json::from_slice(&archive[path.as_ref()]).unwrap()
    }

    /// The blob that a descriptor points to, its digest and size checked.
    fn blob<'a>(archive: &'a BTreeMap<PathBuf, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let content = &archive[&Path::new("blobs/sha256").join(digest)];
        assert_eq!(hex(&Sha256::digest(content)), digest);
        assert_eq!(descriptor["size"], content.len());
        content
    }

    #[test]
    fn an_archive_reads_back_as_the_image_that_was_written() {
        let mut layer = Layer::default();
        layer.bytes("usr/bin/run", "#!", 0o755).link("run", "usr/bin/run").folder("tmp", 0o1777);
        let archive = archive_of(&image(vec![layer]));

        let index = parsed(&archive, "index.json");
        let named: Vec<_> = index["manifests"].as_array().unwrap().iter().collect();
        let names: Vec<_> =
            named.iter().map(|manifest| &manifest["annotations"]["io.containerd.image.name"]).collect();
        assert_eq!(names, NAMES);
        assert_eq!(named[0]["annotations"]["org.opencontainers.image.ref.name"], "1.0");
        assert_eq!(named[0]["digest"], named[1]["digest"]);

        let manifest: Value = serde_json::from_slice(blob(&archive, named[0])).unwrap();
        let config: Value = serde_json::from_slice(blob(&archive, &manifest["config"])).unwrap();
        assert_eq!(config["architecture"], "arm64");
        assert_eq!(config["config"]["Entrypoint"][0], "/run");
        assert_eq!(config["config"]["Cmd"][0], "fast");
        assert_eq!(config["config"]["Env"][0], "A=b");
        assert_eq!(config["config"]["Labels"]["k"], "v");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);

        let wanted = [
            ("run", 0o777, "usr/bin/run"),
            ("tmp", 0o1777, ""),
            ("usr", 0o755, ""),
            ("usr/bin", 0o755, ""),
            ("usr/bin/run", 0o755, "#!"),
        ]
        .map(|(path, mode, content)| (PathBuf::from(path), mode, content.as_bytes().to_vec()));
        assert_eq!(entries(blob(&archive, &manifest["layers"][0])), wanted);
    }

    #[test]
    fn dockers_list_names_the_same_blobs_as_the_layout() {
        let mut layer = Layer::default();
        layer.bytes("a", "a", 0o644);
        let archive = archive_of(&image(vec![layer]));
        let docker = parsed(&archive, "manifest.json");
        assert_eq!(docker[0]["RepoTags"].as_array().unwrap(), &NAMES);
        let config = parsed(&archive, docker[0]["Config"].as_str().unwrap());
        let layer = docker[0]["Layers"][0].as_str().unwrap();
        let digest = config["rootfs"]["diff_ids"][0].as_str().unwrap();
        assert_eq!(layer.rsplit('/').next(), digest.strip_prefix("sha256:"));
        assert!(archive.contains_key(Path::new(layer)));
    }

    #[test]
    fn the_same_content_gives_the_same_archive_whatever_its_times_and_order() {
        let write = |names: [&str; 3]| {
            let root = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(root.path().join(name), name).unwrap();
            }
            let script = root.path().join("a");
            fs::set_permissions(script, fs::Permissions::from_mode(0o750)).unwrap();
            symlink("a", root.path().join("to-a")).unwrap();
            let mut layer = Layer::default();
            layer.tree(root.path()).unwrap();
            let target = tempfile::tempdir().unwrap();
            let file = target.path().join("image.tar");
            image(vec![layer]).write(&file).unwrap();
            fs::read(file).unwrap()
        };
        assert_eq!(write(["a", "b", "c"]), write(["c", "b", "a"]));
    }

    #[test]
    fn layers_of_the_same_content_are_one_blob() {
        let mut layer = Layer::default();
        layer.bytes("a", "a", 0o644);
        let archive = archive_of(&image(vec![layer.clone(), layer]));
        let manifest = parsed(&archive, "index.json");
        let manifest: Value = serde_json::from_slice(blob(&archive, &manifest["manifests"][0])).unwrap();
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        assert_eq!(archive.keys().filter(|path| path.parent() == Some(Path::new("blobs/sha256"))).count(), 3);
    }

    #[test]
    fn paths_longer_than_a_tar_header_survive() {
        let long = format!("{}/{}", "f".repeat(200), "n".repeat(200));
        let mut layer = Layer::default();
        layer.bytes(&long, "x", 0o644);
        let mut written = Vec::new();
        layer.write(&mut written).unwrap();
        assert_eq!(entries(&written).last().unwrap().0, PathBuf::from(long));
    }

    #[test]
    fn what_no_image_can_hold_is_named() {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = Layer::default().tree(root.path()).unwrap_err().to_string();
        assert!(error.contains(socket.to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_registrys_port_is_no_tag() {
        assert_eq!(tag("registry.example:5000/a/b:1.2").unwrap(), "1.2");
        let error = tag("registry.example:5000/a/b").unwrap_err().to_string();
        assert!(error.contains("registry.example:5000/a/b has no tag"), "{error}");
    }
}
