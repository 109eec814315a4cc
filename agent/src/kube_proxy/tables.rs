//! Tables of nftables: what `nft -j list tables` prints, and what `nft -f` is to be told. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::names;

/// Keeps the kernel's translation of connections that kube-proxy began. Whoever removes the last rule of a network namespace that
/// translates or tracks connections, ends both for the open ones too: the kernel then takes its hooks out.
pub(super) const KEEPER: &str = "penstock-established";

/// The two families, as nftables calls them.
pub(super) const FAMILIES: [&str; 2] = ["ip", "ip6"];

/// Tables that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NftTables {
    /// Families in which kube-proxy has its table.
    pub(super) kube_proxy: BTreeSet<String>,
    /// Families in which ours is.
    pub(super) keeper: BTreeSet<String>,
    /// Families in which iptables has its tables.
    pub(super) iptables: BTreeSet<String>,
}

impl NftTables {
    /// From the output of `nft -j list tables`.
    ///
    /// # Errors
    /// It is no JSON.
    pub(super) fn new(listed: &str) -> Result<Self, serde_json::Error> {
        let listed: Value = serde_json::from_str(listed)?;
        let mut tables = Self::default();
        for table in listed["nftables"].as_array().into_iter().flatten().map(|entry| &entry["table"]) {
            let (Some(family), Some(name)) = (table["family"].as_str(), table["name"].as_str()) else {
                continue;
            };
            match name {
                _ if !FAMILIES.contains(&family) => {}
                names::NFT_TABLE => drop(tables.kube_proxy.insert(family.to_owned())),
                "filter" | "nat" | "mangle" => drop(tables.iptables.insert(family.to_owned())),
                KEEPER => drop(tables.keeper.insert(family.to_owned())),
                _ => {}
            }
        }
        Ok(tables)
    }
}

/// Removes kube-proxy's tables; where it translated, ours comes first, in the same transaction.
pub(super) fn script(remove: &BTreeSet<String>, keep: &BTreeSet<&str>) -> String {
    let mut script = String::new();
    for family in keep {
        // The base chain holds the kernel's hooks of translation, the rule those of tracking. No packet is in that state where
        // nothing else drops it, and the rule does nothing with it.
        script.push_str(&format!(
            "add table {family} {KEEPER}\n\
             add chain {family} {KEEPER} postrouting {{ type nat hook postrouting priority srcnat; }}\n\
             flush chain {family} {KEEPER} postrouting\n\
             add rule {family} {KEEPER} postrouting ct state invalid\n"
        ));
    }
    for family in remove {
        script.push_str(&format!("delete table {family} {}\n", names::NFT_TABLE));
    }
    script
}

/// Removes our tables.
pub(super) fn release(families: &BTreeSet<String>) -> String {
    families.iter().map(|family| format!("delete table {family} {KEEPER}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kube_proxys_tables_and_ours_are_seen() {
        let table = |family: &str, name: &str| {
            format!(r#"{{"table": {{"family": "{family}", "name": "{name}", "handle": 1}}}}"#)
        };
        let listed = [
            r#"{"metainfo": {"version": "1.0.6"}}"#.to_owned(),
            table("ip", "kube-proxy"),
            table("ip6", "penstock-established"),
            table("inet", "kube-proxy"),
            table("ip", "nat"),
        ];
        let tables = NftTables::new(&format!(r#"{{"nftables": [{}]}}"#, listed.join(","))).unwrap();
        assert_eq!(tables.kube_proxy, ["ip".to_owned()].into());
        assert_eq!(tables.keeper, ["ip6".to_owned()].into());
        assert_eq!(tables.iptables, ["ip".to_owned()].into());
        assert_eq!(NftTables::new(r#"{"nftables": []}"#).unwrap(), NftTables::default());
        assert!(NftTables::new("").is_err());
    }

    #[test]
    fn translation_is_held_before_the_table_that_held_it_goes() {
        let script = script(&["ip".to_owned()].into(), &["ip"].into());
        let place = |text: &str| script.find(text).unwrap();
        assert!(place("type nat hook") < place("delete table ip kube-proxy"));
    }
}
