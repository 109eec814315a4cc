//! One resource, from its first list on: listed, watched, and listed anew after each gap.
//!
//! A list is a stream where the server offers that (KEP-3157), pages elsewhere. A watch that ends when its time is over goes on
//! from where it was. Whatever else ends one is a gap: what the server holds then may be other data altogether (a store that was
//! lost or restored has versions that lie behind those of before, and a watch from there would be silent for ever), so everything
//! is listed anew, and the list replaces what was known.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use http::StatusCode;
use kube::Client;
use kube::client::Body;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, Status};
use penstock_model::objects::{Kind, Object, ObjectKey};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::backoff::{Backoff, within};
use super::lines::{Lines, whole};
use super::read::{self, Page, Unreadable, Versioned, WatchEvent};
use super::resource::Resource;
use super::servers::AnsweredBy;
use super::trouble::{Trouble, message};

/// What is told of a resource.
#[derive(Debug)]
pub(super) enum Told {
    /// All objects there are, and those that cannot be read.
    Listed(Vec<Object>, Vec<Unreadable>),
    /// An object is new or has changed.
    Changed(Object),
    /// An object is gone.
    Gone(ObjectKey),
    /// An object has changed to something that cannot be read.
    Unreadable(Unreadable),
    /// The server does not have the resource.
    Absent,
    /// The watch goes on.
    Well,
    /// Neither list nor watch is to be had at present.
    Failed(String),
}

/// Where it is told.
pub(super) type Sender = mpsc::Sender<(Kind, Told)>;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a watch is to last, up to a quarter more by chance.
    pub(super) watch: Duration,
    /// The server says something at least this often: a bookmark each minute, if nothing else. One that does not is asked anew,
    /// which costs a server that is well nothing.
    pub(super) silence: Duration,
    /// How long a resource that the server does not have is not asked for again.
    pub(super) absent: Duration,
    /// What has lasted this long went well: the next pause is a short one again.
    pub(super) settled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            watch: Duration::from_secs(300),
            silence: Duration::from_secs(70),
            absent: Duration::from_secs(600),
            settled: Duration::from_secs(10),
        }
    }
}

/// Objects of a page of a list. An EndpointSlice of a hundred endpoints has 30 kB.
const PAGE: u32 = 250;
/// Bytes of an answer that is an error.
const ERROR_BODY: usize = 64 * 1_024;
/// A watch may end this much before its time.
const SLACK: Duration = Duration::from_secs(2);

/// The reflector of a resource.
pub(super) struct Reflector {
    pub(super) resource: &'static Resource,
    pub(super) client: Client,
    pub(super) told: Sender,
    pub(super) limits: Limits,
}

/// Why a list or a watch is over.
enum End {
    /// Nobody listens any longer.
    Unheard,
    /// What is to come is unknown.
    Gap(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Gap(trouble)
    }
}

/// A watch, and when its time is over.
struct Watch {
    lines: Lines,
    ends: Instant,
}

