//! Examples: manifests in, warnings, plan and tables out.
//!
//! Each `golden/*.yaml` is a row of documents: manifests; `delete: Kind namespace/name`; and `step: text`, which commits
//! what came before it. Beside it, `*.txt` holds what must come out. `UPDATE_GOLDEN=1` writes it anew, to be read before it
//! is committed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use penstock_model::Controller;
use penstock_model::objects::{Event, Kind, ObjectKey};
use penstock_model::tables::Plan;
use serde::Deserialize as _;
use serde_yaml_ng::Value;

use crate::checked::Checked;
use crate::facts;

enum Document {
    Event(Event),
    Step(String),
}

fn document(value: Value) -> Result<Document> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    if let Some(step) = text("step") {
        return Ok(Document::Step(step.into()));
    }
    if let Some(gone) = text("delete") {
        let (kind, name) = gone.split_once(' ').context("delete: Kind namespace/name")?;
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).context("unknown kind")?;
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        return Ok(Document::Event(Event::Delete(ObjectKey::new(kind, namespace, name))));
    }
    let (version, kind) = (text("apiVersion").unwrap_or_default(), text("kind").unwrap_or_default());
    let Some(kind) = Kind::from_manifest(version, kind) else { bail!("{version} {kind} is not read") };
    Ok(Document::Event(Event::Upsert(kind.deserialize(value)?)))
}

fn outcome(yaml: &str) -> Result<String> {
    let mut controller = Controller::new(facts(), Checked::default())?;
    controller.apply([Kind::Service, Kind::EndpointSlice, Kind::Node].map(Event::Synced));
    let mut out = String::new();
    let mut events = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(yaml) {
        match self::document(Value::deserialize(document)?)? {
            Document::Event(event) => events.push(event),
            Document::Step(step) => {
                writeln!(out, "# {step}")?;
                controller.tables_mut().journal.clear();
                for warning in controller.apply(events.drain(..)).warnings {
                    writeln!(out, "warning: {warning}")?;
                }
                writeln!(out, "{}", Plan(&controller.tables().journal))?;
            }
        }
    }
    writeln!(out, "# routes")?;
    for route in controller.routes() {
        writeln!(out, "{} via {} on device {}", route.dest, route.gateway, route.ifindex)?;
    }
    writeln!(out, "\n# tables\n{}", controller.dump()?)?;
    controller.tables_mut().journal.clear();
    for _ in 0..3 {
        controller.housekeeping()?;
    }
    write!(out, "# housekeeping\n{}", Plan(&controller.tables().journal))?;
    Ok(out)
}

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let yaml = fs::read_to_string(folder.join(name).with_extension("yaml")).unwrap();
    let outcome = outcome(&yaml).unwrap();
    let golden = folder.join(name).with_extension("txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, outcome).unwrap();
    } else {
        let expected = fs::read_to_string(golden).unwrap();
        assert!(expected == outcome, "{name} comes out as\n{outcome}\nin place of\n{expected}");
    }
}

#[test]
fn a_service_of_both_families_leads_to_pods_on_nodes_and_elsewhere() {
    check("dual-stack");
}

#[test]
fn a_rolling_update_falls_back_to_what_terminates_and_takes_up_what_comes_back() {
    check("rolling-update");
}

#[test]
fn two_services_on_one_address_and_port_are_the_olders_until_it_goes() {
    check("conflict");
}

#[test]
fn bad_parts_are_skipped_by_name_and_the_rest_is_served() {
    check("bad-input");
}

#[test]
fn a_node_that_moves_changes_next_hops_and_nothing_else() {
    check("node-moves");
}

#[test]
fn the_apis_own_service_keeps_its_last_endpoints_until_it_has_others() {
    check("api-service");
}
