//! Penstock in a cluster, installed as its users install it: an overlay of the manifests, unmodified, with the API server's
//! address beside it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::addresses::API_PORT;
use super::kubeconfig::server;
use super::kubectl::Kubectl;

/// Names the folder of the manifests.
pub const MANIFESTS: &str = "PENSTOCK_MANIFESTS";
/// Where the objects are.
pub const NAMESPACE: &str = "penstock-system";

/// Applies an overlay of the manifests (`replace-kube-proxy`).
pub(crate) fn apply(directory: &Path, kubectl: &Kubectl, overlay: &str) -> Result<()> {
    let folder = customise(directory, overlay)?;
    let folder = folder.to_str().context("the run's directory is not UTF-8")?;
    kubectl.run(&["apply", "-k", folder]).map(drop)
}

/// Writes a kustomization that adds the API server's address to an overlay.
fn customise(directory: &Path, overlay: &str) -> Result<PathBuf> {
    let manifests = std::env::var_os(MANIFESTS)
        .with_context(|| format!("{MANIFESTS} is to name the folder of Penstock's manifests"))?;
    let folder = directory.join("penstock");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    // A kustomization names others by relative paths alone.
    let link = directory.join("manifests");
    if !link.exists() {
        symlink(&manifests, &link).with_context(|| format!("linking {}", link.display()))?;
    }
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../manifests/overlays/{overlay}
configMapGenerator:
  - name: penstock-apiserver
    namespace: {NAMESPACE}
    behavior: merge
    literals:
      - PENSTOCK_APISERVER={}
",
        server(API_PORT)
    );
    fs::write(folder.join("kustomization.yaml"), text).context("writing the kustomization")?;
    Ok(folder)
}
