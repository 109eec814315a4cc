//! Several API servers of one cluster behind one client: each request goes to the first that is not known to fail.
//!
//! A server that cannot be reached, is too slow to answer or answers that it is in trouble is left out for a while. A request
//! that carries nothing is passed on to the next server at once. Servers are asked in the order in which they were named, so
//! the first is used again once it is well.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy;
use kube::client::Body;
use tokio::time::timeout;
use tower::{BoxError, Service};

use super::causes::chain;

/// How long a server that failed is left out while there are others.
const LEFT_OUT: Duration = Duration::from_secs(30);
/// How long a server may take before it begins to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where an API server is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServerUrl(Uri);

impl ServerUrl {
    /// The address of a configuration, which has been parsed already.
    pub(super) fn of(uri: Uri) -> Result<Self, String> {
        let https = match uri.scheme() {
            Some(scheme) => *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP,
            None => false,
        };
        if https && uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none() {
            Ok(Self(uri))
        } else {
            Err(format!("{uri} is not the URL of an API server: use https://HOST[:PORT]"))
        }
    }

    /// Whether nothing on the way is encrypted, as the operator wants it.
    pub(super) fn is_plain(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTP)
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }

    /// The address of a path of the API on this server.
    fn join(&self, path: &Uri) -> Result<Uri, http::Error> {
        let prefix = self.0.path().trim_end_matches('/');
        let path = path.path_and_query().map_or("/", PathAndQuery::as_str);
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = Some(format!("{prefix}{path}").parse()?);
        Ok(Uri::from_parts(parts)?)
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri = text.parse::<Uri>().map_err(|error| format!("{text:?} is not a URL: {error}"))?;
        Self::of(uri)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

/// On a response: the server that gave it.
#[derive(Clone, Debug)]
pub(super) struct AnsweredBy(pub(super) Arc<str>);

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{server}: {cause}")]
    NotReached { server: Arc<str>, cause: String },
    #[error(
        "{server}: its certificate is not accepted: {cause}; the agent trusts the authority that its kubeconfig or service account names, and no other"
    )]
    Certificate { server: Arc<str>, cause: String },
    #[error("{server}: no answer within {} s", .patience.as_secs())]
    Slow { server: Arc<str>, patience: Duration },
    #[error("{server}: answered {code}")]
    InTrouble { server: Arc<str>, code: StatusCode },
}

/// No server answered a request.
#[derive(Debug)]
pub(super) struct Unreachable(Vec<Failure>);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, failure) in self.0.iter().enumerate() {
            write!(f, "{}{failure}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl StdError for Unreachable {}

struct Server {
    url: ServerUrl,
    name: Arc<str>,
    left_out: Mutex<Option<Instant>>,
}

impl Server {
    fn left_out(&self) -> Option<Instant> {
        *self.left_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what was said before.
    fn leave_out(&self, until: Option<Instant>) -> Option<Instant> {
        std::mem::replace(&mut *self.left_out.lock().unwrap_or_else(PoisonError::into_inner), until)
    }
}

/// The servers, as one service.
#[derive(Clone)]
pub(super) struct Servers<S> {
    inner: S,
    servers: Arc<[Server]>,
    patience: Duration,
}

impl<S> Servers<S> {
    pub(super) fn new(inner: S, urls: &[ServerUrl]) -> Self {
        let server = |url: &ServerUrl| Server {
            url: url.clone(),
            name: url.to_string().into(),
            left_out: Mutex::default(),
        };
        Self { inner, servers: urls.iter().map(server).collect(), patience: PATIENCE }
    }

    /// The servers in the order in which they are to be asked.
    fn order(&self) -> Vec<usize> {
        let now = Instant::now();
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        // The sort is stable: those that are not left out stay in the order of the operator.
        order.sort_by_key(|i| self.servers[*i].left_out().filter(|until| *until > now));
        order
    }
}

impl<S, B> Service<Request<Body>> for Servers<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone that is ready goes with the request.
        let ready = self.inner.clone();
        let mut this = Self { inner: std::mem::replace(&mut self.inner, ready), ..self.clone_handles() };
        Box::pin(async move { this.ask(request).await })
    }
}

impl<S: Clone> Servers<S> {
    fn clone_handles(&self) -> Self {
        self.clone()
    }
}

impl<S, B> Servers<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    async fn ask(&mut self, request: Request<Body>) -> Result<Response<B>, BoxError> {
        let (parts, body) = request.into_parts();
        let mut order = self.order();
        if parts.method != Method::GET {
            // Asked twice, it may be done twice.
            order.truncate(1);
        }
        let mut body = Some(body);
        let mut failures = Vec::new();
        for (asked, i) in order.iter().enumerate() {
            let server = &self.servers[*i];
            let last = asked + 1 == order.len();
            let this_body = if last { body.take() } else { body.as_ref().and_then(Body::try_clone) };
            let Some(this_body) = this_body else { break };
            let mut attempt = Request::from_parts(parts.clone(), this_body);
            *attempt.uri_mut() = server.url.join(&parts.uri)?;
            let failure = match timeout(self.patience, self.inner.call(attempt)).await {
                Ok(Ok(mut response)) => {
                    let trouble = in_trouble(response.status());
                    if !trouble {
                        server.leave_out(None);
                    }
                    if !trouble || last {
                        response.extensions_mut().insert(AnsweredBy(server.name.clone()));
                        return Ok(response);
                    }
                    Failure::InTrouble { server: server.name.clone(), code: response.status() }
                }
                Ok(Err(error)) => not_reached(server.name.clone(), error.into()),
                Err(_) => Failure::Slow { server: server.name.clone(), patience: self.patience },
            };
            let before = server.leave_out(Some(Instant::now() + LEFT_OUT));
            if let (false, None) = (last, before) {
                tracing::warn!("kubernetes: {failure}; asking another server");
            }
            failures.push(failure);
        }
        Err(Unreachable(failures).into())
    }
}

