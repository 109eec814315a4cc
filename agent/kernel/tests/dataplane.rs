//! Opening the dataplane with the real programs: for the first time, again, larger, smaller, of another schema, and over
//! what an agent that died left behind.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::{Sandbox, block_on, device_modes, map, object, sandbox, veth};
use penstock_abi::{
    Addr4, EmptySet, Flow, FlowKey, FrontendKey, NextHop, Port, Protocol, Selection, Service, ServiceName,
    SetKind, maps, timeout,
};
use penstock_kernel::attach::{Attacher, Change, DeviceMode};
use penstock_kernel::cleanup::cleanup;
use penstock_kernel::sys::{Map, kinds};
use penstock_kernel::{Dataplane, Error, Hook, Pins, Settings, TableSizes, Tables};

/// Small tables, so that each test takes little memory.
const SIZES: TableSizes = TableSizes {
    frontends: 64,
    services: 64,
    slots: 256,
    backends: 128,
    next_hops: 32,
    endpoints: 16,
    flows: 1024,
    udp_peers: 64,
};

struct Setup<'a> {
    object: &'a [u8],
    pins: Pins,
}

impl Setup<'_> {
    fn open_with(&self, schema: u32, sizes: TableSizes) -> Result<Dataplane, Error> {
        let pins = self.pins.clone().with_schema(schema);
        Dataplane::open_object(self.object, &Settings { pins, sizes })
    }

    fn open(&self) -> Dataplane {
        self.open_with(1, SIZES).unwrap()
    }

    fn folders(&self) -> Vec<String> {
        let entries = fs::read_dir(self.pins.base()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    fn map_id(&self, folder: &str, name: &str) -> u32 {
        Map::open(&self.pins.base().join(folder).join(name)).unwrap().info().id
    }
}

/// Runs a test with the real object, where there is one.
fn with_object(test: impl FnOnce(&Setup<'_>, &Sandbox) + Send + 'static) {
    let Some(object) = object() else { return };
    sandbox(move |sandbox| test(&Setup { object: &object, pins: sandbox.pins.clone() }, sandbox));
}

fn frontend() -> FrontendKey<Addr4> {
    FrontendKey::cluster(Addr4(0x0100_600a), Port::new(80), Protocol::TCP)
}

fn word() -> Selection {
    Selection::new(17, 2, SetKind::Plain, EmptySet::Refuse).unwrap()
}

fn flow_key(port: u16) -> FlowKey<Addr4> {
    FlowKey::new(Addr4(1), Addr4(2), Port::new(port), Port::new(80), Protocol::TCP)
}

fn flow(port: u16) -> Flow<Addr4> {
    Flow { tag: flow_key(port).tag(), backend: 9, ..Flow::default() }
}

/// Something in tables of each sort.
fn write(tables: &Tables) {
    tables.next_hops.write(3, &NextHop::local(7, 1500)).unwrap();
    tables.slots.fill(17, &[9, 10]).unwrap();
    tables.services.write(5, &Service { cluster: word() }).unwrap();
    tables.frontends4.insert(&frontend(), &5).unwrap();
    tables.service_names.insert(&5, &ServiceName::new("default/web:http")).unwrap();
    tables.flows4.insert(&flow_key(1024), &flow(1024)).unwrap();
}

fn assert_written(tables: &Tables) {
    assert_eq!(tables.next_hops.read(3).unwrap(), NextHop::local(7, 1500));
    assert_eq!((tables.slots.read(17).unwrap(), tables.slots.read(18).unwrap()), (9, 10));
    assert_eq!(tables.services.read(5).unwrap().cluster, word());
    assert_eq!(tables.frontends4.get(&frontend()).unwrap(), Some(5));
    let name = tables.service_names.get(&5).unwrap().unwrap();
    assert_eq!(name.as_str(), "default/web:http");
    assert_eq!(tables.flows4.get(&flow_key(1024)).unwrap(), Some(flow(1024)));
}

#[test]
fn every_program_of_the_object_loads() {
    with_object(|setup, _| {
        let dataplane = setup.open();
        for hook in Hook::all() {
            assert_eq!(dataplane.programs.get(hook).unwrap().info().unwrap().name, hook.name());
        }
    });
}

#[test]
fn what_an_agent_wrote_is_there_when_the_next_one_opens() {
    with_object(|setup, _| {
        let first = setup.open();
        assert!(!first.restored && !first.migration.is_pending());
        write(&first.tables);
        drop(first);
        let mut second = setup.open();
        assert!(second.restored && !second.migration.is_pending());
        assert_written(&second.tables);
        assert_eq!(second.migration.finish().unwrap(), 0);
        assert_eq!(setup.folders(), ["links", "v1"]);
    });
}

#[test]
fn commands_read_the_tables_without_an_agent_and_say_where_there_are_none() {
    with_object(|setup, _| {
        let error = Tables::open(&setup.pins).unwrap_err();
        assert!(matches!(error, Error::NotPinned { schema: 1, .. }), "{error}");
        write(&setup.open().tables);
        assert_written(&Tables::open(&setup.pins).unwrap());
        let error = Tables::open(&setup.pins.clone().with_schema(2)).unwrap_err();
        assert!(error.to_string().ends_with("; found v1"), "{error}");
        let memory = penstock_kernel::memory(&setup.pins).unwrap();
        let told = |name| memory.iter().find(|map| map.name == name).unwrap();
        assert_eq!(told(maps::FLOWS4).elements, SIZES.flows);
        assert!(told(maps::FLOWS4).bytes >= u64::from(SIZES.flows) * 52, "{memory:?}");
    });
}

#[test]
fn larger_tables_take_over_what_the_smaller_held_and_what_comes_meanwhile() {
    with_object(|setup, _| {
        let first = setup.open();
        write(&first.tables);
        let larger = TableSizes { flows: 4096, slots: 512, services: 128, ..SIZES };
        let mut second = setup.open_with(1, larger).unwrap();
        assert!(second.restored && second.migration.is_pending());
        assert_written(&second.tables);
        assert_eq!(second.tables.flows4.capacity(), 4096);
        assert_eq!(setup.folders(), ["links", "v1", "v1-old"]);
        // What kept its size is the same map, so old and new programs agree on it.
        assert_eq!(setup.map_id("v1", maps::BACKENDS4), setup.map_id("v1-old", maps::BACKENDS4));
        assert_ne!(setup.map_id("v1", maps::FLOWS4), setup.map_id("v1-old", maps::FLOWS4));

        // A connection that the old programs still take, and one that both know.
        first.tables.flows4.insert(&flow_key(1025), &flow(1025)).unwrap();
        second.tables.flows4.insert(&flow_key(1024), &Flow { state: 1, ..flow(1024) }).unwrap();
        assert_eq!(second.migration.finish().unwrap(), 1);
        assert_eq!(second.tables.flows4.get(&flow_key(1025)).unwrap(), Some(flow(1025)));
        assert_eq!(second.tables.flows4.get(&flow_key(1024)).unwrap().unwrap().state, 1);
        assert_eq!(setup.folders(), ["links", "v1"]);
    });
}

#[test]
fn tables_shrink_as_far_as_what_they_hold() {
    with_object(|setup, _| {
        write(&setup.open().tables);
        let error = setup.open_with(1, TableSizes { slots: 18, ..SIZES }).unwrap_err();
        assert!(matches!(&error, Error::TooSmall { wanted: 18, used: 18, .. }), "{error}");
        assert_eq!(setup.folders(), ["links", "v1"], "the old tables still serve");
        let second = setup.open_with(1, TableSizes { slots: 19, ..SIZES }).unwrap();
        assert_written(&second.tables);
    });
}

#[test]
fn another_schema_takes_everything_over_and_gives_it_back() {
    with_object(|setup, _| {
        let first = setup.open();
        write(&first.tables);
        let mut second = setup.open_with(2, SIZES).unwrap();
        assert!(second.restored && second.migration.is_pending());
        assert_written(&second.tables);
        assert_ne!(setup.map_id("v1", maps::SERVICES), setup.map_id("v2", maps::SERVICES));
        let sockets = |folder| setup.map_id(folder, maps::SOCKETS4);
        assert_eq!(sockets("v1"), sockets("v2"), "what hangs on sockets cannot be copied");
        first.tables.flows4.insert(&flow_key(1025), &flow(1025)).unwrap();
        assert_eq!(second.migration.finish().unwrap(), 1);
        assert_eq!(setup.folders(), ["links", "v2"]);

        let mut third = setup.open();
        assert!(third.restored);
        assert_written(&third.tables);
        assert_eq!(third.tables.flows4.get(&flow_key(1025)).unwrap(), Some(flow(1025)));
        third.migration.finish().unwrap();
        assert_eq!(setup.folders(), ["links", "v1"]);
    });
}

#[test]
fn a_pinned_map_of_another_form_is_refused_and_named() {
    with_object(|setup, _| {
        drop(setup.open());
        let pin = setup.pins.map(maps::SLOTS);
        fs::remove_file(&pin).unwrap();
        map(maps::SLOTS, kinds::ARRAY, 8, SIZES.slots, kinds::MMAPABLE).pin(&pin).unwrap();
        let error = setup.open_with(1, SIZES).unwrap_err();
        let expected =
            Error::SchemaMismatch { map: maps::SLOTS.to_owned(), what: "value size", wanted: 4, found: 8 };
        assert_eq!(error.to_string(), expected.to_string());
    });
}

#[test]
fn another_schema_of_another_form_is_not_taken_over() {
    with_object(|setup, _| {
        let first = setup.open();
        write(&first.tables);
        let pin = setup.pins.map(maps::SLOTS);
        fs::remove_file(&pin).unwrap();
        map(maps::SLOTS, kinds::ARRAY, 8, SIZES.slots, kinds::MMAPABLE).pin(&pin).unwrap();
        drop(setup.open_with(2, SIZES).unwrap());
        // That agent died before it filled its tables: they are not taken for whole.
        let mut second = setup.open_with(2, SIZES).unwrap();
        assert!(!second.restored && second.migration.is_pending());
        assert_eq!(second.tables.frontends4.dump().unwrap(), []);
        assert_eq!(second.migration.finish().unwrap(), 0);
        assert_eq!(
            second.tables.flows4.dump().unwrap(),
            [],
            "flows name indices of tables that are not there"
        );
    });
}

#[test]
fn an_agent_that_died_at_any_step_of_a_migration_leaves_nothing_in_the_way() {
    with_object(|setup, _| {
        let base = setup.pins.base();
        write(&setup.open().tables);

        // While it built: an incomplete folder.
        fs::create_dir(base.join("v1-new")).unwrap();
        map(maps::SLOTS, kinds::ARRAY, 4, 7, kinds::MMAPABLE)
            .pin(&base.join("v1-new").join(maps::SLOTS))
            .unwrap();
        assert_written(&setup.open().tables);
        assert_eq!(setup.folders(), ["links", "v1"]);

        // Between the two renames.
        let larger = TableSizes { flows: 4096, ..SIZES };
        drop(setup.open_with(1, larger).unwrap());
        fs::rename(base.join("v1"), base.join("v1-new")).unwrap();
        let opened = setup.open_with(1, larger).unwrap();
        assert!(opened.restored && opened.migration.is_pending());
        assert_written(&opened.tables);
        assert_eq!(opened.tables.flows4.capacity(), 4096);
        drop(opened);

        // Before the links were updated; and now yet another size is asked for.
        let mut opened = setup.open_with(1, TableSizes { flows: 2048, ..SIZES }).unwrap();
        assert_written(&opened.tables);
        opened.migration.finish().unwrap();
        assert_eq!(setup.folders(), ["links", "v1"]);

        // Between the renames of a change of size, and the next agent is of another schema: whatever is left of both
        // folders of the first goes.
        drop(setup.open_with(1, larger).unwrap());
        fs::rename(base.join("v1"), base.join("v1-new")).unwrap();
        let mut opened = setup.open_with(3, SIZES).unwrap();
        assert!(opened.restored);
        assert_written(&opened.tables);
        opened.migration.finish().unwrap();
        assert_eq!(setup.folders(), ["links", "v3"]);

        // The same with another schema.
        drop(setup.open_with(2, SIZES).unwrap());
        let mut opened = setup.open_with(2, SIZES).unwrap();
        assert!(opened.restored && opened.migration.is_pending());
        opened.migration.finish().unwrap();
        assert_written(&opened.tables);
        assert_eq!(setup.folders(), ["links", "v2"]);
    });
}

#[test]
fn a_sweep_removes_what_has_expired_and_tells_what_is_still_named() {
    with_object(|setup, _| {
        let tables = setup.open().tables;
        // Not the clock's: the machine may have been up for less time than a flow may be idle.
        let now = 1_000_000;
        let idle = timeout::UDP_UNREPLIED + 1;
        let udp = |port| FlowKey { protocol: Protocol::UDP, ..flow_key(port) };
        let seen = |backend, last_seen| Flow { backend, last_seen, client_hop: backend + 100, ..flow(0) };
        tables.flows4.insert(&udp(1), &seen(1, now)).unwrap();
        tables.flows4.insert(&udp(2), &seen(2, now - idle)).unwrap();
        tables.flows4.insert(&udp(3), &seen(3, now)).unwrap();
        tables.flows4.insert(&flow_key(3), &seen(3, now)).unwrap();

        let dead = BTreeSet::from([3]);
        let swept = penstock_kernel::flows::sweep(&tables, now + 1, &dead, &BTreeSet::new()).unwrap();
        assert_eq!((swept.seen, swept.expired, swept.orphaned), (4, 1, 1));
        assert_eq!(swept.backends4, BTreeSet::from([1, 3]), "TCP keeps its backend");
        assert_eq!(swept.next_hops, BTreeSet::from([101, 103]));
        let left: BTreeSet<_> =
            tables.flows4.dump().unwrap().into_iter().map(|(key, _)| key.sport.get()).collect();
        assert_eq!(left, BTreeSet::from([1, 3]));
    });
}

#[test]
fn attached_programs_move_to_the_new_tables_and_cleanup_leaves_nothing() {
    with_object(|setup, sandbox| {
        for mode in device_modes() {
            block_on(move_and_clean_up(setup, sandbox, mode));
        }
    });
}

async fn move_and_clean_up(setup: &Setup<'_>, sandbox: &Sandbox, mode: DeviceMode) {
    let device = veth("pst-a", "pst-b");
    let cgroup = common::Cgroup::new();
    let attacher = Attacher::new(&setup.pins, mode);
    let attach = async |dataplane: &Dataplane, expected| {
        for hook in Hook::POD {
            let change = attacher.attach_device(&dataplane.programs, hook, device).await.unwrap();
            assert_eq!(change, expected);
        }
        for hook in Hook::SOCKET {
            let change = attacher.attach_cgroup(&dataplane.programs, hook, &cgroup.path).unwrap();
            assert_eq!(change, expected);
        }
    };
    attach(&setup.open(), Change::Attached).await;
    let mut second = setup.open_with(2, SIZES).unwrap();
    attach(&second, Change::Replaced).await;
    second.migration.finish().unwrap();
    drop(second);
    assert_eq!(attacher.attached().await.unwrap().len(), 10);

    let pins = sandbox.pins.clone().with_schema(2);
    let removed = cleanup(&pins, Some(&cgroup.path)).await.unwrap();
    assert_eq!((removed.detached.len(), removed.maps), (10, vec!["v2".to_owned()]));
    assert!(!pins.base().exists());
    assert_eq!(
        cleanup(&pins, Some(&cgroup.path)).await.unwrap(),
        penstock_kernel::cleanup::Removed::default()
    );
    common::ip("link delete pst-a");
}
