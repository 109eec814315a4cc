//! In place of kube-proxy: what it began goes on, what it left is removed, and nothing of anyone else's.

use std::time::Duration;

use anyhow::{Context, Result};
use penstock_tests::lab::{AgentOptions, Family, Lab, Node, Protocol, Runs, ServicePort, wait_until};
use penstock_tests::needs;
use penstock_tests::probe::{Ask, Serve, Style};

use crate::fixture::{PORT, TARGET_PORT};

/// What a node's iptables hold beside kubelet, CNI plugins and an operator, and what of that is to stay.
const RULES: &str = include_str!("../../../agent/src/kube_proxy/golden/iptables-save.txt");
const BACKENDS: [&str; 4] = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"];

/// Runs a shell's script on a node.
fn shell(node: &Node, script: &str) -> Result<String> {
    node.output(&["sh", "-c", script])
}

/// The rules in the words of IPv6: addresses of the other family in the same places.
fn in_ipv6(rules: &str) -> String {
    [
        ("10.244.0.0/16", "fd44::/32"),
        ("10.244.1.0/24", "fd44:1::/64"),
        ("10.244.1.7:8080", "[fd44:1::7]:8080"),
        ("10.244.2.3:8080", "[fd44:2::3]:8080"),
        ("10.244.1.7/32", "fd44:1::7/128"),
        ("10.244.2.3/32", "fd44:2::3/128"),
        ("10.96.0.1/32", "fd96::1/128"),
        ("10.96.0.7/32", "fd96::7/128"),
        ("10.96.7.7/32", "fd96::77/128"),
        ("127.0.0.0/8", "::1/128"),
        ("192.0.2.0/24", "2001:db8::/32"),
        ("224.0.0.0/4", "ff00::/8"),
        ("icmp-port-unreachable", "icmp6-port-unreachable"),
    ]
    .iter()
    .fold(rules.to_owned(), |rules, (four, six)| rules.replace(four, six))
}

/// What a back end holds, without the times and without the counts of packets.
fn saved(node: &Node, backend: &str) -> Result<Vec<String>> {
    let text = node.output(&[&format!("{backend}-save")])?;
    let rules = text.lines().filter(|line| !line.starts_with('#'));
    Ok(rules
        .map(|line| match line.rsplit_once(" [") {
            Some((chain, _)) if chain.starts_with(':') => chain.to_owned(),
            _ => line.to_owned(),
        })
        .collect())
}

/// The lines of kube-proxy's, by the chain that each declares, fills or leads to.
fn is_kube_proxys(line: &str) -> bool {
    let kubelets = ["KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"];
    let chain = |word: &str| word.starts_with("KUBE-") && !kubelets.contains(&word);
    let mut words = line.split(' ');
    let declared = words.next().and_then(|word| word.strip_prefix(':')).is_some_and(chain);
    let last = line.rsplit_once(" -j ").map(|(_, target)| target);
    declared || words.next().is_some_and(chain) || last.is_some_and(chain)
}

#[test]
fn what_kube_proxy_left_is_removed_and_the_rules_of_others_stay_as_they_are() -> Result<()> {
    needs!(Agent);
    let lab = Lab::new(1)?;
    let node = lab.node(1);
    let folder = lab.run().directory();
    for backend in BACKENDS {
        let rules = if backend.starts_with("ip6") { in_ipv6(RULES) } else { RULES.to_owned() };
        let file = folder.join(backend);
        std::fs::write(&file, rules)?;
        shell(node, &format!("{backend}-restore < {}", file.display()))?;
    }
    shell(
        node,
        "nft 'table ip kube-proxy { chain services { tcp dport 80 drop; }; }
              table ip6 kube-proxy { chain services { tcp dport 80 drop; }; }
              table inet kube-proxy-not { chain kube-proxy { tcp dport 80 accept; }; }'
         ip link add kube-ipvs0 type bridge",
    )?;
    let before: Vec<_> = BACKENDS.iter().map(|backend| saved(node, backend)).collect::<Result<_>>()?;
    let foreign = node.output(&["nft", "list", "table", "inet", "kube-proxy-not"])?;

    let said = node.penstock(&["cleanup", "kube-proxy", "--dry-run"])?;
    assert!(said.contains("64 chains of iptables, 2 tables of nftables, leftovers of ipvs"), "{said}");
    for (backend, before) in BACKENDS.iter().zip(&before) {
        assert_eq!(&saved(node, backend)?, before, "a dry run changes nothing");
    }

    node.penstock(&["cleanup", "kube-proxy"])?;
    for (backend, before) in BACKENDS.iter().zip(&before) {
        let stays: Vec<_> = before.iter().filter(|line| !is_kube_proxys(line)).cloned().collect();
        assert!(stays.len() > 20 && stays.len() < before.len());
        assert_eq!(saved(node, backend)?, stays, "{backend}");
    }
    let tables = node.output(&["nft", "list", "tables"])?;
    assert!(!tables.lines().any(|table| table.ends_with(" kube-proxy")), "{tables}");
    assert_eq!(node.output(&["nft", "list", "table", "inet", "kube-proxy-not"])?, foreign);
    assert!(!node.output(&["ip", "link"])?.contains("kube-ipvs0"));
    let again = node.penstock(&["cleanup", "kube-proxy"])?;
    assert!(again.contains("nothing of kube-proxy's"), "{again}");
    Ok(())
}

