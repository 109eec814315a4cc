//! HTTP on a few addresses, each for itself: one that is taken is waited for, and what it is waited for is told.
//!
//! A kube-proxy that still runs has both usual ports: that must not keep this agent from serving, nor from having the ports once it
//! has gone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::Server;
use super::address::{HEALTH_PORT, METRICS_PORT};
use super::health::Moment;
use super::routes::Routes;

/// Between two attempts at an address that is taken.
const AGAIN: Duration = Duration::from_secs(2);
/// Connections at once; more wait.
const CONNECTIONS: usize = 64;
/// Within this time a request must have come: whoever says nothing is sent away.
const REQUEST: Duration = Duration::from_secs(10);

/// One address of a server, and how it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Listener {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    /// Why nobody is answered there.
    pub(crate) problem: Option<String>,
}

/// Answers at an address for ever.
pub(super) async fn serve(
    server: Server,
    address: SocketAddr,
    routes: Arc<Routes>,
    listeners: watch::Sender<Vec<Listener>>,
) {
    let set = |problem: Option<String>| {
        listeners.send_modify(|listeners| {
            let ours = listeners.iter_mut().find(|known| (known.server, known.address) == (server, address));
            if let Some(ours) = ours {
                ours.problem = problem;
            }
        });
    };
    let mut told = None;
    loop {
        match listen(address) {
            Ok(listener) => {
                tracing::info!(%address, "serving {server}");
                (told, _) = (None::<String>, set(None));
                let error = accept(&listener, server, &routes).await;
                tracing::warn!(%address, %error, "no longer serving {server}; trying again");
            }
            Err(error) => {
                let problem = explain(address, &error);
                if told.as_ref() != Some(&problem) {
                    tracing::warn!(
                        "cannot serve {server} at {address}: {problem}; trying again until it can"
                    );
                    set(Some(problem.clone()));
                    told = Some(problem);
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The port of one family alone: `[::]` must not take that of `0.0.0.0` as well.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // An agent that follows on another is not kept from the port by connections that the other has closed.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

/// What an operator can do about it.
fn explain(address: SocketAddr, error: &io::Error) -> String {
    let usual = [HEALTH_PORT, METRICS_PORT].contains(&address.port());
    match error.kind() {
        io::ErrorKind::AddrInUse if usual => {
            "the port is taken, most likely by a kube-proxy that still runs on this node".into()
        }
        io::ErrorKind::AddrInUse => "the port is taken by another process".into(),
        _ => error.to_string(),
    }
}

async fn accept(listener: &TcpListener, server: Server, routes: &Arc<Routes>) -> io::Error {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return io::Error::other("no more connections");
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The client has gone already, or descriptors are short for a moment.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return error,
        };
        let routes = Arc::clone(routes);
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let response = routes.answer(server, &request, Moment::now());
                async { Ok::<_, std::convert::Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client of {server} was not served");
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests;
