//! Random changes of a cluster, and what must hold of every plan that they lead to.

use crate::checked::Checked;
use crate::cluster::{Action, Cluster, actions};
use crate::facts;
use crate::meaning::Meaning;
use penstock_model::memory::{Faulty, MemoryTables};
use penstock_model::objects::{Event, Kind};
use penstock_model::tables::{Dump, Sizes, Tables};
use penstock_model::{Controller, Due};
use proptest::prelude::*;

fn synced() -> [Event; 3] {
    [Event::Synced(Kind::Service), Event::Synced(Kind::EndpointSlice), Event::Synced(Kind::Node)]
}

/// A controller that was told an empty cluster.
fn controller<T: Tables>(tables: T) -> Controller<T> {
    let mut controller = Controller::new(facts(), tables).unwrap();
    assert!(controller.apply(synced()).synced);
    controller
}

/// What tables should mean: those of a controller that is told the cluster as it is, all at once.
fn fresh(cluster: &Cluster) -> Dump {
    let mut controller = controller(MemoryTables::default());
    let report = controller.apply(cluster.told_whole());
    assert!(report.failures.is_empty(), "{report:?}");
    controller.dump().unwrap()
}

/// Reclaims until nothing waits.
fn settle<T: Tables>(controller: &mut Controller<T>) {
    for _ in 0..5 {
        controller.housekeeping().unwrap();
    }
    assert_eq!(controller.due(), Due::Nothing);
}

/// How much the tables hold: after settling nothing may be left over, whatever the way there was.
fn used(dump: &Dump) -> [usize; 7] {
    let backends = |backends: &[(u32, penstock_model::tables::Backend)]| {
        backends.iter().filter(|(_, backend)| backend.is_used()).count()
    };
    [
        dump.frontends.len(),
        dump.services.len(),
        backends(&dump.backends.v4),
        backends(&dump.backends.v6),
        dump.next_hops.len(),
        dump.endpoints.len(),
        dump.names.len(),
    ]
}