/// What kube-proxy would have in place for the Service, in nftables mode.
fn translate(node: &Node, family: Family, asked: &str, servers: [String; 2]) -> Result<()> {
    let (name, address) = match family {
        Family::V4 => ("ip", "ip daddr"),
        Family::V6 => ("ip6", "ip6 daddr"),
    };
    let [one, other] = servers;
    shell(
        node,
        &format!(
            "nft 'table {name} kube-proxy {{
               chain services {{
                 {address} {asked} meta l4proto {{ tcp, udp }} th dport {PORT} dnat to numgen random mod 2 map \
                   {{ 0 : {one}, 1 : {other} }} : {TARGET_PORT};
               }};
               chain nat-prerouting {{ type nat hook prerouting priority dstnat; jump services; }};
               chain nat-output {{ type nat hook output priority -100; jump services; }};
             }}'"
        ),
    )
    .map(drop)
}

#[test]
fn no_request_fails_and_no_connection_ends_while_an_agent_takes_over_from_kube_proxy() -> Result<()> {
    needs!(Agent);
    let lab = Lab::new(2)?;
    let (client, near) = (lab.node(1).pod("client")?, lab.node(1).pod("near")?);
    // New connections have a client of their own: see "Taking over from kube-proxy" in ARCHITECTURE.md.
    let caller = lab.node(1).pod("caller")?;
    let far = lab.node(2).pod("far")?;
    let _servers = [near.serve(&Serve::on("near", TARGET_PORT))?, far.serve(&Serve::on("far", TARGET_PORT))?];
    let ports = [ServicePort::tcp(PORT, TARGET_PORT), ServicePort::udp(PORT, TARGET_PORT)];
    let service = lab.service("taken", &ports).with([&near, &far]);
    lab.apply(&service)?;
    // The routes of another CNI plugin.
    for (node, other) in [(lab.node(1), lab.node(2)), (lab.node(2), lab.node(1))] {
        node.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        let [four, six] = other.pod_cidrs();
        node.output(&["ip", "route", "add", &four, "via", &other.ip4().to_string()])?;
        node.output(&["ip", "route", "add", &six, "via", &other.ip6().to_string()])?;
    }
    let node = lab.node(1);
    for family in Family::BOTH {
        let servers = [&near, &far].map(|pod| pod.ip(family).to_string());
        translate(node, family, &service.ip(family).to_string(), servers)?;
    }

    let mut loads = Vec::new();
    for family in Family::BOTH {
        let mut start = |style, protocol| -> Result<()> {
            let ask = Ask::new(service.address(family, protocol), style).every_ms(2);
            let pod = if style == Style::TcpEach { &caller } else { &client };
            // Of a pod, and of the node's own programs.
            loads.push((ask.clone(), pod.load(&ask)?));
            loads.push((ask.clone(), node.load(&ask)?));
            Ok(())
        };
        for _ in 0..3 {
            start(Style::TcpStanding, Protocol::Tcp)?;
        }
        start(Style::TcpEach, Protocol::Tcp)?;
        start(Style::UdpConnected, Protocol::Udp)?;
        for _ in 0..3 {
            start(Style::UdpUnconnected, Protocol::Udp)?;
        }
    }
    let more = |count| loads.iter().try_for_each(|(_, load)| load.wait_for_more(count));
    more(50).context("by kube-proxy's rules")?;
    let options = ["--replace-kube-proxy", "on"].map(str::to_owned).to_vec();
    lab.start_agents(&AgentOptions { arguments: options, ..AgentOptions::default() })?;
    wait_until("kube-proxy's tables are gone", Duration::from_secs(20), || {
        Ok(!shell(node, "nft list tables")?.contains(" kube-proxy"))
    })?;
    // A standing connection that fails ends its load, so what has failed is told first.
    let went_on = more(200);
    for (ask, load) in &loads {
        for answer in load.since(0) {
            assert_eq!(answer.error, None, "{ask:?}");
            assert_eq!(answer.peer, Some(ask.target));
        }
    }
    went_on.context("without kube-proxy's rules")?;
    let status: serde_json::Value = serde_json::from_str(&node.penstock(&["status", "-o", "json"])?)?;
    assert_eq!(status["kube_proxy"], "none");
    assert_eq!(status["failures"], serde_json::json!([]), "routes of others are no failure");
    Ok(())
}
