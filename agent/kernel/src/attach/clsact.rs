//! Devices below Linux 6.6: filters of the clsact queueing discipline.
//!
//! A filter has no descriptor and nothing to pin: it stays until it is removed. Ours has a fixed priority and handle and a
//! name of our own, so it is found again, and writing it anew replaces its program without a gap (`cls_bpf_change` swaps
//! the two under RCU).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};

use super::Change;
use crate::bpffs::{Pins, remove_pin};
use crate::netlink::Netlink;
use crate::{Direction, Error, Hook};

/// Priority of our filters.
const PRIORITY: u32 = 50;
/// Handle of our filters.
const HANDLE: u32 = 0x70;
/// `ETH_P_ALL`.
const ALL_PROTOCOLS: u16 = 3;

pub(super) async fn attach(
    pins: &Pins,
    hook: Hook,
    program: BorrowedFd<'_>,
    ifindex: u32,
) -> Result<Change, Error> {
    let failed = |call| {
        move |error: io::Error| match error.raw_os_error() {
            Some(libc::ENODEV) => Error::NoDevice { ifindex },
            _ => Error::system(call, format_args!("{hook} on device {ifindex}"))(error),
        }
    };
    let mut netlink = open()?;
    match netlink
        .request(RouteNetlinkMessage::NewQueueDiscipline(qdisc(ifindex)), NLM_F_CREATE | NLM_F_EXCL)
        .await
    {
        Ok(()) => record(pins, ifindex)?,
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => return Err(failed("add clsact")(error)),
    }
    let there =
        filters(&mut netlink, ifindex, hook).await.map_err(failed("list filters"))?.iter().any(is_ours(hook));
    let mut message = filter(hook, ifindex);
    message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
    message.attributes.push(TcAttribute::Options(vec![
        TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
        TcOption::Bpf(TcFilterBpfOption::ProgName(filter_name(hook))),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ]));
    netlink
        .request(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE)
        .await
        .map_err(failed("add filter"))?;
    Ok(if there { Change::Replaced } else { Change::Attached })
}

/// Removes our filter, and the queueing discipline if we made it and nobody uses it.
pub(super) async fn detach(pins: &Pins, hook: Hook, ifindex: u32) -> Result<(), Error> {
    let mut netlink = open()?;
    let what = || format!("{hook} on device {ifindex}");
    let there = match filters(&mut netlink, ifindex, hook).await {
        Ok(filters) => filters.iter().any(is_ours(hook)),
        Err(error) if is_gone(&error) => false,
        Err(error) => return Err(Error::system("list filters", what())(error)),
    };
    if there {
        let request = RouteNetlinkMessage::DelTrafficFilter(filter(hook, ifindex));
        gone_is_fine(netlink.request(request, 0).await).map_err(Error::system("delete filter", what()))?;
    }
    if fs::symlink_metadata(made_by_us(pins, ifindex)).is_ok() {
        remove_empty(pins, &mut netlink, ifindex).await.map_err(Error::system("delete clsact", what()))?;
    }
    Ok(())
}

/// The hooks that our filters serve, with their devices.
pub(super) async fn attached() -> Result<Vec<(Hook, u32)>, Error> {
    let mut netlink = open()?;
    let mut found = Vec::new();
    let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
    for message in netlink.dump(links).await.map_err(Error::system("netlink dump", "links"))? {
        let RouteNetlinkMessage::NewLink(link) = message else { continue };
        let ifindex = link.header.index;
        for hook in Hook::POD.into_iter().chain(Hook::UPLINK) {
            // A device without a clsact has no filters to tell; one that is gone has none either.
            if filters(&mut netlink, ifindex, hook)
                .await
                .is_ok_and(|filters| filters.iter().any(is_ours(hook)))
            {
                found.push((hook, ifindex));
            }
        }
    }
    Ok(found)
}

async fn remove_empty(pins: &Pins, netlink: &mut Netlink, ifindex: u32) -> io::Result<()> {
    for hook in Hook::POD {
        match filters(netlink, ifindex, hook).await {
            Ok(filters) if !filters.is_empty() => return Ok(()),
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    gone_is_fine(netlink.request(RouteNetlinkMessage::DelQueueDiscipline(qdisc(ifindex)), 0).await)?;
    remove_pin(&made_by_us(pins, ifindex)).map_err(io::Error::other)
}

/// Where it is noted that we made a device's clsact: a link to nowhere, the only file beside pins that a bpffs takes.
fn made_by_us(pins: &Pins, ifindex: u32) -> PathBuf {
    pins.links().join(format!("clsact-{ifindex}"))
}

fn record(pins: &Pins, ifindex: u32) -> Result<(), Error> {
    let path = made_by_us(pins, ifindex);
    match symlink("made-by-penstock", &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(Error::system("symlink", path.display())),
    }
}

fn open() -> Result<Netlink, Error> {
    Netlink::open().map_err(Error::system("open", "netlink"))
}

/// A name that nobody else gives, and that tells the hook.
fn filter_name(hook: Hook) -> String {
    format!("penstock/{hook}")
}

fn is_ours(hook: Hook) -> impl Fn(&TcMessage) -> bool {
    let name = TcOption::Bpf(TcFilterBpfOption::ProgName(filter_name(hook)));
    move |filter| {
        filter.attributes.iter().any(|attribute| match attribute {
            TcAttribute::Options(options) => options.contains(&name),
            _ => false,
        })
    }
}

/// The filters of a device in a hook's direction.
async fn filters(netlink: &mut Netlink, ifindex: u32, hook: Hook) -> io::Result<Vec<TcMessage>> {
    let mut request = message(ifindex);
    request.header.parent = parent(hook);
    let answers = netlink.dump(RouteNetlinkMessage::GetTrafficFilter(request)).await?;
    let filters = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(filter) => Some(filter),
        _ => None,
    });
    // Each filter comes twice: once for its priority alone, without handle.
    Ok(filters.filter(|filter| filter.header.handle != TcHandle::UNSPEC).collect())
}

fn qdisc(ifindex: u32) -> TcMessage {
    let mut message = message(ifindex);
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.header.parent = TcHandle::CLSACT;
    message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    message
}

fn filter(hook: Hook, ifindex: u32) -> TcMessage {
    let mut message = message(ifindex);
    message.header.parent = parent(hook);
    message.header.handle = TcHandle::from(HANDLE);
    message.header.info = PRIORITY << 16 | u32::from(ALL_PROTOCOLS.to_be());
    message
}

fn message(ifindex: u32) -> TcMessage {
    TcMessage::with_index(ifindex.cast_signed())
}

fn parent(hook: Hook) -> TcHandle {
    let minor = match hook.direction() {
        Some(Direction::Ingress) | None => TcHandle::MIN_INGRESS,
        Some(Direction::Egress) => TcHandle::MIN_EGRESS,
    };
    TcHandle { major: TcHandle::CLSACT.major, minor }
}

/// The device, its clsact or the filter is not there (`EINVAL` where the device has no such discipline).
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::EINVAL))
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_gone(&error) => Ok(()),
        result => result,
    }
}
