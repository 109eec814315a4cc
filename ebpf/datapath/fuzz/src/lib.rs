//! What the fuzz targets feed, which is what the property tests feed too: an input that breaks one is a test of the other.
//! Copy it to `corpus-regressions/`, where every run of the tests replays it.

#[path = "../../tests/rules/support/mod.rs"]
#[expect(dead_code, reason = "the scenes of the tests use more of it")]
mod support;

/// Holds the parser against a simple one.
pub fn parse(data: &[u8]) {
    support::script::parse(data);
}

/// Plays a sequence of packets and changes to the rules and to the reference.
pub fn play(data: &[u8]) {
    support::script::play(data);
}
