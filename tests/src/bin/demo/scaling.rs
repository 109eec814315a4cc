//! Backends come and go while requests run.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use penstock_tests::lab::{Load, Pod, Protocol, Runs, wait_until};
use penstock_tests::probe::{Answer, Ask, Style, monotonic_ns};

use crate::cluster::Cluster;
use crate::terminal::{Terminal, failures, name, value};

/// Requests of each client that are watched after a change.
const AFTER: usize = 300;

struct Running<'a> {
    client: &'a Pod,
    family: penstock_tests::lab::Family,
    load: Load,
}

/// Scales up by one backend, then down to two, by editing the Service's manifest.
pub(crate) fn show(terminal: &mut Terminal, cluster: &mut Cluster) -> Result<()> {
    terminal.heading("Scaling up and down under traffic");
    cluster.add_backend(2)?;
    let path = cluster.lab.manifests().join(format!("{}.yaml", cluster.service.name));
    let mut running = Vec::new();
    for client in &cluster.clients {
        for family in penstock_tests::lab::Family::BOTH {
            let target = cluster.service.address(family, Protocol::Tcp);
            let load = client.load(&Ask::new(target, Style::TcpEach).every_ms(1))?;
            running.push(Running { client, family, load });
        }
    }
    for one in &running {
        one.load.wait_for_more(50)?;
    }

    let all: Vec<&Pod> = cluster.backends.iter().collect();
    let added = all[3].name();
    change(terminal, cluster, &path, &running, &all, &format!("{added} joins"), &|answer| {
        answer.server.as_deref() == Some(added)
    })?;

    let gone = [all[0].name(), all[2].name()];
    let left = [all[1], all[3]];
    change(terminal, cluster, &path, &running, &left, &format!("{} leave", gone.join(" and ")), &|answer| {
        answer.server.as_deref().is_some_and(|server| !gone.contains(&server))
    })?;

    let (mut total, mut failed) = (0, 0);
    for one in running {
        let answers = one.load.stop()?;
        total += answers.len();
        failed += answers.iter().filter(|answer| !answer.is_ok()).count();
    }
    terminal.check(failed == 0, &format!("of {total} requests meanwhile {failed} have failed"));
    let endpoints = left.map(Pod::endpoint).to_vec();
    cluster.service.endpoints = endpoints;
    Ok(())
}

/// Edits the manifest and shows, for each client, when the new set served it.
///
/// `is_new` tells whether an answer can only come from the new set; where backends have left that is not to be told
/// from one answer, so the time shown is that of the first answer after the last of the old set.
fn change(
    terminal: &mut Terminal,
    cluster: &Cluster,
    path: &Path,
    running: &[Running<'_>],
    backends: &[&Pod],
    what: &str,
    is_new: &dyn Fn(&Answer) -> bool,
) -> Result<()> {
    let before: Vec<usize> = running.iter().map(|one| one.load.count()).collect();
    let service = cluster.service.clone().with(backends.iter().copied());
    let leaving = backends.len() < cluster.backends.len();
    let changed = monotonic_ns();
    cluster.lab.apply(&service)?;
    terminal.say(&format!("{what}: {} now names {} backends", path.display(), backends.len()));

    let mut rows = Vec::new();
    for (one, &first) in running.iter().zip(&before) {
        let mut answers = Vec::new();
        wait_until("the new set serves", Duration::from_secs(20), || {
            answers = one.load.since(first);
            let after = answers.iter().filter(|answer| answer.at_ns > changed).count();
            Ok(after >= AFTER && answers.last().is_some_and(|answer| leaving || is_new(answer)))
        })?;
        answers.retain(|answer| answer.at_ns > changed);
        let position = if leaving {
            answers.iter().rposition(|answer| !is_new(answer)).map_or(0, |last| last + 1)
        } else {
            answers.iter().position(is_new).unwrap_or(answers.len())
        };
        let time = answers.get(position).map(|answer| answer.at_ns - changed);
        let bad = answers.iter().filter(|answer| !answer.is_ok()).count();
        rows.push(vec![
            name(format!("{} on {}", one.client.name(), one.client.node())),
            value(one.family),
            value(time.map_or("never".to_owned(), |ns| format!("{:.1} ms", ns as f64 / 1e6))),
            value(position),
            failures(bad),
        ]);
        check_served(terminal, time.is_some(), what);
    }
    let headings =
        ["client", "family", "file changed to served by the new set", "requests before that", "failed"];
    terminal.table(&headings, rows);
    Ok(())
}

fn check_served(terminal: &mut Terminal, served: bool, what: &str) {
    if !served {
        terminal.check(false, &format!("{what}, but no request was served by the new set"));
    }
}
