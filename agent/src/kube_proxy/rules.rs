//! Rules of iptables: what `iptables-save` prints, and what `iptables-restore` is to be told. Pure.

use std::collections::BTreeSet;

use super::names;

/// What is to be removed of what one call of `iptables-save` printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// By table.
    pub(super) tables: Vec<TablePlan>,
}

/// What is to be removed from one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TablePlan {
    /// `filter`, `nat`, `mangle`.
    pub(super) table: String,
    /// The rules of the kernel's own chains that lead to kube-proxy's, as `-A` lines without the `-A`.
    pub(super) jumps: Vec<String>,
    /// The chains.
    pub(super) chains: Vec<String>,
    /// Chains of kube-proxy's that stay, since rules of others lead to them.
    pub(super) kept: Vec<String>,
}

impl Plan {
    /// What is kube-proxy's in the output of `iptables-save`.
    pub(super) fn new(dump: &str) -> Self {
        let mut tables = Vec::new();
        let mut table = Table::default();
        for line in dump.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = Table { name, ..Table::default() };
            } else if let Some(chain) = line.strip_prefix(':') {
                table.chains.extend(chain.split(' ').next());
            } else if let Some(rule) = line.strip_prefix("-A ") {
                table.rules.push(Rule::new(rule));
            } else if line == "COMMIT" {
                tables.extend(std::mem::take(&mut table).plan());
            }
        }
        Self { tables }
    }

    /// Whether nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.chains.is_empty() && table.jumps.is_empty())
    }

    /// How many chains go.
    pub(super) fn chains(&self) -> usize {
        self.tables.iter().map(|table| table.chains.len()).sum()
    }

    /// The input for `iptables-restore --noflush`. Each table is changed at one stroke.
    pub(super) fn script(&self) -> String {
        let mut script = String::new();
        for TablePlan { table, jumps, chains, .. } in &self.tables {
            if jumps.is_empty() && chains.is_empty() {
                continue;
            }
            script.push_str(&format!("*{table}\n"));
            // Declaring a chain that is there empties it.
            chains.iter().for_each(|chain| script.push_str(&format!(":{chain} - [0:0]\n")));
            jumps.iter().for_each(|jump| script.push_str(&format!("-D {jump}\n")));
            chains.iter().for_each(|chain| script.push_str(&format!("-X {chain}\n")));
            script.push_str("COMMIT\n");
        }
        script
    }
}

#[derive(Default)]
struct Table<'a> {
    name: &'a str,
    chains: Vec<&'a str>,
    rules: Vec<Rule<'a>>,
}

struct Rule<'a> {
    text: &'a str,
    chain: &'a str,
    target: Option<&'a str>,
}

impl<'a> Rule<'a> {
    fn new(text: &'a str) -> Self {
        let words = words(text);
        let target = words.windows(2).find_map(|pair| match pair {
            ["-j" | "-g", target] => Some(*target),
            _ => None,
        });
        Self { text, chain: words.first().copied().unwrap_or_default(), target }
    }

    /// The chain of kube-proxy's that the rule leads to.
    fn leads_to(&self) -> Option<&'a str> {
        self.target.filter(|target| names::is_chain(target))
    }

    /// Whether kube-proxy has made the rule, outside of its own chains.
    fn is_entry(&self) -> bool {
        names::is_built_in(self.chain) && self.leads_to().is_some_and(names::is_entry)
    }
}

impl Table<'_> {
    fn plan(self) -> Option<TablePlan> {
        let kept = self.kept();
        let goes = |chain: &str| names::is_chain(chain) && !kept.contains(chain);
        let jumps: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| rule.is_entry() && rule.leads_to().is_some_and(goes))
            .map(|rule| rule.text.to_owned())
            .collect();
        let chains: Vec<_> =
            self.chains.iter().filter(|chain| goes(chain)).map(|&chain| chain.to_owned()).collect();
        let kept: Vec<_> = kept.into_iter().map(str::to_owned).collect();
        let plan = TablePlan { table: self.name.to_owned(), jumps, chains, kept };
        (!plan.jumps.is_empty() || !plan.chains.is_empty() || !plan.kept.is_empty()).then_some(plan)
    }

    /// The chains of kube-proxy's that rules of others lead to, and those that these need.
    fn kept(&self) -> BTreeSet<&str> {
        let foreign = |rule: &&Rule<'_>| !names::is_chain(rule.chain) && !rule.is_entry();
        let mut wanted: Vec<&str> = self.rules.iter().filter(foreign).filter_map(Rule::leads_to).collect();
        let mut kept = BTreeSet::new();
        while let Some(chain) = wanted.pop() {
            if !kept.insert(chain) {
                continue;
            }
            wanted.extend(self.rules.iter().filter(|rule| rule.chain == chain).filter_map(Rule::leads_to));
            // A mark is of no use without whom it is for.
            if chain == names::MARK_MASQ && self.chains.contains(&names::POSTROUTING) {
                wanted.push(names::POSTROUTING);
            }
        }
        kept
    }
}

/// The words of a rule; what is between quotes is one.
fn words(text: &str) -> Vec<&str> {
    let (mut words, mut start, mut quoted, mut escaped) = (Vec::new(), None, false, false);
    for (index, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => {
                words.extend(start.take().and_then(|start| text.get(start..index)));
                continue;
            }
            _ => {}
        }
        start.get_or_insert(index);
    }
    words.extend(start.and_then(|start| text.get(start..)));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = include_str!("golden/iptables-save.txt");

    #[test]
    fn what_kube_proxy_made_goes_and_everything_else_stays() {
        let plan = Plan::new(DUMP);
        assert_eq!(plan.script(), include_str!("golden/iptables-restore.txt"));
        assert!(plan.tables.iter().all(|table| table.kept.is_empty()), "{plan:?}");
        assert_eq!(plan.chains(), 16);
    }

    #[test]
    fn a_chain_that_others_jump_to_stays_with_what_it_needs() {
        let dump = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n\
                    :KUBE-POSTROUTING - [0:0]\n:CNI-HOSTPORT-SETMARK - [0:0]\n\
                    -A PREROUTING -j KUBE-SERVICES\n-A POSTROUTING -j KUBE-POSTROUTING\n\
                    -A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ\n\
                    -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\nCOMMIT\n";
        let plan = Plan::new(dump);
        assert_eq!(plan.tables[0].kept, ["KUBE-MARK-MASQ", "KUBE-POSTROUTING"]);
        assert_eq!(
            plan.script(),
            "*nat\n:KUBE-SERVICES - [0:0]\n-D PREROUTING -j KUBE-SERVICES\n-X KUBE-SERVICES\nCOMMIT\n"
        );
    }

    #[test]
    fn a_users_rule_that_only_mentions_a_chain_stays() {
        let dump = "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n\
                    -A INPUT -m comment --comment \"not \\\" -j KUBE-SERVICES\" -j ACCEPT\nCOMMIT\n";
        assert_eq!(Plan::new(dump).script(), "*filter\n:KUBE-SERVICES - [0:0]\n-X KUBE-SERVICES\nCOMMIT\n");
    }

    #[test]
    fn nothing_is_done_where_there_is_nothing() {
        for dump in ["", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j CNI-HOSTPORT-DNAT\nCOMMIT\n"] {
            let plan = Plan::new(dump);
            assert!(plan.is_empty() && plan.script().is_empty());
        }
    }
}
