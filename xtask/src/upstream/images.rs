//! The images that pods of the lab run, under the names by which kubelet, containerd and upstream's tests ask for them.
//!
//! They are upstream's programs over the machine's own distribution where upstream has Alpine's: what tests call inside
//! them (a shell, nc, curl, dig and the like) is there, and their layers are not upstream's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::cache;
use super::group::{Group, KUBERNETES};
use super::root;
use crate::oci::{self, Config, Image, Layer};
use crate::{pins, setup, shell};

/// Where upstream's tests find their images.
const TEST_IMAGES: &str = "registry.k8s.io/e2e-test-images";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of the images goes into their key beside their programs: CoreDNS, and how they are made.
pub(super) fn parts() -> Result<Vec<Vec<u8>>> {
    let recipes: [&[u8]; 3] =
        [include_bytes!("images.rs"), include_bytes!("root.rs"), include_bytes!("../oci.rs")];
    let pins =
        [pins::PAUSE, pins::AGNHOST, pins::GLIBC_DNS_TESTING, pins::BUSYBOX, pins::REGRESSION_ISSUE_74839];
    let mut parts: Vec<Vec<u8>> = recipes.map(<[u8]>::to_vec).to_vec();
    parts.push(Group::Coredns.key()?.as_str().into());
    parts.push(pins.join(" ").into());
    Ok(parts)
}

/// The archives in a folder that [`build`] filled.
pub(super) fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = cache::files(folder)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "tar"));
    Ok(files)
}

/// Makes every archive in `folder`.
pub(super) fn build(folder: &Path) -> Result<()> {
    setup::require(setup::IMAGES)?;
    let scratch = tempfile::tempdir_in(folder).context("cannot make a folder for images")?;
    let at = scratch.path();
    Group::Images.programs_into(at)?;
    let source = KUBERNETES.source()?;
    check_pins(&source)?;
    pause(&source, at)?.write(&folder.join("pause.tar"))?;
    busybox()?.write(&folder.join("busybox.tar"))?;
    regression(at).write(&folder.join("regression-issue-74839.tar"))?;
    coredns()?.write(&folder.join("coredns.tar"))?;
    agnhost(&source, at)?.write(&folder.join("agnhost.tar"))?;
    scratch.close().context("cannot remove what images were made of")
}

/// An image of this machine's architecture.
fn image(name: String, config: Config, layers: Vec<Layer>) -> Image {
    Image { names: vec![name], architecture: oci::architecture().to_owned(), config, layers }
}

/// One static program and nothing else.
fn single(name: String, program: &str, from: PathBuf) -> Image {
    let mut layer = Layer::default();
    layer.file(program, from, 0o755);
    let config = Config { entrypoint: vec![format!("/{program}")], ..Config::default() };
    image(name, config, vec![layer])
}

/// The container that holds a pod's namespaces, from upstream's own C source.
fn pause(source: &Path, scratch: &Path) -> Result<Image> {
    let program = scratch.join("pause");
    shell::run(
        Command::new("cc")
            .args(["-Os", "-static", "-s"])
            .arg(format!("-DVERSION=v{}", pins::PAUSE))
            .arg("-o")
            .arg(&program)
            .arg(source.join("build/pause/linux/pause.c")),
    )?;
    Ok(single(format!("registry.k8s.io/pause:{}", pins::PAUSE), "pause", program))
}

fn regression(programs: &Path) -> Image {
    let name = format!("{TEST_IMAGES}/regression-issue-74839:{}", pins::REGRESSION_ISSUE_74839);
    single(name, "regression-issue-74839", programs.join("regression-issue-74839"))
}

fn coredns() -> Result<Image> {
    let name = format!("registry.k8s.io/coredns/coredns:{}", Group::Coredns.version()?);
    Ok(single(name, "coredns", Group::Coredns.ensure()?.join("coredns")))
}

