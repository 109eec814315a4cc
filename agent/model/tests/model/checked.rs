//! Tables that check after every write that each prefix of a plan is safe, and keep what was written.

use penstock_abi::{MEMBER_CLUSTER, NextHop};
use penstock_model::memory::MemoryTables;
use penstock_model::tables::{Dump, Family, Names, Op, Readers, Sizes, TableError, Tables};

#[derive(Clone, Debug, Default)]
pub(crate) struct Checked {
    pub(crate) inner: MemoryTables,
    pub(crate) journal: Vec<Op>,
}

impl Checked {
    pub(crate) fn new(inner: MemoryTables) -> Self {
        Self { inner, journal: Vec::new() }
    }

    /// Follows every way that a reader can take, and panics where one leads astray.
    pub(crate) fn check(&self, context: &str) {
        let dump = self.inner.dump().unwrap();
        for (frontend, service) in &dump.frontends {
            assert_ne!(*service, 0, "{context}: {frontend} leads to no service");
            let family = Family::of(frontend.addr);
            let word = self.inner.word(*service);
            for slot in word.base()..word.base() + word.count() {
                let index = self.inner.slot(slot);
                let backend = self.inner.backend(family, index);
                let way = format!("{context}: {frontend}, service {service}, slot {slot}, backend {index}");
                assert!(backend.is_used(), "{way}: the backend is free");
                assert_eq!(backend.service, *service, "{way}: the backend is another service's");
                assert_eq!(backend.member, MEMBER_CLUSTER, "{way}: the backend is no member");
                assert_eq!(backend.protocol, frontend.protocol, "{way}: another protocol");
            }
        }
        for family in Family::ALL {
            for (index, backend) in dump.backends.get(family).iter().filter(|(_, backend)| backend.is_used())
            {
                self.check_hop(backend.next_hop, &format!("{context}: {family} backend {index}"));
            }
        }
        for (addr, next_hop) in &dump.endpoints {
            self.check_hop(*next_hop, &format!("{context}: endpoint {addr}"));
        }
    }

    fn check_hop(&self, index: u32, way: &str) {
        let is_written = index == NextHop::STACK || self.inner.next_hop(index) != NextHop::stack();
        assert!(is_written, "{way}: next hop {index} is free");
    }
}

impl Readers for Checked {
    fn grace_period(&self) -> Result<(), TableError> {
        self.inner.grace_period()
    }

    fn flows_naming(&self, names: &Names) -> Result<Names, TableError> {
        self.inner.flows_naming(names)
    }
}

impl Tables for Checked {
    fn sizes(&self) -> Sizes {
        self.inner.sizes()
    }

    fn dump(&self) -> Result<Dump, TableError> {
        self.inner.dump()
    }

    fn apply(&mut self, op: &Op) -> Result<(), TableError> {
        self.inner.apply(op)?;
        self.journal.push(op.clone());
        self.check(&format!("after {op}"));
        Ok(())
    }
}
