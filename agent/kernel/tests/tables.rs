//! Typed tables over real maps.

mod common;

use std::mem::offset_of;
use std::path::PathBuf;

use common::{Sandbox, map, sandbox};
use penstock_abi::{Addr4, Backend, Port, Protocol};
use penstock_kernel::sys::kinds;
use penstock_kernel::table::{Hash, MappedArray, PerCpuArray, RingBuffer};
use penstock_kernel::{Error, Grace};

/// Makes a map and pins it under its name; gives the folder.
fn pinned(
    sandbox: &Sandbox,
    name: &str,
    kind: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
) -> PathBuf {
    let folder = sandbox.pins.base();
    map(name, kind, value_size, max_entries, flags).pin(&folder.join(name)).unwrap();
    folder
}

#[test]
fn a_hash_gives_back_what_was_put_in_one_by_one_and_in_batches() {
    sandbox(|sandbox| {
        let folder = pinned(sandbox, "t_hash", kinds::HASH, 8, 20_000, 0);
        let hash = Hash::<u32, u64>::open(&folder, "t_hash").unwrap();
        hash.insert(&7, &70).unwrap();
        assert!(!hash.insert_new(&7, &71).unwrap());
        assert!(hash.insert_new(&8, &80).unwrap());
        assert_eq!((hash.get(&7).unwrap(), hash.get(&9).unwrap()), (Some(70), None));
        assert!(hash.remove(&7).unwrap());
        assert!(!hash.remove(&7).unwrap(), "removing what is gone is no error");

        let elements: Vec<(u32, u64)> = (100..15_100).map(|key| (key, u64::from(key) * 3)).collect();
        hash.insert_all(&elements).unwrap();
        let mut dump = hash.dump().unwrap();
        dump.sort_unstable();
        assert_eq!(dump.first(), Some(&(8, 80)));
        assert_eq!(dump.get(1..), Some(&elements[..]));

        // Half of the keys are missing: they are skipped.
        let keys: Vec<u32> = (0..15_100).collect();
        assert_eq!(hash.remove_all(&keys).unwrap(), 15_001);
        assert_eq!(hash.dump().unwrap(), []);
    });
}

#[test]
fn a_full_hash_tells_its_name_and_size() {
    sandbox(|sandbox| {
        let folder = pinned(sandbox, "t_full", kinds::HASH, 4, 2, 0);
        let hash = Hash::<u32, u32>::open(&folder, "t_full").unwrap();
        hash.insert_all(&[(1, 1), (2, 2)]).unwrap();
        hash.insert(&1, &11).unwrap();
        let error = hash.insert(&3, &3).unwrap_err();
        assert_eq!(error.to_string(), "table t_full is full: it holds 2 elements");
        assert!(matches!(hash.insert_new(&3, &3), Err(Error::TableFull { size: 2, .. })));
    });
}

#[test]
fn a_table_of_another_form_is_refused_by_what_differs() {
    sandbox(|sandbox| {
        let folder = pinned(sandbox, "t_form", kinds::HASH, 8, 2, 0);
        let found = |result: Result<(), Error>| match result.unwrap_err() {
            Error::SchemaMismatch { map, what, wanted, found } => (map, what, wanted, found),
            other => panic!("{other}"),
        };
        let value = Hash::<u32, u32>::open(&folder, "t_form").map(drop);
        assert_eq!(found(value), ("t_form".to_owned(), "value size", 4, 8));
        let key = Hash::<u64, u64>::open(&folder, "t_form").map(drop);
        assert_eq!(found(key), ("t_form".to_owned(), "key size", 8, 4));
        let kind = MappedArray::<u64>::open(&folder, "t_form").map(drop);
        assert_eq!(found(kind), ("t_form".to_owned(), "type", 2, 1));
    });
}

