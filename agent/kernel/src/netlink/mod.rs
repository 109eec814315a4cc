//! A connection to the kernel's devices, addresses, routes and filters.
//!
//! rtnetlink makes it and speaks over it. What has no form there, filters and the clsact, is a message sent as it is. So
//! are dumps: rtnetlink's own lists keep silent about one that was interrupted by a change, ended with an error or lost its
//! connection, and a device missing from a list is one that the agent lets go.

use std::io;

use futures::StreamExt as _;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::{Handle, RouteHandle};
use tokio::task::JoinHandle;

/// A connection in the network namespace of the thread that opens it. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Netlink {
    /// Panics outside of a tokio runtime.
    pub(crate) fn open() -> io::Result<Self> {
        // Strict: filters by table and device are honoured, not ignored (Linux 4.20).
        let (mut connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        // The end of a dump tells whether it is whole.
        connection.set_forward_done(true);
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Requests about routes, to be waited for by [`Self::done`].
    pub(crate) fn routes(&self) -> RouteHandle {
        self.handle.route()
    }

    /// Waits until a request of rtnetlink's is done.
    pub(crate) async fn done(
        &self,
        request: impl Future<Output = Result<(), rtnetlink::Error>>,
    ) -> io::Result<()> {
        request.await.map_err(to_io)?;
        // rtnetlink takes the end of the connection for the end of an answer.
        if self.connection.is_finished() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Sends a request that has no form in rtnetlink, and waits until it is done.
    pub(crate) async fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.handle.request(request).map_err(to_io)?;
        let answer = async {
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::Error(error) = answer.payload {
                    return Err(rtnetlink::Error::NetlinkError(error));
                }
            }
            Ok(())
        };
        self.done(answer).await
    }

    /// Asks for a list, again where it changed meanwhile.
    pub(crate) async fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        loop {
            if let Some(list) = self.dump_once(message.clone()).await? {
                return Ok(list);
            }
        }
    }

    async fn dump_once(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut answers = self.handle.request(request).map_err(to_io)?;
        let (mut list, mut interrupted) = (Vec::new(), false);
        while let Some(answer) = answers.next().await {
            interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => list.push(message),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(io::Error::from_raw_os_error(-done.code));
                }
                NetlinkPayload::Done(_) => return Ok((!interrupted).then_some(list)),
                _ => {}
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The kernel's answer, where it is one.
fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(error) => error.to_io(),
        error => io::Error::other(error),
    }
}
