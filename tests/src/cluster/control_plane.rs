//! etcd, the API server, the controllers and the scheduler, as processes in a network namespace of their own.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::addresses::{
    API_PORT, KUBERNETES_SERVICE, POD_RANGES, SECOND_API_PORT, SERVICE_RANGES, control_plane,
};
use super::certificates::{Authority, Subject, TokenKeys};
use super::daemon::Daemon;
use super::kubeconfig;
use super::kubectl::Kubectl;
use super::tools::Tools;
use crate::lab::{Place, wait_until};

/// Where etcd is: nobody else is in this network namespace.
const ETCD: &str = "http://127.0.0.1:2379";
/// How long an API server may take on a busy machine.
const READY: Duration = Duration::from_secs(90);

/// The control plane's processes.
#[derive(Debug)]
pub struct ControlPlane {
    etcd: Daemon,
    etcd_data: PathBuf,
    api_server: Daemon,
    second_api_server: Daemon,
    controllers: Daemon,
    scheduler: Daemon,
    kubectl: Kubectl,
}

/// What the control plane is made from.
pub(crate) struct Parts<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) logs: &'a Path,
    pub(crate) place: &'a Place,
    pub(crate) tools: &'a Tools,
    pub(crate) authority: &'a Authority,
    pub(crate) kubectl: Kubectl,
}

impl ControlPlane {
    /// The programs, with their certificates. None of them runs yet.
    pub(crate) fn new(parts: Parts<'_>) -> Result<Self> {
        let named = |name: &str, program: &str, arguments| {
            let log = parts.logs.join(format!("{name}.log"));
            Daemon::new(name, parts.place, parts.tools.program(program), arguments, log)
        };
        let daemon = |name: &str, arguments| named(name, name, arguments);
        let tokens = parts.authority.token_keys()?;
        let etcd_data = parts.directory.join("etcd");
        let api_server = api_server(parts.authority, &tokens)?;
        Ok(Self {
            etcd: daemon("etcd", etcd(&etcd_data)),
            second_api_server: named("kube-apiserver-second", "kube-apiserver", second(&api_server)),
            api_server: daemon("kube-apiserver", api_server),
            controllers: daemon("kube-controller-manager", controllers(&parts, &tokens)?),
            scheduler: daemon("kube-scheduler", scheduler(&parts)?),
            etcd_data,
            kubectl: parts.kubectl,
        })
    }

    /// Starts everything and waits until the API server answers.
    pub(crate) fn start(&self) -> Result<()> {
        self.etcd.start()?;
        self.api_server.start()?;
        self.wait_ready()?;
        self.controllers.start()?;
        self.scheduler.start()
    }

    /// Waits until the API server says that it is ready.
    pub fn wait_ready(&self) -> Result<()> {
        self.wait_answers(&self.api_server, API_PORT)
    }

