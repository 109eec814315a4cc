//! The operator's commands: they read the pinned tables, so they work whether an agent runs or not.

mod backend;
mod drops;
mod flow;
mod names;
pub(crate) mod render;
mod service;
mod status;

use anyhow::Result;
use penstock_kernel::{Pins, Tables};

use crate::cli::{BackendCommand, DropsArgs, FlowCommand, OutputArgs, Places, ServiceCommand};

/// `penstock service`.
///
/// # Errors
/// The tables are not there, or cannot be read.
pub(crate) fn services(places: &Places, command: &ServiceCommand) -> Result<()> {
    let ServiceCommand::List(args) = command;
    service::list(&open(places)?, args.output)
}

/// `penstock backend`.
///
/// # Errors
/// As above.
pub(crate) fn backends(places: &Places, command: &BackendCommand) -> Result<()> {
    let BackendCommand::List(args) = command;
    backend::list(&open(places)?, args.output)
}

/// `penstock flow`.
///
/// # Errors
/// As above.
pub(crate) fn flows(places: &Places, command: &FlowCommand) -> Result<()> {
    let FlowCommand::List(args) = command;
    flow::list(&open(places)?, *args)
}

/// `penstock drops`.
///
/// # Errors
/// As above.
pub(crate) fn drops(places: &Places, args: DropsArgs) -> Result<()> {
    let tables = open(places)?;
    drops::list(&tables, args.output.output)?;
    if args.follow { drops::follow(&pins(places), &tables, args.output.output) } else { Ok(()) }
}

/// `penstock status`.
///
/// # Errors
/// There is neither an agent's word nor a table.
pub(crate) fn status(places: &Places, args: OutputArgs) -> Result<()> {
    status::show(places, args.output)
}

fn pins(places: &Places) -> Pins {
    Pins::new(&places.bpffs).with_schema(places.schema)
}

fn open(places: &Places) -> Result<Tables> {
    Ok(Tables::open(&pins(places))?)
}
