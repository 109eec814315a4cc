//! The overlays that are not run here, before a real API server.

use anyhow::{Context, Result, ensure};
use penstock_tests::needs;

use super::fixture;
use super::readme::manifests;

#[test]
fn the_overlays_for_kind_and_kubeadm_pass_a_dry_run_of_the_server() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    for overlay in ["kind", "kubeadm"] {
        let folder = manifests()?.join("overlays").join(overlay);
        let folder = folder.to_str().context("the folder is not UTF-8")?;
        let said = fixture.cluster.kubectl(&["apply", "-k", folder, "--dry-run=server"])?;
        for object in ["daemonset.apps/penstock", "clusterrole.rbac.authorization.k8s.io/penstock"] {
            ensure!(said.contains(object) && said.contains("(server dry run)"), "{overlay}: {said}");
        }
    }
    Ok(())
}
