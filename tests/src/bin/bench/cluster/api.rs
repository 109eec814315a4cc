//! The API server, asked directly: kubectl would take longer to start than what is measured.

use std::path::Path;
use std::pin::pin;

use anyhow::{Context, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use penstock_tests::probe::monotonic_ns;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::objects::{self, NAMESPACE};

/// Requests that are under way at one time, while many objects are created.
const SIDE_BY_SIDE: usize = 64;

/// A connection to the API server, of the thread that made it: its sockets are in that thread's network namespace.
pub(crate) struct Api {
    runtime: Runtime,
    services: kube::Api<Service>,
    slices: kube::Api<EndpointSlice>,
}

impl Api {
    /// Connects as the kubeconfig says.
    pub(crate) fn connect(kubeconfig: &Path) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("making a runtime")?;
        let client = runtime.block_on(async {
            let config = Kubeconfig::read_from(kubeconfig)?;
            let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
            Ok::<_, anyhow::Error>(Client::try_from(config)?)
        });
        let client = client.with_context(|| format!("using {}", kubeconfig.display()))?;
        let services = kube::Api::namespaced(client.clone(), NAMESPACE);
        Ok(Self { runtime, services, slices: kube::Api::namespaced(client, NAMESPACE) })
    }

    /// Changes an EndpointSlice, and tells when the API server had answered.
    pub(crate) fn change_slice(&self, name: &str, change: &Value) -> Result<u64> {
        let parameters = PatchParams::default();
        let patch = Patch::Merge(change);
        let answer = self.runtime.block_on(self.slices.patch(name, &parameters, &patch));
        let answered = monotonic_ns();
        answer.with_context(|| format!("changing the EndpointSlice {name}"))?;
        Ok(answered)
    }

    /// Watches an EndpointSlice and tells each of its states, until nobody wants to hear or the API server ends the watch.
    pub(crate) fn watch_slice(&self, name: &str, mut tell: impl FnMut(EndpointSlice) -> bool) -> Result<()> {
        let parameters = WatchParams::default().fields(&format!("metadata.name={name}"));
        let watch = async {
            let mut events = pin!(self.slices.watch(&parameters, "0").await?);
            while let Some(event) = events.try_next().await? {
                if let WatchEvent::Added(slice) | WatchEvent::Modified(slice) = event
                    && !tell(slice)
                {
                    break;
                }
            }
            Ok::<(), kube::Error>(())
        };
        self.runtime.block_on(watch).with_context(|| format!("watching the EndpointSlice {name}"))
    }

    /// Creates Services with ten endpoints each, many at one time.
    pub(crate) fn create_services(&self, count: u32) -> Result<()> {
        let create = |number| async move {
            let parameters = PostParams::default();
            let service = serde_json::from_value(objects::other_service(number))?;
            let slice = serde_json::from_value(objects::other_slice(number))?;
            self.services.create(&parameters, &service).await?;
            self.slices.create(&parameters, &slice).await?;
            Ok::<(), anyhow::Error>(())
        };
        let all = stream::iter((0..count).map(create)).buffer_unordered(SIDE_BY_SIDE).try_collect::<()>();
        self.runtime.block_on(all).context("creating Services")
    }
}
