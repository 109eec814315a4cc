//! What a fuzzer once found is tried in every run.

use std::fs;
use std::path::Path;

use crate::support::script;

fn each_regression(of: &str, replay: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus-regressions").join(of);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be read").path();
        println!("{}", path.display());
        replay(&fs::read(&path).expect("the file can be read"));
        count += 1;
    }
    assert!(count > 0, "{} holds at least a seed", folder.display());
}

#[test]
fn packets_that_a_fuzzer_found_are_parsed_rightly() {
    each_regression("parse", script::parse);
}

#[test]
fn sequences_that_a_fuzzer_found_are_agreed_on() {
    each_regression("engine", script::play);
}
