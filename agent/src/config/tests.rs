use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::file::{File, camel_case};
use super::show::Source;
use super::{Error, Loaded, kube_proxy, load, options};
use crate::cli::{Command, Switch};
use crate::source::SourceKind;

const HEAD: &str = "apiVersion: penstock.io/v1alpha1\nkind: AgentConfiguration\n";
const KUBE_PROXY: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn run(command: &str, file: &Path, more: &[&str]) -> Result<Loaded, Error> {
    let words = ["penstock", command, "--config", file.to_str().unwrap()];
    load(words.iter().chain(more).map(OsString::from))
}

fn refusal(text: &str) -> String {
    let file = file(text);
    match run("agent", file.path(), &[]) {
        Ok(_) => panic!("{text} is taken"),
        Err(error) => error.to_string().replace(file.path().to_str().unwrap(), "FILE"),
    }
}

#[test]
fn a_file_sets_what_the_flags_set_and_a_flag_wins() {
    let file = file(&format!(
        "{HEAD}node: n1\nsource: manifests:/m\nsocketLb: off\nmaxServices: 512\nbpffs: /b\nuplink: null\n"
    ));
    let loaded = run("agent", file.path(), &["--max-services", "1024"]).unwrap();
    let Command::Agent(agent) = loaded.cli.command else { panic!("no agent") };
    assert_eq!((agent.node.as_str(), agent.socket_lb), ("n1", Switch::Off));
    assert_eq!(agent.source, SourceKind::Manifests("/m".into()));
    assert_eq!((agent.sizes.max_services, agent.uplink), (1024, None));
    assert_eq!(loaded.cli.places.bpffs, PathBuf::from("/b"));
    assert!(loaded.warnings.is_empty());
}

#[test]
fn what_a_file_does_not_set_is_still_required() {
    let error = refusal(&format!("{HEAD}node: n1\n"));
    assert!(error.contains("--source"), "{error}");
}

#[test]
fn other_commands_take_from_the_file_what_concerns_them() {
    let file = file(&format!("{HEAD}node: n1\nrunDir: /r\n"));
    let loaded = run("status", file.path(), &[]).unwrap();
    assert_eq!(loaded.cli.places.run_dir, PathBuf::from("/r"));
}

#[test]
fn each_effective_value_names_its_source() {
    let file = file(&format!("{HEAD}node: n1\nmaxFlows: 4096\nsocketLb: true\n"));
    let effective = run("config", file.path(), &["--node", "n2"]).unwrap().effective;
    let of = |name: &str| {
        let row = effective.option(name).unwrap();
        (row.value.join(","), row.source.clone())
    };
    let from = |key: &str| Source::File { path: file.path().into(), key: key.into() };
    assert_eq!(of("node"), ("n2".into(), Source::Flag));
    assert_eq!(of("max-flows"), ("4096".into(), from("maxFlows")));
    assert_eq!(of("socket-lb"), ("true".into(), from("socketLb")));
    assert_eq!(of("attach"), ("auto".into(), Source::Default));
    assert_eq!(of("source"), (String::new(), Source::Unset));
    assert_eq!(of("bpffs"), ("/sys/fs/bpf".into(), Source::Default));
    assert!(effective.option("schema").is_none() && effective.option("output").is_none());
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    assert_eq!(
        refusal(&format!("{HEAD}maxServises: 3\n")),
        "FILE: maxServises: there is no such key; did you mean maxServices?"
    );
    assert!(refusal(&format!("{HEAD}zzz: 3\n")).contains("`penstock config` lists the options"));
    assert!(refusal(&format!("{HEAD}schema: 3\n")).contains("schema: there is no such key"));
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_key() {
    for (line, problem) in [
        ("maxServices: many", "maxServices: \"many\" cannot be used: invalid digit found in string"),
        ("maxServices: 1", "maxServices: \"1\" cannot be used: 1 is not in 2..=16777216"),
        ("maxServices: [1]", "maxServices: a list, where one value is wanted"),
        ("attach: {tcx: on}", "attach: a mapping, where one value is wanted"),
        ("attach: glue", "attach: \"glue\" is none of auto, tcx, clsact"),
        (
            "source: etcd",
            "source: \"etcd\" cannot be used: \"etcd\" is no source: use manifests:DIR or kubernetes",
        ),
    ] {
        assert_eq!(refusal(&format!("{HEAD}{line}\n")), format!("FILE: {problem}"));
    }
}

#[test]
fn a_file_that_is_no_configuration_is_named() {
    assert!(refusal("kind: ConfigMap\napiVersion: v1\n").contains("kind \"ConfigMap\" is no configuration"));
    assert!(refusal("").starts_with("FILE: "));
    assert!(refusal(&format!("{HEAD}node: [\n")).contains("line"));
    assert!(refusal(&format!("{HEAD}node: a\nnode: b\n")).contains("duplicate"));
    let missing = load(["penstock", "agent", "--config", "/does/not/exist"].map(OsString::from));
    assert!(missing.err().unwrap().to_string().contains("/does/not/exist: No such file"));
}

#[test]
fn kube_proxys_file_is_honoured_where_it_can_be_and_named_where_it_cannot() {
    // What kubeadm writes, with a few values of its own.
    let text = format!(
        "{KUBE_PROXY}bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: \"\"
  burst: 0
  contentType: \"\"
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {{maxPerCore: null, min: null, tcpBeLiberal: false, tcpEstablishedTimeout: 2h0m0s}}
detectLocal: {{bridgeInterface: \"\", interfaceNamePrefix: \"\"}}
enableProfiling: false
hostnameOverride: worker-1
iptables: {{localhostNodePorts: null, masqueradeAll: true, masqueradeBit: 14, syncPeriod: 30s}}
logging: {{flushFrequency: 0, options: {{json: {{infoBufferSize: \"0\"}}}}, verbosity: 0, format: json}}
mode: ipvs
nodePortAddresses: [192.0.2.0/24]
oomScoreAdj: null
surprise: 1
winkernel: {{enableDSR: false}}
"
    );
    let file = File::parse(Path::new("kp"), &text, &options()).unwrap();
    let set = |id: &str| file.setting(id).map(|setting| (setting.key.as_str(), setting.values.join(",")));
    assert_eq!(set("node"), Some(("hostnameOverride", "worker-1".into())));
    assert_eq!(set("kubeconfig").unwrap().0, "clientConnection.kubeconfig");
    assert_eq!(set("log_format"), Some(("logging.format", "json".into())));
    assert_eq!(set("source"), Some(("kind", "kubernetes".into())));
    assert_eq!(
        file.warnings,
        [
            "kp: clusterCIDR: 10.244.0.0/16 has no effect here",
            "kp: conntrack.tcpEstablishedTimeout: 2h0m0s has no effect here",
            "kp: iptables.masqueradeAll: true has no effect here",
            "kp: mode: ipvs has no effect here",
            "kp: nodePortAddresses: [192.0.2.0/24] has no effect here",
            "kp: surprise: kube-proxy has no such key, and it has no effect here either",
        ]
    );
}

#[test]
fn every_honoured_key_of_kube_proxys_sets_an_option_that_there_is() {
    let options = options();
    for (key, option) in kube_proxy::HONOURED {
        assert!(options.iter().any(|known| known.get_long() == Some(*option)), "{key} sets no option");
    }
}

#[test]
fn keys_are_flags_in_camel_case() {
    assert_eq!(camel_case("max-services"), "maxServices");
    assert_eq!(camel_case("node"), "node");
}
