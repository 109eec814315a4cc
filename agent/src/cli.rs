//! The command line.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use penstock_abi::{SCHEMA, maps};

use crate::observe::BindAddresses;
use crate::source::SourceKind;
use crate::source::kubernetes::ServerUrl;

/// Pod networking and Services on eBPF.
#[derive(Parser, Debug)]
#[command(name = "penstock", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) places: Places,
    /// File of options: an AgentConfiguration of Penstock's, or kube-proxy's own KubeProxyConfiguration
    #[arg(long, global = true, env = "PENSTOCK_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where a node's Penstock keeps what it makes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Places {
    /// Mount point of the BPF filesystem that tables and programs are pinned in
    #[arg(long, global = true, env = "PENSTOCK_BPFFS", default_value = "/sys/fs/bpf", value_name = "PATH")]
    pub(crate) bpffs: PathBuf,
    /// Directory for the agent's lock and status
    #[arg(
        long,
        global = true,
        env = "PENSTOCK_RUN_DIR",
        default_value = "/run/penstock",
        value_name = "PATH"
    )]
    pub(crate) run_dir: PathBuf,
    /// Root of the host where this one is a container's: tools that are missing here are run there
    #[arg(long, global = true, env = "PENSTOCK_HOST_ROOT", value_name = "PATH")]
    pub(crate) host_root: Option<PathBuf>,
    /// Number of the folder of pinned tables, for tests of upgrades
    #[arg(long, global = true, env = "PENSTOCK_SCHEMA", default_value_t = SCHEMA, hide = true)]
    pub(crate) schema: u32,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Serve this node: load the programs and keep their tables equal to the cluster
    Agent(Box<AgentArgs>),
    /// Services as the tables have them
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Backends as the tables have them
    #[command(subcommand)]
    Backend(BackendCommand),
    /// Tracked connections
    #[command(subcommand)]
    Flow(FlowCommand),
    /// Packets dropped, by reason
    Drops(DropsArgs),
    /// What runs on this node: agent, programs, tables
    Status(OutputArgs),
    /// The options of the agent as they would be in force, and where each value comes from. Takes the agent's options
    Config(OutputArgs),
    /// Mount a BPF filesystem where there is none, for agents to come: what the DaemonSet's init container does
    MountBpffs,
    /// Detach and remove everything that Penstock made on this node
    Cleanup(CleanupArgs),
    /// Become a program below another root: how the tools of a host are run
    #[command(hide = true)]
    InRoot(InRootArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CleanupArgs {
    /// Stay, once all is removed, until asked to end: as what a DaemonSet runs must
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(subcommand)]
    pub(crate) what: Option<CleanupCommand>,
}

