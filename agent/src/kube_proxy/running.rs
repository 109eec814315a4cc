//! Whether a kube-proxy runs in this network namespace.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where kube-proxy serves its metrics by default, and its mode.
const PORT: u16 = 10249;
/// What it says that its mode is. Penstock answers there too, with another word.
const MODES: [&str; 3] = ["iptables", "ipvs", "nftables"];
/// The name of its process, as the kernel has it.
const PROCESS: &str = "kube-proxy";
const PATIENCE: Duration = Duration::from_millis(500);
/// Longer answers are none of kube-proxy's.
const ANSWER: u64 = 4_096;

/// A kube-proxy that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Its mode, where it tells.
    pub(super) mode: Option<String>,
    /// Its process, where that can be seen.
    pub(super) pid: Option<u32>,
}

impl std::fmt::Display for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.mode, self.pid) {
            (Some(mode), Some(pid)) => write!(f, "runs in mode {mode} (pid {pid})"),
            (Some(mode), None) => write!(f, "runs in mode {mode}"),
            (None, Some(pid)) => write!(f, "runs (pid {pid})"),
            (None, None) => f.write_str("runs"),
        }
    }
}

/// Looks for one: by what answers at its port, and by its process.
pub(super) fn look(host_root: Option<&Path>) -> Option<Running> {
    let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
    let mode = addresses.into_iter().find_map(|address| ask(SocketAddr::new(address, PORT)));
    let host = host_root.map(|root| root.join("proc"));
    let pid = process(Path::new("/proc")).or_else(|| process(&host?));
    (mode.is_some() || pid.is_some()).then_some(Running { mode, pid })
}

fn ask(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /proxyMode HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer).ok()?;
    mode(&answer)
}

fn mode(answer: &str) -> Option<String> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let fine = head.split(' ').nth(1) == Some("200");
    MODES.iter().find(|mode| fine && body.trim() == **mode).map(|&mode| mode.to_owned())
}

/// A process of that name in this network namespace. Its files below `net` are the namespace's, and have an inode of the
/// namespace's: unlike the link to the namespace, that can be read without rights over the process.
fn process(proc: &Path) -> Option<u32> {
    let own = fs::metadata("/proc/self/net/dev").ok()?.ino();
    fs::read_dir(proc).ok()?.filter_map(Result::ok).find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let net = || fs::metadata(entry.path().join("net/dev")).is_ok_and(|file| file.ino() == own);
        (name.trim_end() == PROCESS && net()).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kube_proxys_own_words_tell_that_it_answers() {
        assert_eq!(mode("HTTP/1.0 200 OK\r\nA: b\r\n\r\nnftables"), Some("nftables".into()));
        assert_eq!(mode("HTTP/1.1 200 OK\r\n\r\nebpf"), None);
        assert_eq!(mode("HTTP/1.1 404 Not Found\r\n\r\niptables"), None);
        assert_eq!(mode(""), None);
    }
}
