//! The rules and the reference agree on whatever may happen.

use proptest::prelude::*;

use crate::support::script;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_agree_with_the_reference_on_any_sequence(bytes in proptest::collection::vec(any::<u8>(), 0..1_500)) {
        script::play(&bytes);
    }

    #[test]
    fn the_parser_agrees_with_the_simple_one_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..150)) {
        script::parse(&bytes);
    }
}
