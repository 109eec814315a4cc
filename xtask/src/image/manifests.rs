//! The manifests as kubectl renders them, checked against the image and against themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize as _;
use serde_yaml_ng::{Deserializer, Value};

use super::{REPOSITORY, name};
use crate::upstream::{self, Group};
use crate::{shell, workspace};

const OVERLAYS: [&str; 4] = ["beside-kube-proxy", "replace-kube-proxy", "kubeadm", "kind"];
const UNINSTALL: &str = "uninstall";

/// The objects of an overlay, by kind; `None` where there is no kubectl to render it.
fn render(overlay: &str) -> Option<BTreeMap<String, Vec<Value>>> {
    let folder = workspace::root().join("manifests/overlays").join(overlay);
    let text = shell::output(Command::new(kubectl()?).arg("kustomize").arg(folder)).unwrap();
    let mut objects: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for document in Deserializer::from_str(&text) {
        let object = Value::deserialize(document).unwrap();
        objects.entry(object["kind"].as_str().unwrap().to_owned()).or_default().push(object);
    }
    Some(objects)
}

/// The system's kubectl, or the lab's.
fn kubectl() -> Option<PathBuf> {
    let found = shell::find("kubectl").map(Ok);
    let lab = || {
        let tools = upstream::ensure(&[Group::Apiserver])?;
        Ok(tools.folders.into_iter().map(|folder| folder.join("kubectl")).find(|file| file.is_file()))
    };
    match found.map(|found| found.map(Some)).unwrap_or_else(lab) {
        Ok(Some(kubectl)) => Some(kubectl),
        missing => {
            let missing: Result<_, anyhow::Error> = missing;
            assert!(std::env::var_os("CI").is_none(), "no kubectl: {missing:?}");
            eprintln!("skipped: there is no kubectl, and none can be built: {missing:?}");
            None
        }
    }
}

fn sequence(value: &Value) -> &[Value] {
    value.as_sequence().map(Vec::as_slice).unwrap_or_default()
}

fn pod(objects: &BTreeMap<String, Vec<Value>>) -> &Value {
    let [daemon_set] = objects["DaemonSet"].as_slice() else { panic!("not one DaemonSet") };
    &daemon_set["spec"]["template"]["spec"]
}

/// The agent's options, and of them an address list's ports.
fn options(objects: &BTreeMap<String, Vec<Value>>) -> Value {
    let texts = objects["ConfigMap"].iter().filter_map(|map| map["data"]["agent.yaml"].as_str());
    let [text] = texts.collect::<Vec<_>>()[..] else { panic!("not one configuration") };
    serde_yaml_ng::from_str(text).unwrap()
}

#[test]
fn every_overlay_names_the_image_that_is_made_here() {
    assert_eq!(name(), format!("{REPOSITORY}:{}", env!("CARGO_PKG_VERSION")));
    for overlay in OVERLAYS.into_iter().chain([UNINSTALL]) {
        let Some(objects) = render(overlay) else { return };
        let pod = pod(&objects);
        for container in sequence(&pod["containers"]).iter().chain(sequence(&pod["initContainers"])) {
            assert_eq!(container["image"], name().as_str(), "{overlay}");
            assert_eq!(container["imagePullPolicy"], "IfNotPresent", "{overlay}");
        }
    }
}

#[test]
fn probes_and_ports_are_those_that_the_agent_is_told_to_serve_on() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let options = options(&objects);
        let agent = &sequence(&pod(&objects)["containers"])[0];
        for (port, key) in [("health", "healthzBindAddress"), ("metrics", "metricsBindAddress")] {
            let declared =
                sequence(&agent["ports"]).iter().find(|declared| declared["name"] == port).unwrap();
            let declared = declared["containerPort"].as_u64().unwrap();
            for address in options[key].as_str().unwrap().split(',') {
                assert!(address.ends_with(&format!(":{declared}")), "{overlay}: {key}: {address}");
            }
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(agent[probe]["httpGet"]["port"], "health", "{overlay}: {probe}");
        }
    }
}

#[test]
fn no_agent_is_privileged_and_none_writes_its_own_root() {
    for overlay in OVERLAYS.into_iter().chain([UNINSTALL]) {
        let Some(objects) = render(overlay) else { return };
        for container in sequence(&pod(&objects)["containers"]) {
            let context = &container["securityContext"];
            assert!(context["privileged"].is_null(), "{overlay}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{overlay}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{overlay}");
            assert_eq!(sequence(&context["capabilities"]["drop"]), [Value::from("ALL")], "{overlay}");
        }
    }
}

#[test]
fn an_agent_in_place_of_kube_proxy_has_the_api_servers_address_from_one_file() {
    for overlay in OVERLAYS {
        let Some(objects) = render(overlay) else { return };
        let addresses: Vec<_> = objects["ConfigMap"]
            .iter()
            .filter_map(|map| map["data"]["PENSTOCK_APISERVER"].as_str())
            .collect();
        // Beside kube-proxy the Service is served before the agent starts.
        let wanted = usize::from(overlay != "beside-kube-proxy");
        assert_eq!(addresses.len(), wanted, "{overlay}: {addresses:?}");
        assert!(addresses.iter().all(|address| address.starts_with("https://")), "{overlay}: {addresses:?}");
    }
}

#[test]
fn whatever_a_container_mounts_is_a_volume_of_its_pod() {
    for overlay in OVERLAYS.into_iter().chain([UNINSTALL]) {
        let Some(objects) = render(overlay) else { return };
        let pod = pod(&objects);
        let volumes: Vec<_> = sequence(&pod["volumes"]).iter().map(|volume| &volume["name"]).collect();
        for container in sequence(&pod["containers"]).iter().chain(sequence(&pod["initContainers"])) {
            for mount in sequence(&container["volumeMounts"]) {
                assert!(volumes.contains(&&mount["name"]), "{overlay}: {mount:?}");
            }
        }
    }
}
