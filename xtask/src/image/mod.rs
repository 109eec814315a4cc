//! `cargo xtask image`: the agent's container image, as an archive that `ctr images import`, `docker load` and `podman load`
//! take. No daemon and no base image: the agent is static, and all that it needs is in it.
//!
//! The same sources give the same bytes, in whatever folder and on whatever day they are built, with the same compilers.

mod binary;
mod elsewhere;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::oci::{Config, Image, Layer};
use crate::workspace;

/// The image's name without its tag, as the manifests have it. `localhost` is nobody's registry: where the image was not loaded,
/// a node says so and asks no stranger for it.
pub(crate) const REPOSITORY: &str = "localhost/penstock";

/// The agent within the image: on the search path, so that `kubectl exec POD -- penstock status` finds it.
const AGENT: &str = "usr/bin/penstock";

/// How to make the image.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image's full name; another one than the default also goes into the manifests, by `kustomize edit set image`
    #[arg(long, value_name = "NAME", default_value_t = name())]
    tag: String,
    /// The archive to write; without it `oci/penstock.tar` in cargo's target directory
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Build everything once more from a copy of the sources in another folder, and fail where one byte differs
    #[arg(long)]
    check: bool,
}

/// The default name.
fn name() -> String {
    format!("{REPOSITORY}:{}", env!("CARGO_PKG_VERSION"))
}

/// Makes the archive and prints its path.
pub(crate) fn run(args: &Args) -> Result<()> {
    let archive = args.output.clone().unwrap_or_else(archive);
    write(&args.tag, &binary::build()?, &archive)?;
    let size = fs::metadata(&archive).map(|metadata| metadata.len()).unwrap_or_default();
    eprintln!("image {}, {:.1} MB, {}", args.tag, size as f64 / 1e6, digest(&archive)?);
    if args.check {
        let other = elsewhere::build(&args.tag)?;
        ensure!(
            digest(&archive)? == digest(&other)?,
            "the image is not reproducible: {} and {} differ",
            archive.display(),
            other.display()
        );
        eprintln!("built elsewhere, it is the same, bit by bit");
    }
    println!("{}", archive.display());
    Ok(())
}

/// Makes the archive of the default name, where it belongs.
pub(crate) fn build() -> Result<PathBuf> {
    let archive = archive();
    write(&name(), &binary::build()?, &archive)?;
    Ok(archive)
}

/// Where the archive is unless somebody says otherwise.
fn archive() -> PathBuf {
    workspace::target().join("oci").join("penstock.tar")
}

fn write(tag: &str, binary: &Path, archive: &Path) -> Result<()> {
    let mut layer = Layer::default();
    layer.file(AGENT, binary, 0o755);
    for licence in ["LICENSE", "LICENSE-GPL-2.0"] {
        layer.file(Path::new("usr/share/doc/penstock").join(licence), workspace::root().join(licence), 0o644);
    }
    let labels = [
        ("title", "penstock"),
        ("description", "Pod networking and Services on eBPF: the agent of a node"),
        ("version", env!("CARGO_PKG_VERSION")),
        // What the agent carries for the kernel is under either.
        ("licenses", "Apache-2.0 AND (Apache-2.0 OR GPL-2.0-only)"),
    ];
    let image = Image {
        names: vec![tag.to_owned()],
        architecture: binary::ARCHITECTURE.to_owned(),
        config: Config {
            entrypoint: vec![format!("/{AGENT}")],
            cmd: vec!["agent".to_owned()],
            env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            labels: labels
                .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()))
                .into(),
            ..Config::default()
        },
        layers: vec![layer],
    };
    image.write(archive)
}

/// The file's digest, as OCI writes one.
fn digest(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256:{hex}"))
}

#[cfg(test)]
mod manifests;
