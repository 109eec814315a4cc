//! A process of the lab inside a node or a pod. Its only argument is a task as JSON; the lab is what starts it.

use anyhow::{Context, Result};
use penstock_tests::probe;

fn main() -> Result<()> {
    let task = std::env::args().nth(1).context("no task given; the lab starts this program with one")?;
    probe::perform(&serde_json::from_str(&task).context("no task of this lab")?)
}