fn run<T: Tables>(controller: &mut Controller<T>, cluster: &mut Cluster, action: &Action) {
    match cluster.apply(action) {
        Some(event) => drop(controller.apply([event])),
        None => controller.housekeeping().unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn incremental_changes_lead_where_telling_all_at_once_does_and_each_prefix_is_safe(actions in actions(40)) {
        let mut controller = controller(Checked::default());
        let mut cluster = Cluster::default();
        for action in &actions {
            run(&mut controller, &mut cluster, action);
            let expected = fresh(&cluster);
            prop_assert_eq!(Meaning::of(&controller.dump().unwrap()), Meaning::of(&expected));
        }
        settle(&mut controller);
        prop_assert_eq!(used(&controller.dump().unwrap()), used(&fresh(&cluster)));
    }

    #[test]
    fn a_burst_leads_where_its_events_one_by_one_do(actions in actions(30)) {
        let mut controller = controller(Checked::default());
        let mut cluster = Cluster::default();
        for burst in actions.chunks(7) {
            let events: Vec<Event> = burst.iter().filter_map(|action| cluster.apply(action)).collect();
            controller.apply(events);
        }
        settle(&mut controller);
        let (dump, expected) = (controller.dump().unwrap(), fresh(&cluster));
        prop_assert_eq!(Meaning::of(&dump), Meaning::of(&expected));
        prop_assert_eq!(used(&dump), used(&expected));
    }

    #[test]
    fn the_executor_converges_though_a_tenth_of_all_calls_fail(actions in actions(30), seed in any::<u64>()) {
        let tables = Faulty::new(Checked::default(), 0, seed);
        let mut controller = controller(tables);
        controller.tables_mut().percent = 10;
        let mut cluster = Cluster::default();
        for action in &actions {
            match cluster.apply(action) {
                Some(event) => drop(controller.apply([event])),
                // A failure leaves what waits to a later call.
                None => drop(controller.housekeeping()),
            }
        }
        let converged = (0..500).any(|_| controller.apply([]).failures.is_empty());
        prop_assert!(converged);
        controller.tables_mut().percent = 0;
        settle(&mut controller);
        let (dump, expected) = (controller.dump().unwrap(), fresh(&cluster));
        prop_assert_eq!(Meaning::of(&dump), Meaning::of(&expected));
        prop_assert_eq!(used(&dump), used(&expected));
    }

    #[test]
    fn full_tables_keep_what_is_served_and_fill_when_there_is_room(actions in actions(40)) {
        let sizes = Sizes { frontends: 3, services: 5, slots: 9, backends: 6, next_hops: 8, endpoints: 4 };
        let mut controller = controller(Checked::new(MemoryTables::new(sizes)));
        let mut cluster = Cluster::default();
        for action in &actions {
            run(&mut controller, &mut cluster, action);
            controller.tables().check("after an action");
        }
        // One Service alone fits.
        for id in 1..4 {
            run(&mut controller, &mut cluster, &Action::Delete { kind: 0, id });
        }
        run(&mut controller, &mut cluster, &Action::Service { id: 0, vip: 0, ports: 0, created: None, dual: false });
        for id in 1..6 {
            run(&mut controller, &mut cluster, &Action::Delete { kind: 1, id });
        }
        run(&mut controller, &mut cluster, &Action::Slice { id: 0, service: 0, v6: false, states: vec![1, 1, 1] });
        for _ in 0..5 {
            controller.housekeeping().unwrap();
            controller.apply([]);
        }
        let report = controller.apply([]);
        prop_assert!(report.failures.is_empty(), "{:?}", report.failures);
        prop_assert_eq!(Meaning::of(&controller.dump().unwrap()), Meaning::of(&fresh(&cluster)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn an_agent_that_starts_after_any_prefix_converges_and_prunes_nothing_before(actions in actions(16)) {
        let mut controller = controller(Checked::default());
        let mut cluster = Cluster::default();
        let mut states = Vec::new();
        for action in &actions {
            let before = controller.tables().journal.len();
            run(&mut controller, &mut cluster, action);
            states.extend((before..controller.tables().journal.len()).map(|done| (done + 1, cluster.clone())));
        }
        let journal = &controller.tables().journal;
        let mut tables = MemoryTables::default();
        let mut written = 0;
        for (done, cluster) in &states {
            for op in &journal[written..*done] {
                tables.apply(op).unwrap();
            }
            written = *done;
            restart(tables.clone(), cluster)?;
        }
    }
}

fn restart(tables: MemoryTables, cluster: &Cluster) -> Result<(), TestCaseError> {
    let before = Meaning::of(&tables.dump().unwrap());
    let mut controller = Controller::new(facts(), Checked::new(tables)).unwrap();
    let [slices, nodes, services] = cluster.told_whole();
    prop_assert!(!controller.apply([services, nodes]).synced);
    // Pods' addresses are the node's own to know; all else is as it was found.
    prop_assert_eq!(Meaning::of(&controller.dump().unwrap()).frontends, before.frontends);
    let report = controller.apply([slices]);
    prop_assert!(report.synced && report.failures.is_empty());
    settle(&mut controller);
    let (dump, expected) = (controller.dump().unwrap(), fresh(cluster));
    prop_assert_eq!(Meaning::of(&dump), Meaning::of(&expected));
    prop_assert_eq!(used(&dump), used(&expected));
    Ok(())
}

#[test]
fn what_a_former_agent_left_stays_while_a_source_cannot_read_all_that_it_holds() {
    let mut cluster = Cluster::default();
    for id in [0, 1] {
        cluster.apply(&Action::Service { id, vip: id, ports: 0, created: None, dual: false });
        cluster.apply(&Action::Slice { id, service: id, v6: false, states: vec![1, 1] });
    }
    let mut former = controller(MemoryTables::default());
    former.apply(cluster.told_whole());
    let before = Meaning::of(&former.dump().unwrap());
    let tables = former.tables().clone();

    // A Service that is not told, and one whose endpoints are not.
    let mut readable = cluster.clone();
    readable.apply(&Action::Delete { kind: 0, id: 0 });
    readable.apply(&Action::Delete { kind: 1, id: 1 });
    let mut controller = Controller::new(facts(), tables).unwrap();
    controller.set_complete(false);
    assert!(controller.apply(readable.told_whole()).synced);
    assert_eq!(Meaning::of(&controller.dump().unwrap()), before);

    // A Service that is told whole is served meanwhile.
    cluster.apply(&Action::Service { id: 2, vip: 2, ports: 0, created: None, dual: false });
    readable.apply(&Action::Service { id: 2, vip: 2, ports: 0, created: None, dual: false });
    cluster.apply(&Action::Slice { id: 2, service: 2, v6: false, states: vec![1] });
    readable.apply(&Action::Slice { id: 2, service: 2, v6: false, states: vec![1] });
    controller.apply(readable.told_whole());
    assert_eq!(Meaning::of(&controller.dump().unwrap()), Meaning::of(&fresh(&cluster)));

    controller.set_complete(true);
    controller.apply([]);
    settle(&mut controller);
    assert_eq!(Meaning::of(&controller.dump().unwrap()), Meaning::of(&fresh(&readable)));
}