impl Reflector {
    /// Works until nobody listens.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let mut listed = None;
            let Err(end) = self.follow(&mut listed).await;
            let End::Gap(trouble) = end else { return };
            let settled = listed.is_some_and(|at: Instant| at.elapsed() >= self.limits.settled);
            if settled {
                backoff.reset();
            }
            let mut pause = backoff.next();
            let told = match trouble {
                Trouble::NoSuchResource { .. } if self.resource.optional => {
                    pause = self.limits.absent;
                    self.tell(Told::Absent).await
                }
                // Only what the next attempt cannot mend is a problem.
                trouble if settled => {
                    tracing::info!("kubernetes: {}: {trouble}; listing anew", self.resource.kind);
                    Ok(())
                }
                trouble => self.tell(Told::Failed(trouble.to_string())).await,
            };
            if told.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.told.closed() => return,
            }
        }
    }

    /// Lists, then watches up to the next gap. `listed` becomes when the list was whole.
    async fn follow(&self, listed: &mut Option<Instant>) -> Result<Infallible, End> {
        let (mut version, mut watch) = match self.stream_list().await {
            Ok((version, watch)) => (version, Some(watch)),
            Err(End::Gap(trouble)) if trouble.refuses_parameters() => {
                tracing::debug!("kubernetes: {}: no streaming list: {trouble}", self.resource.kind);
                (self.list_pages().await?, None)
            }
            Err(end) => return Err(end),
        };
        *listed = Some(Instant::now());
        loop {
            let mut current = match watch.take() {
                Some(watch) => watch,
                None => self.watch(Some(&version)).await?,
            };
            self.tell(Told::Well).await?;
            match self.take_events(&mut current.lines, &mut version).await {
                Ok(()) if Instant::now() + SLACK < current.ends => {
                    return Err(Trouble::Ended { server: current.lines.server().into() }.into());
                }
                Ok(()) => {}
                // The server may have had nothing to say: it is asked anew. One that answers but never says a word is no good.
                Err(End::Gap(Trouble::Silent { .. })) if current.lines.spoke() => {}
                Err(end) => return Err(end),
            }
        }
    }

    async fn tell(&self, told: Told) -> Result<(), End> {
        self.told.send((self.resource.kind, told)).await.map_err(|_| End::Unheard)
    }

    /// A watch from a version on; without one, the stream of a list and what follows it.
    async fn watch(&self, version: Option<&str>) -> Result<Watch, Trouble> {
        let time = self.limits.watch + within(self.limits.watch / 4);
        let params = WatchParams {
            label_selector: self.resource.labels.map(str::to_owned),
            timeout: u32::try_from(time.as_secs()).ok(),
            send_initial_events: version.is_none(),
            ..WatchParams::default()
        };
        let request = Request::new(self.resource.path()).watch(&params, version.unwrap_or_default());
        let ends = Instant::now() + time;
        let (body, server) = self.send(request, "watch").await?;
        Ok(Watch { lines: Lines::new(body, server), ends })
    }

    /// The body of an answer, and who gave it.
    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        verb: &'static str,
    ) -> Result<(Body, String), Trouble> {
        let request = request.map_err(|error| Trouble::Other(error.to_string()))?;
        let response = self.client.send(request.map(Body::from)).await.map_err(Trouble::unanswered)?;
        let server = response.extensions().get::<AnsweredBy>().map(|by| by.0.to_string()).unwrap_or_default();
        let code = response.status();
        if code.is_success() {
            return Ok((response.into_body(), server));
        }
        let body = whole(response.into_body(), ERROR_BODY, self.limits.silence, &server).await?;
        Err(Trouble::answered(server, code, message(&body), verb, self.resource))
    }

    /// A list as the beginning of a watch.
    async fn stream_list(&self) -> Result<(String, Watch), End> {
        let mut watch = self.watch(None).await?;
        let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
        loop {
            let Some(line) = watch.lines.next(self.limits.silence).await? else {
                return Err(Trouble::Ended { server: watch.lines.server().into() }.into());
            };
            let event = parse::<WatchEvent<'_>>(&line, "event of a watch", watch.lines.server())?;
            match &*event.event_type {
                "ADDED" | "MODIFIED" => self.read(event.object, &mut objects, &mut unreadable),
                "DELETED" => {
                    let gone =
                        versioned(event.object, watch.lines.server())?.metadata.key(self.resource.kind);
                    objects.retain(|object| Some(object.key()) != gone);
                }
                "BOOKMARK" => {
                    let mark = versioned(event.object, watch.lines.server())?.metadata;
                    if let (true, Some(version)) = (mark.ends_initial_events(), mark.resource_version) {
                        self.tell(Told::Listed(objects, unreadable)).await?;
                        return Ok((version, watch));
                    }
                }
                _ => return Err(self.error(event.object, watch.lines.server()).into()),
            }
        }
    }

    /// A list in pages. Gives the version to watch from.
    async fn list_pages(&self) -> Result<String, End> {
        let mut params = ListParams {
            label_selector: self.resource.labels.map(str::to_owned),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
        loop {
            let (body, server) = self.send(Request::new(self.resource.path()).list(&params), "list").await?;
            let body = whole(body, usize::MAX, self.limits.silence, &server).await?;
            let page = parse::<Page<'_>>(&body, "list", &server)?;
            for item in page.items.into_iter().flatten() {
                self.read(item, &mut objects, &mut unreadable);
            }
            match page.metadata.next {
                Some(next) if !next.is_empty() => params.continue_token = Some(next),
                _ => {
                    self.tell(Told::Listed(objects, unreadable)).await?;
                    return Ok(page.metadata.resource_version);
                }
            }
        }
    }

    fn read(&self, json: &RawValue, objects: &mut Vec<Object>, unreadable: &mut Vec<Unreadable>) {
        match read::object(self.resource.kind, json) {
            Ok(object) => objects.push(object),
            Err(error) => unreadable.push(error),
        }
    }

    /// Passes on what is watched up to the end of the watch.
    async fn take_events(&self, lines: &mut Lines, version: &mut String) -> Result<(), End> {
        while let Some(line) = lines.next(self.limits.silence).await? {
            let event = parse::<WatchEvent<'_>>(&line, "event of a watch", lines.server())?;
            if event.event_type == "ERROR" {
                return Err(self.error(event.object, lines.server()).into());
            }
            let metadata = versioned(event.object, lines.server())?.metadata;
            let told = match &*event.event_type {
                "ADDED" | "MODIFIED" => Some(match read::object(self.resource.kind, event.object) {
                    Ok(object) => Told::Changed(object),
                    Err(error) => Told::Unreadable(error),
                }),
                "DELETED" => metadata.key(self.resource.kind).map(Told::Gone),
                _ => None,
            };
            // Passed on before the version moves: what was not told is not skipped.
            if let Some(told) = told {
                self.tell(told).await?;
            }
            if let Some(next) = metadata.resource_version {
                if event.event_type == "BOOKMARK" && is_before(&next, version) {
                    return Err(Trouble::OtherStore { server: lines.server().into() }.into());
                }
                *version = next;
            }
        }
        Ok(())
    }

    /// What an event says that is an error.
    fn error(&self, json: &RawValue, server: &str) -> Trouble {
        let status = serde_json::from_str::<Status>(json.get()).unwrap_or_default();
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Trouble::answered(server.into(), code, status.message, "watch", self.resource)
    }
}

/// Whether a version lies before another. They are decimal numbers that grow (KEP-5504); of others nothing is said.
fn is_before(version: &str, other: &str) -> bool {
    matches!((version.parse::<u64>(), other.parse::<u64>()), (Ok(version), Ok(other)) if version < other)
}

fn parse<'a, T: serde::Deserialize<'a>>(
    json: &'a [u8],
    what: &'static str,
    server: &str,
) -> Result<T, Trouble> {
    serde_json::from_slice(json).map_err(|error| Trouble::Malformed { server: server.into(), what, error })
}

fn versioned(json: &RawValue, server: &str) -> Result<Versioned, Trouble> {
    parse(json.get().as_bytes(), "object", server)
}