/// The machine's own busybox under upstream's name: tests want a shell and small tools, of whatever version.
fn busybox() -> Result<Image> {
    let busybox = shell::find("busybox").context("there is no busybox")?;
    let mut layer = Layer::default();
    layer.file("bin/busybox", &busybox, 0o755).folder("tmp", 0o1777).folder("root", 0o700);
    layer.bytes("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644);
    layer.bytes("etc/group", "root:x:0:\n", 0o644);
    for applet in shell::output(Command::new(&busybox).arg("--list"))?.lines() {
        if applet != "busybox" {
            layer.link(format!("bin/{applet}"), "busybox");
        }
    }
    let config = Config { cmd: vec!["sh".to_owned()], env: vec![PATH.to_owned()], ..Config::default() };
    Ok(image(format!("{TEST_IMAGES}/busybox:{}", pins::BUSYBOX), config, vec![layer]))
}

/// Upstream's all-round test program, over a small Debian (`test/images/agnhost/Dockerfile`), whose C library and dig are
/// all that another of upstream's images has.
fn agnhost(source: &Path, scratch: &Path) -> Result<Image> {
    let root = scratch.join("root");
    root::make(&root)?;
    let mut below = Layer::default();
    below.tree(&root)?;

    let mut layer = Layer::default();
    layer
        .file("agnhost", scratch.join("agnhost"), 0o755)
        .link("agnhost-2", "agnhost")
        // Tests start it in a pod, as a DNS server of their own.
        .file("coredns", Group::Coredns.ensure()?.join("coredns"), 0o755)
        .folder("uploads", 0o755);
    for file in ["localhost.crt", "localhost.key"] {
        layer.file(file, source.join("test/images/agnhost/porter").join(file), 0o644);
    }
    let config = Config {
        entrypoint: vec!["/agnhost".to_owned()],
        cmd: vec!["pause".to_owned()],
        env: vec![PATH.to_owned()],
        ..Config::default()
    };
    let mut image = image(format!("{TEST_IMAGES}/agnhost:{}", pins::AGNHOST), config, vec![below, layer]);
    image.names.push(format!("{TEST_IMAGES}/glibc-dns-testing:{}", pins::GLIBC_DNS_TESTING));
    Ok(image)
}

/// Fails where the pinned Kubernetes asks for images of other versions than ours are named: after it was changed.
fn check_pins(source: &Path) -> Result<()> {
    let file = source.join("test/utils/image/manifest.go");
    let manifest = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    for (image, version) in [
        ("pause", pins::PAUSE),
        ("agnhost", pins::AGNHOST),
        ("glibc-dns-testing", pins::GLIBC_DNS_TESTING),
        ("busybox", pins::BUSYBOX),
        ("regression-issue-74839", pins::REGRESSION_ISSUE_74839),
    ] {
        ensure!(
            manifest.contains(&format!("\"{image}\", \"{version}\"")),
            "{} asks for another {image} than {version}: change xtask/src/pins.rs",
            file.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{archives, check_pins, single};
    use crate::pins;

    fn manifest(agnhost: &str) -> String {
        format!(
            "configs[Agnhost] = Config{{r, \"agnhost\", \"{agnhost}\"}}\n\
             configs[BusyBox] = Config{{r, \"busybox\", \"{}\"}}\n\
             configs[Dns] = Config{{r, \"glibc-dns-testing\", \"{}\"}}\n\
             configs[Pause] = Config{{r, \"pause\", \"{}\"}}\n\
             configs[R] = Config{{r, \"regression-issue-74839\", \"{}\"}}\n",
            pins::BUSYBOX,
            pins::GLIBC_DNS_TESTING,
            pins::PAUSE,
            pins::REGRESSION_ISSUE_74839
        )
    }

    #[test]
    fn an_image_that_upstream_asks_for_in_another_version_is_named() {
        let source = tempfile::tempdir().unwrap();
        let folder = source.path().join("test/utils/image");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("manifest.go"), manifest(pins::AGNHOST)).unwrap();
        check_pins(source.path()).unwrap();
        fs::write(folder.join("manifest.go"), manifest("9.9")).unwrap();
        let error = check_pins(source.path()).unwrap_err().to_string();
        assert!(error.contains("another agnhost than"), "{error}");
    }

    #[test]
    fn an_image_of_one_program_runs_it() {
        let image = single("r.example/coredns:v1".to_owned(), "coredns", PathBuf::from("/c"));
        assert_eq!(image.config.entrypoint, ["/coredns"]);
        assert_eq!(image.names, ["r.example/coredns:v1"]);
    }

    #[test]
    fn archives_are_what_a_cluster_imports() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.tar", "a.tar", "notes"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = archives(folder.path()).unwrap();
        let names: Vec<_> = found.iter().filter_map(|file| file.file_name()).collect();
        assert_eq!(names, [Path::new("a.tar"), Path::new("b.tar")]);
    }
}
