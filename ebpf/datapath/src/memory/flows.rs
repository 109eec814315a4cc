//! The flows table, with the manners of the kernel's LRU hash.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::vec::Vec;

use penstock_abi::{Addr, Flow, FlowKey};

use crate::tables::{FlowCell, Inserted};

/// What an insertion into a full table does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenFull {
    /// The element that was inserted first gives way. The kernel takes one that was not used for long.
    Evict,
    /// The new element is refused, as the kernel does where every element is in somebody's hands.
    Refuse,
}

/// Flows by key. Elements are recycled, also under a reader that still holds one.
#[derive(Debug)]
pub struct FlowTable<A> {
    elements: RefCell<Vec<Flow<A>>>,
    /// Which element holds a key's flow.
    index: RefCell<HashMap<FlowKey<A>, usize>>,
    /// The keys in the order in which they came.
    order: RefCell<Vec<FlowKey<A>>>,
    free: RefCell<Vec<usize>>,
    capacity: Cell<usize>,
    when_full: Cell<WhenFull>,
}

impl<A: Addr> Default for FlowTable<A> {
    /// A table that is never full.
    fn default() -> Self {
        Self {
            elements: RefCell::default(),
            index: RefCell::default(),
            order: RefCell::default(),
            free: RefCell::default(),
            capacity: Cell::new(usize::MAX),
            when_full: Cell::new(WhenFull::Evict),
        }
    }
}

impl<A: Addr> FlowTable<A> {
    /// Sets how many flows there may be, and what becomes of one more.
    pub fn limit(&self, capacity: usize, when_full: WhenFull) {
        self.capacity.set(capacity);
        self.when_full.set(when_full);
    }

    /// A copy of a flow.
    pub fn get(&self, key: &FlowKey<A>) -> Option<Flow<A>> {
        self.element(key).map(FlowCell::read)
    }

    /// Changes a flow; whether there was one.
    pub fn edit(&self, key: &FlowKey<A>, change: impl FnOnce(&mut Flow<A>)) -> bool {
        match self.element(key) {
            Some(element) => {
                element.with(change);
                true
            }
            None => false,
        }
    }

    /// Takes a flow out, as the kernel does when it needs the room; whether there was one.
    pub fn evict(&self, key: &FlowKey<A>) -> bool {
        let element = self.index.borrow_mut().remove(key);
        self.order.borrow_mut().retain(|other| other != key);
        self.free.borrow_mut().extend(element);
        element.is_some()
    }

    /// Every flow, in the order of their keys.
    pub fn dump(&self) -> Vec<(FlowKey<A>, Flow<A>)> {
        let elements = self.elements.borrow();
        let index = self.index.borrow();
        let mut flows: Vec<_> = index.iter().map(|(key, element)| (*key, elements[*element])).collect();
        flows.sort_by_key(|(key, _)| (key.src, key.dst, key.sport, key.dport, key.protocol));
        flows
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.index.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn element(&self, key: &FlowKey<A>) -> Option<Element<'_, A>> {
        let element = *self.index.borrow().get(key)?;
        Some(Element { elements: &self.elements, element })
    }

    /// Adds a flow where there is none of that key.
    pub fn insert(&self, key: &FlowKey<A>, flow: &Flow<A>) -> Inserted {
        if self.index.borrow().contains_key(key) {
            return Inserted::Exists;
        }
        if self.len() >= self.capacity.get() {
            let oldest = self.order.borrow().first().copied();
            match (self.when_full.get(), oldest) {
                (WhenFull::Evict, Some(oldest)) => self.evict(&oldest),
                _ => return Inserted::Full,
            };
        }
        let free = self.free.borrow_mut().pop();
        let mut elements = self.elements.borrow_mut();
        let element = match free {
            Some(element) => {
                elements[element] = *flow;
                element
            }
            None => {
                elements.push(*flow);
                elements.len() - 1
            }
        };
        self.index.borrow_mut().insert(*key, element);
        self.order.borrow_mut().push(*key);
        Inserted::Yes
    }
}

/// An element of a [`FlowTable`]: a place, whichever flow is in it by now.
#[derive(Debug)]
pub struct Element<'a, A> {
    elements: &'a RefCell<Vec<Flow<A>>>,
    element: usize,
}

impl<A> Clone for Element<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A> Copy for Element<'_, A> {}

impl<A: Addr> Element<'_, A> {
    fn with(self, change: impl FnOnce(&mut Flow<A>)) {
        change(&mut self.elements.borrow_mut()[self.element]);
    }
}

impl<A: Addr> FlowCell<A> for Element<'_, A> {
    fn read(self) -> Flow<A> {
        self.elements.borrow()[self.element]
    }

    fn set_last_seen(self, stamp: u32) {
        self.with(|flow| flow.last_seen = stamp);
    }

    fn set_state(self, state: u8) {
        self.with(|flow| flow.state = state);
    }
}
