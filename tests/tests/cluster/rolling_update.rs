//! The DaemonSet rolled to another image and back, under load.

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster;
use penstock_tests::lab::Runs as _;
use penstock_tests::needs;

use super::fixture::{self, Fixture};
use super::traffic::Traffic;

/// Gives a node's image another name beside its own.
fn tag(fixture: &Fixture, image: &str, other: &str) -> Result<()> {
    for node in fixture.cluster.nodes() {
        let words = ["ctr", "images", "tag", "--force", image, other].map(str::to_owned);
        let output =
            cluster::shell(fixture.cluster.run(), node.place(), &words).output().context("starting ctr")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Rolls the DaemonSet, waits until its pods have this image, and until they serve.
fn roll(fixture: &Fixture, arguments: &[&str], image: &str) -> Result<()> {
    fixture.system(arguments)?;
    fixture.rolled_out()?;
    let agents = fixture.agents()?;
    ensure!(
        agents.len() == 2 && agents.iter().all(|agent| agent.ready && agent.image == image),
        "{agents:?}"
    );
    Ok(())
}

#[test]
fn the_daemon_set_is_rolled_to_another_image_and_back_and_no_connection_notices() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::alone();
    let agents = fixture.agents()?;
    let image = agents.first().context("there is no agent")?.image.clone();
    let (repository, _) = image.rsplit_once(':').context("the image has no tag")?;
    let other = format!("{repository}:other");
    tag(&fixture, &image, &other)?;
    let traffic = Traffic::start(&fixture.cluster, "update")?;
    roll(&fixture, &["set", "image", "daemonset/penstock", &format!("agent={other}")], &other)?;
    traffic.goes_on().context("with the other image")?;
    roll(&fixture, &["rollout", "undo", "daemonset/penstock"], &image)?;
    traffic.goes_on().context("with the first image again")?;
    traffic.stop().map(drop)
}
