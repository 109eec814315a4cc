//! A cluster of two nodes with a client, servers on both nodes, and Services that lead to them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::{Choice, Cluster, Kubectl};
use penstock_tests::probe::{Serve, Task};
use serde_json::Value;

use super::objects::{self, NAME_PORT, NAMESPACE, PORT, PROGRAMS, RATE_PORT};

/// The client's pod, and its container.
const CLIENT: &str = "client";
/// The servers' pods: on the client's node, and on the other one.
pub(crate) const SERVERS: [&str; 2] = ["near", "far"];
/// The Service whose endpoint changes.
pub(crate) const SWITCHED: &str = "switched";

/// A cluster with everything that is measured.
pub(crate) struct World {
    pub(crate) choice: Choice,
    /// Addresses of the servers, in the order of [`SERVERS`].
    pub(crate) servers: [IpAddr; 2],
    /// Addresses of the Services that lead to one server each, and of the one whose endpoint changes. Where nothing
    /// implements Services, nobody answers there.
    pub(crate) services: [IpAddr; 2],
    pub(crate) switched: IpAddr,
    pub(crate) cluster: Cluster,
}

impl World {
    /// Makes a cluster and all its pods and Services.
    pub(crate) fn up(choice: Choice) -> Result<Self> {
        println!("== a cluster with {}", choice.name());
        let cluster = choice.up(2)?;
        let kubectl = cluster.kubectl_handle();
        let programs = programs(&cluster)?;
        let image = cluster.image("agnhost")?;
        let pod = |name: &str, node, containers: &[(&str, &[&str])]| -> Result<()> {
            kubectl.apply(&objects::pod(name, node, &image, &programs, containers).to_string()).map(drop)
        };
        pod(CLIENT, "n1", &[(CLIENT, &["sleep", "infinity"])])?;
        for (name, node) in SERVERS.into_iter().zip(["n1", "n2"]) {
            let task = Task::Serve(Serve { name: name.to_owned(), tcp: vec![NAME_PORT], udp: Vec::new() });
            let task = serde_json::to_string(&task)?;
            let probe = format!("{PROGRAMS}/pst-probe");
            let bench = format!("{PROGRAMS}/bench");
            let listen = format!("0.0.0.0:{RATE_PORT}");
            pod(name, node, &[("names", &[&probe, &task]), ("rates", &[&bench, "server", &listen])])?;
        }
        let mut words = vec!["wait", "pod", "--for=condition=Ready", "--timeout=120s", CLIENT];
        words.extend(SERVERS);
        kubectl.run(&words).context("waiting for the pods")?;
        let mut servers = Vec::new();
        for name in SERVERS {
            servers.push(address(kubectl, &["get", "pod", name], "/status/podIP")?);
        }
        let servers: [IpAddr; 2] = [servers[0], servers[1]];
        let mut services = Vec::new();
        for (name, endpoint, port) in [
            (SERVERS[0], servers[0], RATE_PORT),
            (SERVERS[1], servers[1], RATE_PORT),
            (SWITCHED, servers[0], NAME_PORT),
        ] {
            kubectl.apply(&objects::service(name).to_string())?;
            kubectl.apply(&objects::slice(name, port, &[endpoint]).to_string())?;
            services.push(address(kubectl, &["get", "service", name], "/spec/clusterIP")?);
        }
        let [near, far, switched] = services[..] else { unreachable!("three Services were made") };
        Ok(Self { choice, servers, services: [near, far], switched, cluster })
    }

    /// A command in the client's container.
    pub(crate) fn in_client(&self, words: &[&str]) -> Command {
        let exec = ["exec", "--stdin", "--namespace", NAMESPACE, CLIENT, "--"];
        self.cluster.kubectl_handle().command(&[&exec[..], words].concat())
    }

    /// The output of a command in the client's container.
    pub(crate) fn ask_client(&self, words: &[&str]) -> Result<String> {
        let output = self.in_client(words).stdin(Stdio::null()).output().context("starting kubectl exec")?;
        ensure!(
            output.status.success(),
            "{} in the client's pod failed: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Where the Service is whose endpoint changes.
    pub(crate) fn switched(&self) -> SocketAddr {
        SocketAddr::new(self.switched, PORT)
    }
}

/// A folder with the programs that pods run: copies, since what is built anew while they run must not be theirs.
fn programs(cluster: &Cluster) -> Result<PathBuf> {
    let folder = cluster.run().directory().join("bench");
    fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    let own = std::env::current_exe().context("finding this program")?;
    for name in ["bench", "pst-probe"] {
        let from = own.with_file_name(name);
        fs::copy(&from, folder.join(name)).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(folder)
}

/// An address in an object.
fn address(kubectl: &Kubectl, words: &[&str], pointer: &str) -> Result<IpAddr> {
    let object: Value = kubectl.json(words)?;
    let text = object.pointer(pointer).and_then(Value::as_str);
    let text = text.with_context(|| format!("kubectl {} told no {pointer}", words.join(" ")))?;
    text.parse().with_context(|| format!("{text:?} is no address"))
}