#[test]
fn what_is_written_into_a_mapped_array_is_what_the_kernel_holds() {
    sandbox(|sandbox| {
        // 20 bytes, so elements are 24 apart and 20 is no multiple of 8: words, a half and bytes are all written.
        let folder = pinned(sandbox, "t_mapped", kinds::ARRAY, 20, 100, kinds::MMAPABLE);
        let array = MappedArray::<Backend<Addr4>>::open(&folder, "t_mapped").unwrap();
        let backend = |n: u32| Backend {
            addr: Addr4(n),
            port: Port::new(80),
            protocol: Protocol::TCP,
            member: 1,
            service: n + 1,
            next_hop: n + 2,
            generation: n + 3,
        };
        array.write(0, &backend(5)).unwrap();
        array.fill(98, &[backend(6), backend(7)]).unwrap();
        array.store_u8(99, offset_of!(Backend<Addr4>, member), 0).unwrap();
        array.store_u32(99, offset_of!(Backend<Addr4>, next_hop), 42).unwrap();

        let by_system_call = by_look_up(&folder.join("t_mapped"), 99);
        let expected = Backend { member: 0, next_hop: 42, ..backend(7) };
        assert_eq!(by_system_call, expected);
        assert_eq!(array.read(99).unwrap(), expected);
        assert_eq!(array.read(98).unwrap(), backend(6));
        assert_eq!(array.read(1).unwrap(), Backend::default());

        assert!(matches!(array.read(100), Err(Error::OutOfBounds { index: 100, size: 100, .. })));
        assert!(matches!(array.fill(99, &[backend(1), backend(2)]), Err(Error::OutOfBounds { .. })));
        assert_eq!(array.read(99).unwrap(), expected, "a row that does not fit writes nothing");
    });
}

/// An element read by a look-up, past the mapping.
fn by_look_up(pin: &std::path::Path, index: u32) -> Backend<Addr4> {
    use penstock_abi::Plain as _;
    let map = penstock_kernel::sys::Map::open(pin).unwrap();
    let mut bytes = vec![0; map.value_len()];
    assert!(map.lookup(&index.to_ne_bytes(), &mut bytes).unwrap());
    Backend::from_bytes(&bytes).unwrap()
}

#[test]
fn a_word_is_stored_whole_and_seen_at_once() {
    sandbox(|sandbox| {
        let folder = pinned(sandbox, "t_words", kinds::ARRAY, 8, 10, kinds::MMAPABLE);
        let array = MappedArray::<u64>::open(&folder, "t_words").unwrap();
        let other = MappedArray::<u64>::open(&folder, "t_words").unwrap();
        array.store_u64(9, 0, 0x0102_0304_0506_0708).unwrap();
        assert_eq!(other.read(9).unwrap(), 0x0102_0304_0506_0708);
    });
}

#[test]
fn counters_of_all_cpus_are_read_as_one() {
    sandbox(|sandbox| {
        let folder = pinned(sandbox, "t_counts", kinds::PERCPU_ARRAY, 8, 10, 0);
        let counts = PerCpuArray::<u64>::open(&folder, "t_counts").unwrap();
        let map = penstock_kernel::sys::Map::open(&folder.join("t_counts")).unwrap();
        let value = 5_u64.to_ne_bytes().repeat(map.value_len() / 8);
        map.update(&3_u32.to_ne_bytes(), &value, penstock_kernel::sys::Update::Any).unwrap();
        let sum = 5 * (map.value_len() / 8) as u64;
        assert_eq!(counts.get(3).unwrap(), sum);
        assert_eq!(counts.dump().unwrap(), [0, 0, 0, sum, 0, 0, 0, 0, 0, 0]);
        counts.reset(3).unwrap();
        assert_eq!(counts.get(3).unwrap(), 0);
        assert!(matches!(counts.get(10), Err(Error::OutOfBounds { .. })));
    });
}

#[test]
fn records_of_programs_are_read_in_order_and_once() {
    sandbox(|sandbox| {
        let folder = pinned(sandbox, "t_ring", kinds::RINGBUF, 0, 4096, 0);
        let mut ring = RingBuffer::<u64>::open(&folder, "t_ring").unwrap();
        assert_eq!(ring.next_record(), None);
        let map = penstock_kernel::sys::Map::open(&folder.join("t_ring")).unwrap();
        for value in [7, 8] {
            common::ring_writer(&map, value).test_run(&[0; 64], &[], 1).unwrap();
        }
        assert_eq!((ring.next_record(), ring.next_record(), ring.next_record()), (Some(7), Some(8), None));
    });
}

#[test]
fn a_grace_period_can_be_waited_for_again_and_again() {
    sandbox(|_| {
        let grace = Grace::new().unwrap();
        grace.wait().unwrap();
        grace.wait().unwrap();
    });
}
