//! Clients in pods, as a user starts them with `kubectl exec`.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use penstock_tests::lab::Family;

use super::namespace::Namespace;

/// What a user types to reach a Service, in a pod of this name.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) pod: &'a str,
}

/// curl's exit code where a connection was refused.
const REFUSED: i32 = 7;

impl Client<'_> {
    /// The names of the pods that answer some requests over HTTP. `host` is a name, or an address in brackets where it needs
    /// them.
    pub(crate) fn http(&self, family: Family, host: &str, port: u16) -> Result<BTreeSet<String>> {
        let script = format!(
            "for i in 1 2 3 4 5 6 7 8 9 10; do \
             curl --silent --show-error --globoff --max-time 5 {} http://{host}:{port}/hostname || exit; echo; done",
            flag(family)
        );
        Ok(lines(&self.namespace.exec(self.pod, &["sh", "-c", &script])?))
    }

    /// The same over UDP, one socket a request.
    pub(crate) fn udp(&self, family: Family, host: &str, port: u16) -> Result<BTreeSet<String>> {
        let host = host.trim_matches(['[', ']']);
        let script = format!(
            "for i in 1 2 3 4 5; do echo hostname | nc -u -W 1 -w 5 {} {host} {port} || exit; echo; done",
            flag(family)
        );
        let names = lines(&self.namespace.exec(self.pod, &["sh", "-c", &script])?);
        ensure!(!names.is_empty(), "no answer over UDP from {host}");
        Ok(names)
    }

    /// Whether a connection over TCP is refused.
    pub(crate) fn refused(&self, host: &str, port: u16) -> Result<bool> {
        let url = format!("http://{host}:{port}/");
        let curl = ["curl", "--silent", "--globoff", "--max-time", "5", &url];
        Ok(self.namespace.try_exec(self.pod, &curl)?.status.code() == Some(REFUSED))
    }

    /// Whether datagrams are refused: the socket when it is connected, or its first one.
    pub(crate) fn refused_udp(&self, host: &str, port: u16) -> Result<bool> {
        let target = format!("{host}:{port}");
        let words = ["/agnhost", "connect", "--protocol=udp", "--timeout=5s", &target];
        let output = self.namespace.try_exec(self.pod, &words)?;
        Ok(String::from_utf8_lossy(&output.stderr).contains("connection refused"))
    }
}

fn flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// An address as it stands in a URL.
pub(crate) fn in_url(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}
