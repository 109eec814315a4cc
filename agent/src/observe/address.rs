//! Where a server listens, as an operator names it: as kube-proxy's flags do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port at which load balancers ask for the health of a node (KEP-3836).
pub(crate) const HEALTH_PORT: u16 = 10_256;
/// The port at which metrics are read.
pub(crate) const METRICS_PORT: u16 = 10_249;

/// The addresses that a server listens on; none: there is no server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct BindAddresses(pub(crate) Vec<SocketAddr>);

impl BindAddresses {
    /// Where health is served unless told otherwise: every address of both families.
    pub(crate) const HEALTH: &'static str = "0.0.0.0:10256,[::]:10256";
    /// Where metrics are served unless told otherwise: on the node itself.
    pub(crate) const METRICS: &'static str = "127.0.0.1:10249";

    /// Reads a list with commas of addresses with or without a port. Empty text is no server.
    ///
    /// # Errors
    /// A part is no address.
    pub(crate) fn parse(text: &str, port: u16) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| address(part, port)).collect::<Result<_, _>>().map(Self)
    }

    /// [`Self::parse`] for the server of health.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn parse_health(text: &str) -> Result<Self, String> {
        Self::parse(text, HEALTH_PORT)
    }

    /// [`Self::parse`] for the server of metrics.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn parse_metrics(text: &str) -> Result<Self, String> {
        Self::parse(text, METRICS_PORT)
    }
}

fn address(text: &str, port: u16) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port)).map_err(|_| {
        let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        format!("{text:?} is no address to listen on: use one such as {v4}, {v4}:{port} or [{v6}]:{port}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_kube_proxys_and_serve_both_families() {
        let health = BindAddresses::parse_health(BindAddresses::HEALTH).unwrap();
        assert_eq!(health.0, ["0.0.0.0:10256".parse().unwrap(), "[::]:10256".parse().unwrap()]);
        let metrics = BindAddresses::parse_metrics(BindAddresses::METRICS).unwrap();
        assert_eq!(metrics.0, ["127.0.0.1:10249".parse().unwrap()]);
    }

    #[test]
    fn an_address_without_a_port_gets_the_usual_one_and_empty_text_is_no_server() {
        let parsed = BindAddresses::parse_health("::1, [fd00::1],192.0.2.1").unwrap();
        let expected =
            ["[::1]:10256", "[fd00::1]:10256", "192.0.2.1:10256"].map(|text| text.parse().unwrap());
        assert_eq!(parsed.0, expected);
        assert_eq!(BindAddresses::parse_metrics(""), Ok(BindAddresses::default()));
    }

    #[test]
    fn what_is_no_address_is_named_with_what_would_be_one() {
        for text in ["localhost:80", "1.2.3.4:", "0.0.0.0:10256,x"] {
            let error = BindAddresses::parse_health(text).unwrap_err();
            assert!(error.contains("127.0.0.1:10256"), "{error}");
        }
    }
}