#[derive(Subcommand, Clone, Copy, Debug)]
pub(crate) enum CleanupCommand {
    /// Remove what a kube-proxy has left on this node, in place of what Penstock made
    KubeProxy(KubeProxyArgs),
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct KubeProxyArgs {
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Even while a kube-proxy runs
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InRootArgs {
    pub(crate) root: PathBuf,
    pub(crate) program: OsString,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ServiceCommand {
    /// List them
    #[command(visible_alias = "ls")]
    List(OutputArgs),
}

#[derive(Subcommand, Debug)]
pub(crate) enum BackendCommand {
    /// List them
    #[command(visible_alias = "ls")]
    List(OutputArgs),
}

#[derive(Subcommand, Debug)]
pub(crate) enum FlowCommand {
    /// List them
    #[command(visible_alias = "ls")]
    List(FlowArgs),
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FlowArgs {
    /// Only flows from or to this address
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<IpAddr>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DropsArgs {
    /// Go on and print drops as they happen, as far as they are sampled
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Output {
    /// A table for people
    #[default]
    Table,
    /// JSON for programs
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct AgentArgs {
    /// Name of this node's Node object
    #[arg(long, env = "PENSTOCK_NODE", value_name = "NAME")]
    pub(crate) node: String,
    /// Where objects come from: manifests:DIR or kubernetes
    #[arg(long, env = "PENSTOCK_SOURCE", value_name = "SOURCE")]
    pub(crate) source: SourceKind,
    /// Kubeconfig for the source `kubernetes`; without it the usual places, then the pod's own account
    #[arg(long, env = "KUBECONFIG", value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// URLs of the API servers for the source `kubernetes`, asked in this order; without them, the address that the kubeconfig or
    /// the pod's environment has
    #[arg(long, env = "PENSTOCK_APISERVER", value_name = "URL", value_delimiter = ',')]
    pub(crate) apiserver: Vec<ServerUrl>,
    /// Device towards the other nodes; without it the device that has the node's InternalIP
    #[arg(long, env = "PENSTOCK_UPLINK", value_name = "DEV")]
    pub(crate) uplink: Option<String>,
    /// Whether routes to the pod ranges of other nodes on the same link are made. Where someone else has made one, it stays
    #[arg(long, env = "PENSTOCK_DIRECT_ROUTES", value_enum, default_value_t = Switch::On, value_name = "on|off")]
    pub(crate) direct_routes: Switch,
    /// Whether what a kube-proxy has left on this node is removed once it has ended and the agent serves
    #[arg(long, env = "PENSTOCK_REPLACE_KUBE_PROXY", value_enum, default_value_t = Switch::Off, value_name = "on|off")]
    pub(crate) replace_kube_proxy: Switch,
    /// Whether what arrives for a pod goes past the host's netfilter: `auto` unless rules of a kube-proxy's may be there, which drop what
    /// they see one way of
    #[arg(long, env = "PENSTOCK_BYPASS", value_enum, default_value_t = Bypass::Auto)]
    pub(crate) bypass: Bypass,
    /// Group below which sockets are served, or a folder that cgroup2 is mounted below; without it the root of the cgroup2 mount
    #[arg(long, env = "PENSTOCK_CGROUP", value_name = "PATH")]
    pub(crate) cgroup: Option<PathBuf>,
    /// Whether to mount a BPF filesystem where there is none: not in a container, whose mounts go with it
    #[arg(long, env = "PENSTOCK_MOUNT_BPFFS", value_enum, default_value_t = Switch::On, value_name = "on|off")]
    pub(crate) mount_bpffs: Switch,
    /// Folder of the network's switches, in a container a mount of it that may be written
    #[arg(long, env = "PENSTOCK_SYSCTLS", default_value = "/proc/sys/net", value_name = "PATH")]
    pub(crate) sysctls: PathBuf,
    /// Whether Services are translated at the socket, or only packet by packet
    #[arg(long, env = "PENSTOCK_SOCKET_LB", value_enum, default_value_t = Switch::On, value_name = "on|off")]
    pub(crate) socket_lb: Switch,
    /// How programs are attached to devices
    #[arg(long, env = "PENSTOCK_ATTACH", value_enum, default_value_t = Attach::Auto)]
    pub(crate) attach: Attach,
    #[command(flatten)]
    pub(crate) sizes: SizeArgs,
    /// Where probes ask for this node's health; several with commas, none: empty
    #[arg(
        long,
        env = "PENSTOCK_HEALTHZ_BIND_ADDRESS",
        default_value = BindAddresses::HEALTH,
        value_name = "IP:PORT",
        value_parser = BindAddresses::parse_health
    )]
    pub(crate) healthz_bind_address: BindAddresses,
    /// Where metrics are read; several with commas, none: empty
    #[arg(
        long,
        env = "PENSTOCK_METRICS_BIND_ADDRESS",
        default_value = BindAddresses::METRICS,
        value_name = "IP:PORT",
        value_parser = BindAddresses::parse_metrics
    )]
    pub(crate) metrics_bind_address: BindAddresses,
    /// Record one in so many flows and drops; 0: none
    #[arg(long, env = "PENSTOCK_EVENT_SAMPLE", default_value_t = 0, value_name = "N")]
    pub(crate) event_sample: u32,
    /// How the log is written
    #[arg(long, env = "PENSTOCK_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged: a level, or filters such as penstock=debug
    #[arg(long, env = "PENSTOCK_LOG", default_value = "info", value_name = "LEVEL")]
    pub(crate) log: String,
}

/// Elements of the tables. Another number than before fills new tables, carrying live flows over.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct SizeArgs {
    /// Ports of Services, counted once a family
    #[arg(long, env = "PENSTOCK_MAX_SERVICES", default_value_t = maps::MAX_SERVICES, value_name = "N", value_parser = elements())]
    pub(crate) max_services: u32,
    /// Endpoints of those, in each family
    #[arg(long, env = "PENSTOCK_MAX_BACKENDS", default_value_t = maps::MAX_BACKENDS, value_name = "N", value_parser = elements())]
    pub(crate) max_backends: u32,
    /// Places in sets of endpoints: twice the endpoints of both families
    #[arg(long, env = "PENSTOCK_MAX_SLOTS", default_value_t = maps::MAX_SLOTS, value_name = "N", value_parser = elements())]
    pub(crate) max_slots: u32,
    /// Addresses and ports that Services are reached at, in each family
    #[arg(long, env = "PENSTOCK_MAX_FRONTENDS", default_value_t = maps::MAX_FRONTENDS, value_name = "N", value_parser = elements())]
    pub(crate) max_frontends: u32,
    /// Halves of tracked connections, in each family
    #[arg(long, env = "PENSTOCK_MAX_FLOWS", default_value_t = maps::MAX_FLOWS, value_name = "N", value_parser = elements())]
    pub(crate) max_flows: u32,
}

/// A table with fewer than two elements holds nothing, since element 0 is never given out; the bound above keeps an array's
/// bytes within what the kernel can map.
fn elements() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(2..=1 << 24)
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Switch {
    #[value(alias = "true")]
    On,
    #[value(alias = "false")]
    Off,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attach {
    /// TCX where the kernel has it (6.6), clsact elsewhere
    Auto,
    /// TCX links
    Tcx,
    /// Filters at a clsact qdisc
    Clsact,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bypass {
    /// Where no rules of a kube-proxy's are
    Auto,
    /// Never: for hosts with other rules that drop what conntrack finds invalid
    #[value(alias = "false")]
    Off,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_agent_needs_a_node_and_a_source_and_has_defaults_for_the_rest() {
        let cli =
            Cli::try_parse_from(["penstock", "agent", "--node", "n1", "--source", "manifests:/m"]).unwrap();
        let Command::Agent(agent) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(agent.source, SourceKind::Manifests("/m".into()));
        assert_eq!((agent.socket_lb, agent.attach), (Switch::On, Attach::Auto));
        assert_eq!(agent.sizes.max_services, maps::MAX_SERVICES);
        assert_eq!(cli.places.schema, SCHEMA);
        assert!(Cli::try_parse_from(["penstock", "agent", "--node", "n1"]).is_err());
    }

    #[test]
    fn places_may_be_named_behind_any_command() {
        let cli =
            Cli::try_parse_from(["penstock", "service", "list", "-o", "json", "--bpffs", "/b"]).unwrap();
        assert_eq!(cli.places.bpffs, PathBuf::from("/b"));
        assert!(matches!(
            cli.command,
            Command::Service(ServiceCommand::List(OutputArgs { output: Output::Json }))
        ));
    }
}
