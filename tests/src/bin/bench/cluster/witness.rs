//! A watch of the slice that is changed, beside the proxy's own: it tells what the API server's word of a change takes from
//! what the proxy takes to follow it.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use penstock_tests::probe::monotonic_ns;

use super::api::Api;

/// Longer than any API server takes for its word of a change.
const LIMIT: Duration = Duration::from_secs(60);

/// A watch that goes on by itself, as long as the API server lets it: minutes.
pub(crate) struct Witness(Receiver<Result<Heard>>);

/// A state of the slice.
struct Heard {
    at_ns: u64,
    endpoint: Option<String>,
}

impl Witness {
    /// Watches the EndpointSlice of this name. The thread that calls is in the API server's network namespace, and so is
    /// then the watch.
    pub(crate) fn start(kubeconfig: &Path, slice: &'static str) -> Self {
        let kubeconfig = kubeconfig.to_owned();
        let (sender, heard) = channel();
        thread::spawn(move || {
            let tell = |slice| {
                let heard = Heard { at_ns: monotonic_ns(), endpoint: first_endpoint(slice) };
                sender.send(Ok(heard)).is_ok()
            };
            let ended = Api::connect(&kubeconfig).and_then(|api| api.watch_slice(slice, tell));
            if let Err(error) = ended {
                // The measurement may have ended, too.
                let _ = sender.send(Err(error));
            }
        });
        Self(heard)
    }

    /// When the slice was heard to lead to this endpoint, by [`monotonic_ns`].
    pub(crate) fn heard(&self, endpoint: &str) -> Result<u64> {
        loop {
            match self.0.recv_timeout(LIMIT) {
                Ok(heard) => {
                    let heard = heard.context("watching beside the proxy")?;
                    if heard.endpoint.as_deref() == Some(endpoint) {
                        return Ok(heard.at_ns);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("no watch was told of the change in {LIMIT:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("the watch beside the proxy has ended"),
            }
        }
    }
}

fn first_endpoint(slice: EndpointSlice) -> Option<String> {
    slice.endpoints.into_iter().next()?.addresses.into_iter().next()
}
