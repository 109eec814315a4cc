//! Which names are kube-proxy's. Pure.
//!
//! From `pkg/proxy/{iptables,ipvs,nftables}` of Kubernetes 1.36, and the names that earlier ones had.

/// Chains of iptables and ipvs mode with a name of their own.
const CHAINS: &[&str] = &[
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-FORWARD",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
    "KUBE-LOAD-BALANCER",
    MARK_MASQ,
    "KUBE-NODE-PORT",
    "KUBE-NODEPORTS",
    POSTROUTING,
    "KUBE-PROXY-CANARY",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SERVICES",
    "KUBE-SOURCE-RANGES-FIREWALL",
];

/// Chains of one Service's port or endpoint: these, and 16 characters of a hash in base 32. `KUBE-XLB-` until 1.23.
const HASHED: &[&str] = &["KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-XLB-"];
const HASH: usize = 16;

/// The chain that marks packets to be masqueraded. Others jump to it too: CNI's portmap where it is told so
/// (`externalSetMarkChain`).
pub(super) const MARK_MASQ: &str = "KUBE-MARK-MASQ";
/// The chain that masquerades what is marked.
pub(super) const POSTROUTING: &str = "KUBE-POSTROUTING";

/// The table of nftables mode, in each of the families `ip` and `ip6`.
pub(super) const NFT_TABLE: &str = "kube-proxy";
/// The device that bears the addresses of Services in ipvs mode.
pub(super) const IPVS_DEVICE: &str = "kube-ipvs0";

/// Sets of ipvs mode. Those of IPv6 have `KUBE-6-` for `KUBE-`, cut to [`SET_NAME`] bytes.
const SETS: &[&str] = &[
    "KUBE-CLUSTER-IP",
    "KUBE-EXTERNAL-IP",
    "KUBE-EXTERNAL-IP-LOCAL",
    "KUBE-HEALTH-CHECK-NODE-PORT",
    "KUBE-IPVS-IPS",
    "KUBE-LOAD-BALANCER",
    "KUBE-LOAD-BALANCER-FW",
    "KUBE-LOAD-BALANCER-LOCAL",
    "KUBE-LOAD-BALANCER-SOURCE-CIDR",
    "KUBE-LOAD-BALANCER-SOURCE-IP",
    "KUBE-LOOP-BACK",
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
    "KUBE-NODE-PORT-LOCAL-TCP",
    "KUBE-NODE-PORT-LOCAL-UDP",
    "KUBE-NODE-PORT-SCTP-HASH",
    "KUBE-NODE-PORT-TCP",
    "KUBE-NODE-PORT-UDP",
];
/// Longest name of a set: `IPSET_MAXNAMELEN` without its final zero.
const SET_NAME: usize = 31;

/// Whether a chain of iptables is kube-proxy's.
pub(super) fn is_chain(name: &str) -> bool {
    let base32 = |hash: &str| {
        hash.len() == HASH
            && hash.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte))
    };
    CHAINS.contains(&name) || HASHED.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(base32))
}

/// Whether kube-proxy itself jumps to this chain of its own from one of the kernel's.
pub(super) fn is_entry(name: &str) -> bool {
    CHAINS.contains(&name) && name != MARK_MASQ
}

/// Whether a chain is one of the kernel's, which every table begins with.
pub(super) fn is_built_in(name: &str) -> bool {
    ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"].contains(&name)
}

/// Whether a set of ipset's is kube-proxy's.
pub(super) fn is_set(name: &str) -> bool {
    let six = |set: &str| {
        let mut six = set.replacen("KUBE-", "KUBE-6-", 1);
        six.truncate(SET_NAME);
        six
    };
    SETS.iter().any(|set| name == *set || name == six(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_kube_proxy_are_told_from_those_of_kubelet_and_of_others() {
        for ours in
            ["KUBE-SERVICES", "KUBE-SVC-ERIFXISQEP7F7OF4", "KUBE-SEP-6E7XQMQ4RAYOWTTM", "KUBE-PROXY-CANARY"]
        {
            assert!(is_chain(ours), "{ours}");
        }
        for theirs in [
            "KUBE-FIREWALL",
            "KUBE-KUBELET-CANARY",
            "KUBE-IPTABLES-HINT",
            "KUBE-MARK-DROP",
            "KUBE-ROUTER-INPUT",
            "KUBE-POD-FW-ERIFXISQEP7F7OF4",
            "KUBE-NWPLCY-ERIFXISQEP7F7OF4",
            "KUBE-SVC-my-own",
            "KUBE-SVC-",
            "CNI-HOSTPORT-DNAT",
            "PREROUTING",
        ] {
            assert!(!is_chain(theirs), "{theirs}");
        }
    }

    #[test]
    fn sets_of_ipv6_bear_the_names_that_ipset_cuts() {
        assert!(is_set("KUBE-CLUSTER-IP") && is_set("KUBE-6-CLUSTER-IP"));
        assert!(is_set("KUBE-6-LOAD-BALANCER-SOURCE-CID"));
        assert!(!is_set("KUBE-POD-IPS") && !is_set("KUBE-6-"));
    }
}
