//! Whose address is whose: names for people.

use std::collections::HashMap;
use std::net::IpAddr;

use super::QualifiedName;

#[derive(Debug, Default)]
pub(super) struct Pods {
    addresses: HashMap<QualifiedName, Box<[IpAddr]>>,
    names: HashMap<IpAddr, QualifiedName>,
}

impl Pods {
    /// Replaces what is known of a pod; a pod without addresses is forgotten.
    pub(super) fn set(&mut self, name: QualifiedName, addresses: Box<[IpAddr]>) {
        for addr in self.addresses.remove(&name).into_iter().flatten() {
            // Another pod may have been given the address before this one was reported gone.
            if self.names.get(&addr) == Some(&name) {
                self.names.remove(&addr);
            }
        }
        if addresses.is_empty() {
            return;
        }
        self.names.extend(addresses.iter().map(|addr| (*addr, name.clone())));
        self.addresses.insert(name, addresses);
    }

    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    pub(super) fn name(&self, addr: IpAddr) -> Option<&QualifiedName> {
        self.names.get(&addr)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &QualifiedName> {
        self.addresses.keys()
    }
}
