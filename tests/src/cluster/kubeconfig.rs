//! Kubeconfigs: how a component finds the API server, and who it is there.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::addresses::{API_PORT, control_plane};
use super::certificates::{Authority, Identity, write_secret};

/// Where the API server of this port is.
pub fn server(port: u16) -> String {
    format!("https://{}:{port}", control_plane().v4)
}

/// Writes a kubeconfig. It names the files of the certificates.
pub(crate) fn write(path: PathBuf, authority: &Authority, identity: &Identity) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "penstock", "cluster": {
            "server": server(API_PORT),
            "certificate-authority": authority.identity().certificate,
        }}],
        "users": [{ "name": "me", "user": {
            "client-certificate": identity.certificate,
            "client-key": identity.key,
        }}],
        "contexts": [{ "name": "penstock", "context": { "cluster": "penstock", "user": "me" } }],
        "current-context": "penstock",
    });
    write_secret(&path, &serde_json::to_string_pretty(&config)?)?;
    Ok(path)
}
