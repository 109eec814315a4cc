//! The agent's way to the API: whose it is, where its servers are, and how long a dead one is believed in.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::timeout;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use super::servers::{ServerUrl, Servers};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take until the connection is encrypted.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection on which nothing was heard for this long is probed; a host that vanished is noticed after
/// `PROBE + PROBES * PROBE_EVERY`.
const PROBE: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;
/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// Connections that are not in use are closed after this.
const UNUSED: Duration = Duration::from_secs(30);
/// What a connection reads ahead at most, in bytes: there is one for each watch.
const READ_AHEAD: usize = 64 * 1_024;

/// A client of the cluster: as the kubeconfig says, or without one as usual, or as the pod's own account. `servers`, where there
/// are any, stand for the address in there; the certificate authority and the credentials stay the same.
///
/// # Errors
/// There is no configuration, or it cannot be read. That the cluster does not answer is no error.
pub(crate) async fn connect(kubeconfig: Option<&Path>, servers: &[ServerUrl]) -> Result<Client> {
    let config = match kubeconfig {
        Some(path) => {
            let kubeconfig =
                Kubeconfig::read_from(path).with_context(|| format!("read kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("use kubeconfig {}", path.display()))?
        }
        None => match (Config::infer().await, servers.first()) {
            (Ok(config), _) => config,
            // Whoever asks for a plain connection may do without credentials.
            (Err(_), Some(first)) if servers.iter().all(ServerUrl::is_plain) => {
                Config::new(first.uri().clone())
            }
            (Err(error), _) => {
                return Err(error).context("find the cluster: give --kubeconfig, or run in a pod");
            }
        },
    };
    client(config, servers)
}

/// A client that is as `config` says, but for the servers.
pub(super) fn client(config: Config, servers: &[ServerUrl]) -> Result<Client> {
    ensure!(
        config.proxy_url.is_none(),
        "the kubeconfig names a proxy-url: the agent talks to API servers directly"
    );
    let servers = match servers {
        [] => vec![ServerUrl::of(config.cluster_url.clone()).map_err(anyhow::Error::msg)?],
        servers => servers.to_vec(),
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(PROBE));
    tcp.set_keepalive_interval(Some(PROBE_EVERY));
    tcp.set_keepalive_retries(Some(PROBES));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let tls = config
        .rustls_https_connector_with_connector(tcp)
        .context("use the certificates of the configuration")?;
    let connector = service_fn(move |uri| {
        let connection = tls.clone().oneshot(uri);
        Box::pin(async move {
            let slow = |_| format!("no connection within {} s", HANDSHAKE.as_secs());
            timeout(HANDSHAKE, connection).await.map_err(slow)?
        })
    });
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(UNUSED)
        .http1_max_buf_size(READ_AHEAD)
        .build(connector);
    let service = ServiceBuilder::new()
        .option_layer(config.auth_layer().context("use the credentials of the configuration")?)
        .layer(config.extra_headers_layer().context("use the headers of the configuration")?)
        .map_err(BoxError::from)
        .service(Servers::new(http, &servers));
    Ok(Client::new(service, config.default_namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_read_is_named() {
        let Err(error) = connect(Some(Path::new("/nonexistent/kubeconfig")), &[]).await else {
            panic!("it is not there")
        };
        assert!(format!("{error:#}").contains("/nonexistent/kubeconfig"), "{error:#}");
    }

    #[tokio::test]
    async fn a_proxy_is_refused_by_name() {
        let mut config = Config::new("https://a".parse().unwrap());
        config.proxy_url = Some("http://proxy".parse().unwrap());
        let error = client(config, &[]).err().unwrap();
        assert!(error.to_string().contains("proxy-url"), "{error}");
    }
}