    fn wait_answers(&self, api_server: &Daemon, port: u16) -> Result<()> {
        let server = format!("--server={}", kubeconfig::server(port));
        wait_until("the API server is ready", READY, || {
            self.etcd.check()?;
            api_server.check()?;
            let ready =
                self.kubectl.run(&["get", "--raw", "/readyz", "--request-timeout=5s", &server]).is_ok();
            if !ready {
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(ready)
        })
    }

    /// Starts another API server, over the same store and at port [`SECOND_API_PORT`], and waits until it is ready.
    pub fn start_second_api_server(&self) -> Result<()> {
        self.second_api_server.start()?;
        self.wait_answers(&self.second_api_server, SECOND_API_PORT)
    }

    /// The API server, to be ended, paused and started again. Asked by SIGTERM it ends when its clients have had their answers,
    /// which takes up to a minute; by SIGKILL it is gone.
    pub fn api_server(&self) -> &Daemon {
        &self.api_server
    }

    /// The other API server, which runs only where a test has started it. It is no endpoint of the Service `kubernetes`.
    pub fn second_api_server(&self) -> &Daemon {
        &self.second_api_server
    }

    /// The API servers' store.
    pub fn etcd(&self) -> &Daemon {
        &self.etcd
    }

    /// kube-controller-manager.
    pub fn controllers(&self) -> &Daemon {
        &self.controllers
    }

    /// kube-scheduler.
    pub fn scheduler(&self) -> &Daemon {
        &self.scheduler
    }

    /// Ends API server and etcd, forgets every object, and starts them again: resource versions begin anew too.
    pub fn empty(&self) -> Result<()> {
        self.api_server.end(Signal::SIGKILL)?;
        self.etcd.end(Signal::SIGKILL)?;
        fs::remove_dir_all(&self.etcd_data)
            .with_context(|| format!("removing {}", self.etcd_data.display()))?;
        self.etcd.start()?;
        self.api_server.start()?;
        self.wait_ready()
    }

    /// An error where one of the programs has ended by itself.
    pub fn check(&self) -> Result<()> {
        self.daemons().into_iter().try_for_each(Daemon::check)
    }

    /// Lets everything go on after this program's end.
    pub(crate) fn leave(&self) {
        self.daemons().into_iter().for_each(Daemon::leave);
    }

    fn daemons(&self) -> [&Daemon; 5] {
        [&self.etcd, &self.api_server, &self.second_api_server, &self.controllers, &self.scheduler]
    }
}

fn etcd(data: &Path) -> Vec<String> {
    vec![
        "--name=etcd".to_owned(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-cluster=etcd=http://127.0.0.1:2380".to_owned(),
        // A cluster that is gone with the machine's power needs nothing on its disk.
        "--unsafe-no-fsync=true".to_owned(),
    ]
}

fn api_server(authority: &Authority, tokens: &TokenKeys) -> Result<Vec<String>> {
    let (own, service) = (control_plane(), KUBERNETES_SERVICE);
    let serving = authority.issue(
        "kube-apiserver",
        &Subject {
            name: "kube-apiserver",
            hosts: &[
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ],
            addresses: &[
                IpAddr::V4(own.v4),
                IpAddr::V6(own.v6),
                IpAddr::V4(service.v4),
                IpAddr::V6(service.v6),
                IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            ],
            ..Subject::default()
        },
    )?;
    let to_kubelets = authority.issue(
        "kube-apiserver-kubelet-client",
        &Subject {
            name: "kube-apiserver-kubelet-client",
            group: Some("system:masters"),
            ..Subject::default()
        },
    )?;
    let ca = authority.identity().certificate;
    Ok(vec![
        format!("--etcd-servers={ETCD}"),
        format!("--advertise-address={}", own.v4),
        "--bind-address=::".to_owned(),
        format!("--secure-port={API_PORT}"),
        format!("--service-cluster-ip-range={SERVICE_RANGES}"),
        format!("--client-ca-file={}", ca.display()),
        format!("--tls-cert-file={}", serving.certificate.display()),
        format!("--tls-private-key-file={}", serving.key.display()),
        format!("--kubelet-certificate-authority={}", ca.display()),
        format!("--kubelet-client-certificate={}", to_kubelets.certificate.display()),
        format!("--kubelet-client-key={}", to_kubelets.key.display()),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={}", tokens.public.display()),
        format!("--service-account-signing-key-file={}", tokens.private.display()),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
    ])
}

/// The arguments of the second API server, made of those of the first. What is said last is what counts.
fn second(first: &[String]) -> Vec<String> {
    let mut arguments = first.to_vec();
    arguments.push(format!("--secure-port={SECOND_API_PORT}"));
    // Both have one address, for which both would write their own port.
    arguments.push("--endpoint-reconciler-type=none".to_owned());
    arguments
}

fn controllers(parts: &Parts<'_>, tokens: &TokenKeys) -> Result<Vec<String>> {
    let ca = parts.authority.identity();
    let mut arguments = vec![
        "--allocate-node-cidrs=true".to_owned(),
        format!("--cluster-cidr={POD_RANGES}"),
        format!("--service-cluster-ip-range={SERVICE_RANGES}"),
        format!("--root-ca-file={}", ca.certificate.display()),
        format!("--cluster-signing-cert-file={}", ca.certificate.display()),
        format!("--cluster-signing-key-file={}", ca.key.display()),
        format!("--service-account-private-key-file={}", tokens.private.display()),
        "--use-service-account-credentials=true".to_owned(),
        // Ten thousand Services appear in seconds, not in minutes.
        "--kube-api-qps=1000".to_owned(),
        "--kube-api-burst=2000".to_owned(),
    ];
    arguments.extend(client(parts, "kube-controller-manager", "system:kube-controller-manager")?);
    Ok(arguments)
}

fn scheduler(parts: &Parts<'_>) -> Result<Vec<String>> {
    client(parts, "kube-scheduler", "system:kube-scheduler")
}

/// What controllers and scheduler have in common.
fn client(parts: &Parts<'_>, name: &str, user: &str) -> Result<Vec<String>> {
    let identity = parts.authority.issue(name, &Subject { name: user, ..Subject::default() })?;
    let path = parts.directory.join(format!("{name}.kubeconfig"));
    let config = kubeconfig::write(path, parts.authority, &identity)?;
    let config = config.display();
    Ok(vec![
        format!("--kubeconfig={config}"),
        format!("--authentication-kubeconfig={config}"),
        format!("--authorization-kubeconfig={config}"),
        format!("--tls-cert-file={}", identity.certificate.display()),
        format!("--tls-private-key-file={}", identity.key.display()),
        "--bind-address=127.0.0.1".to_owned(),
        // There is one of each, and it need not wait for another one's lease to end.
        "--leader-elect=false".to_owned(),
    ])
}
