//! containerd on a node.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::daemon::Daemon;
use super::images::Images;
use super::node::Site;
use super::store::Store;
use super::tools::Tools;
use crate::lab::{Place, wait_until};

/// Where it listens, on its node.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";
/// What it knows of the containers that run, below its node's root.
pub(crate) const TASKS: &str = "run/containerd/io.containerd.runtime.v2.task/k8s.io";
/// Where the one listens that only unpacks images.
const UNPACKING: &str = "/run/containerd-unpacking/containerd.sock";

/// Starts containerd with the images.
pub(crate) fn start(site: &Site<'_>, place: &Place, images: &Images) -> Result<Daemon> {
    let store = Store::of(images.shared())?;
    if let Some(store) = &store {
        store.ensure(|folder| unpack(site, place, images, folder))?;
        store.share(&site.directory.join("containerd"))?;
    }
    let daemon = daemon(site, place, "containerd", &config(images.pause()?))?;
    daemon.start()?;
    wait(&daemon, place, site.tools, SOCKET)?;
    let not_there = images.own().chain(images.shared().filter(|_| store.is_none()));
    not_there.into_iter().try_for_each(|archive| import(place, site.tools, archive))?;
    Ok(daemon)
}

/// Unpacks the images in a folder, by a containerd that does nothing else.
fn unpack(site: &Site<'_>, place: &Place, images: &Images, folder: &Path) -> Result<()> {
    let daemon = daemon(site, place, "containerd-unpacking", &unpacking_config(folder))?;
    daemon.start()?;
    wait(&daemon, place, site.tools, UNPACKING)?;
    images.shared().try_for_each(|archive| import_at(place, site.tools, UNPACKING, archive))?;
    daemon.stop()
}

fn daemon(site: &Site<'_>, place: &Place, name: &str, config: &str) -> Result<Daemon> {
    let path = site.directory.join(format!("{name}.toml"));
    fs::write(&path, config).context("writing containerd's configuration")?;
    let arguments = vec!["--config".to_owned(), path.display().to_string()];
    let program = site.tools.program("containerd");
    Ok(Daemon::new(site.what(name), place, program, arguments, site.log(name))
        .env("PATH", site.tools.search_path()))
}

fn wait(daemon: &Daemon, place: &Place, tools: &Tools, socket: &str) -> Result<()> {
    wait_until("containerd answers", Duration::from_secs(60), || {
        daemon.check()?;
        let answers = ctr(place, tools, socket).arg("version").output()?.status.success();
        if !answers {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(answers)
    })
}

/// Gives a node an image, or several, from an archive.
pub(crate) fn import(place: &Place, tools: &Tools, archive: &Path) -> Result<()> {
    import_at(place, tools, SOCKET, archive)
}

fn import_at(place: &Place, tools: &Tools, socket: &str, archive: &Path) -> Result<()> {
    let output = ctr(place, tools, socket)
        .args(["--namespace", "k8s.io", "images", "import"])
        .arg(archive)
        .stdin(Stdio::null())
        .output()
        .context("starting ctr")?;
    ensure!(
        output.status.success(),
        "{} cannot be imported: {}",
        archive.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn ctr(place: &Place, tools: &Tools, socket: &str) -> Command {
    let mut command = place.command(tools.program("ctr"));
    command.args(["--address", socket]);
    command
}

fn config(pause: &str) -> String {
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = "{SOCKET}"

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{pause}"

[plugins.'io.containerd.cri.v1.runtime']
# Where the machine's root may not favour a process (no CAP_SYS_RESOURCE), a pod is as dear to the kernel as its node.
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = "runc"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

fn unpacking_config(folder: &Path) -> String {
    format!(
        r#"version = 3
root = "{}"
state = "/run/containerd-unpacking"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
]

[grpc]
address = "{UNPACKING}"
"#,
        folder.display()
    )
}