/// A server that says this of itself is not the one to ask now.
fn in_trouble(code: StatusCode) -> bool {
    matches!(
        code,
        StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn not_reached(server: Arc<str>, error: BoxError) -> Failure {
    // That it was the connection that failed is said by what failed.
    let connecting = error.downcast_ref::<legacy::Error>().filter(|error| error.is_connect());
    let cause = chain(connecting.and_then(StdError::source).unwrap_or(&*error));
    let mut next: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref::<rustls::Error>() {
            return Failure::Certificate { server, cause: error.to_string() };
        }
        // What wraps another error in an I/O error gives that one's source as its own.
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    Failure::NotReached { server, cause }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tower::{ServiceExt, service_fn};

    use super::*;

    /// Whom each request of several is answered by, where `answer` says how each host answers: `None` for not at all.
    async fn asked(
        urls: &[&str],
        method: Method,
        answer: fn(&str) -> Option<u16>,
    ) -> Result<(Servers<impl Clone>, String), String> {
        let inner = service_fn(move |request: Request<Body>| async move {
            let uri = request.uri().clone();
            assert_eq!(uri.path_and_query().unwrap(), "/prefix/api?x=1");
            match answer(uri.host().unwrap()) {
                Some(code) => Ok(Response::builder().status(code).body(()).unwrap()),
                None => Err(io::Error::other("refused")),
            }
        });
        let urls: Vec<ServerUrl> = urls.iter().map(|url| format!("{url}/prefix").parse().unwrap()).collect();
        let mut servers = Servers::new(inner, &urls);
        let request = Request::builder().method(method).uri("/api?x=1").body(Body::empty()).unwrap();
        match ServiceExt::ready(&mut servers).await.unwrap().call(request).await {
            Ok(response) => {
                let by = response.extensions().get::<AnsweredBy>().unwrap().0.to_string();
                Ok((servers, format!("{} {by}", response.status().as_u16())))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn the_first_server_that_answers_is_asked_and_the_others_are_left_out() {
        let answer = |host: &str| match host {
            "a" => None,
            "b" => Some(503),
            _ => Some(200),
        };
        let urls = ["https://a", "https://b:6443", "https://c"];
        let (servers, answered) = asked(&urls, Method::GET, answer).await.unwrap();
        assert_eq!(answered, "200 https://c/prefix");
        assert_eq!(servers.order(), [2, 0, 1]);
        servers.servers[0].leave_out(None);
        assert_eq!(servers.order(), [0, 2, 1]);
    }

    #[tokio::test]
    async fn where_no_server_answers_each_is_named() {
        let error = asked(&["https://a", "https://b"], Method::GET, |_| None).await.err().unwrap();
        assert_eq!(error, "https://a/prefix: refused; https://b/prefix: refused");
    }

    #[tokio::test]
    async fn the_last_server_that_is_in_trouble_gives_its_own_answer() {
        let (_, answered) = asked(&["https://a", "https://b"], Method::GET, |_| Some(503)).await.unwrap();
        assert_eq!(answered, "503 https://b/prefix");
    }

    #[tokio::test]
    async fn what_changes_something_is_asked_of_one_server_alone() {
        let error = asked(&["https://a", "https://b"], Method::POST, |_| None).await.err().unwrap();
        assert_eq!(error, "https://a/prefix: refused");
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for text in ["", "10.0.0.1:6443", "ftp://a", "https://", "https://a?x", "https://a b"] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
        for text in ["https://[fd00::1]:6443", "http://127.0.0.1:8080", "https://api.example.org/k8s"] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), text);
        }
    }
}
