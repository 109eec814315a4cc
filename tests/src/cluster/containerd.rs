//! containerd on a node.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::images::Images;
use super::tools::Tools;
use super::{daemon::Daemon, node::Site};
use crate::lab::{Place, wait_until};

/// Where it listens, on its node.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";

/// containerd, which does not run yet.
pub(crate) fn daemon(site: &Site<'_>, place: &Place, images: &Images) -> Result<Daemon> {
    let config = site.directory.join("containerd.toml");
    fs::write(&config, self::config(images.pause()?)).context("writing containerd's configuration")?;
    let arguments = vec!["--config".to_owned(), config.display().to_string()];
    let program = site.tools.program("containerd");
    Ok(Daemon::new(site.what("containerd"), place, program, arguments, site.log("containerd"))
        .env("PATH", site.tools.search_path()))
}

/// Waits until it answers, then gives it the images.
pub(crate) fn load(daemon: &Daemon, place: &Place, tools: &Tools, images: &Images) -> Result<()> {
    wait_until("containerd answers", Duration::from_secs(30), || {
        daemon.check()?;
        let answers = ctr(place, tools).arg("version").output()?.status.success();
        if !answers {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(answers)
    })?;
    images.archives().try_for_each(|archive| import(place, tools, archive))
}

/// Gives a node an image, or several, from an archive.
pub(crate) fn import(place: &Place, tools: &Tools, archive: &Path) -> Result<()> {
    let output = ctr(place, tools)
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

fn ctr(place: &Place, tools: &Tools) -> Command {
    let mut command = place.command(tools.program("ctr"));
    command.args(["--address", SOCKET]);
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
