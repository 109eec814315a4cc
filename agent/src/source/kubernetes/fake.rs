//! A small Kubernetes API over HTTP, for tests: it lists and watches what it is told to hold, and misbehaves as it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How connections end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// As they do when the time of a watch is over.
    Whole,
    /// With half an event.
    MidEvent,
    /// Without a word.
    Broken,
}

/// How requests of a path are answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// With an error.
    Error(u16, &'static str),
    /// With the beginning of an answer and no more.
    Hang,
}

/// Objects by path of their API, and the changes of each since the start.
#[derive(Default)]
struct Store {
    version: u64,
    objects: BTreeMap<(String, String), Value>,
    changes: Vec<(String, u64, Value)>,
    /// Watches from before this version are told that it is too old.
    oldest: u64,
    /// Connections of another number than this are to end.
    epoch: u64,
    end: Option<End>,
    answers: BTreeMap<String, Answer>,
    refuses_streams: bool,
    requests: Vec<String>,
}

/// What the connections share.
#[derive(Clone)]
struct Shared {
    store: Arc<Mutex<Store>>,
    changed: watch::Sender<u64>,
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }
}

/// The API.
pub(super) struct Fake {
    shared: Shared,
    address: String,
    server: JoinHandle<()>,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Shared { store: Arc::default(), changed: watch::Sender::new(0) };
        let server = serve(listener, shared.clone());
        Self { shared, address, server }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        let result = work(&mut self.shared.store());
        self.shared.changed.send_modify(|count| *count += 1);
        result
    }

    /// Puts an object there, or another in the place of one of its name.
    pub(super) fn put(&self, path: &str, name: &str, rest: Value) {
        self.change(path, name, Some(rest));
    }

    pub(super) fn delete(&self, path: &str, name: &str) {
        self.change(path, name, None);
    }

    fn change(&self, path: &str, name: &str, object: Option<Value>) {
        self.with(|store| {
            store.version += 1;
            let version = store.version;
            let key = (path.to_owned(), name.to_owned());
            let (kind, mut object) = match object {
                Some(object) if store.objects.contains_key(&key) => ("MODIFIED", object),
                Some(object) => ("ADDED", object),
                None => ("DELETED", store.objects.get(&key).cloned().unwrap()),
            };
            object["metadata"] =
                json!({"name": name, "namespace": "n", "resourceVersion": version.to_string()});
            match kind {
                "DELETED" => store.objects.remove(&key),
                _ => store.objects.insert(key, object.clone()),
            };
            store.changes.push((path.to_owned(), version, json!({"type": kind, "object": object})));
        });
    }

    /// Forgets everything, and begins to count anew.
    pub(super) fn wipe(&self) {
        self.with(|store| {
            (store.version, store.oldest) = (0, 0);
            store.objects.clear();
            store.changes.clear();
        });
    }

    /// From now on there is no history before this.
    pub(super) fn forget_history(&self) {
        self.with(|store| {
            store.version += 1;
            store.oldest = store.version;
        });
    }

    /// Holds one object `z` and counts anew, while connections stay as they are; then tells watches of its version.
    pub(super) fn rewind(&self, path: &str) {
        self.wipe();
        self.put(path, "z", json!({}));
        // The watches have seen a higher version, and hear of this one all the same.
        self.with(|store| {
            let object = json!({"metadata": {"resourceVersion": "1"}});
            store.changes.push((path.to_owned(), 1_000, json!({"type": "BOOKMARK", "object": object})));
        });
    }

    /// Tells watches of the version, as servers do now and then.
    pub(super) fn bookmark(&self, path: &str) {
        self.with(|store| {
            store.version += 1;
            let version = store.version;
            let object = json!({"metadata": {"resourceVersion": version.to_string()}});
            store.changes.push((path.to_owned(), version, json!({"type": "BOOKMARK", "object": object})));
        });
    }

    /// From now on requests of a path are answered so; `None`: as they should be.
    pub(super) fn answer(&self, path: &str, answer: Option<Answer>) {
        self.with(|store| match answer {
            Some(answer) => drop(store.answers.insert(path.to_owned(), answer)),
            None => drop(store.answers.remove(path)),
        });
    }

    /// From now on lists are pages.
    pub(super) fn refuse_streams(&self) {
        self.with(|store| store.refuses_streams = true);
    }

    /// Ends all connections that there are.
    pub(super) fn end(&self, end: End) {
        self.with(|store| {
            store.epoch += 1;
            store.end = Some(end);
        });
    }

    /// Ends all connections; nothing listens until [`Self::resume`].
    pub(super) async fn stop(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
        self.end(End::Broken);
    }

    /// Answers again.
    pub(super) async fn resume(&mut self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        self.server = serve(listener, self.shared.clone());
    }

    /// What was asked for so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.shared.store().requests.clone()
    }
}

fn serve(listener: TcpListener, shared: Shared) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, shared.clone()));
        }
    })
}

/// What is asked for.
struct Target {
    path: String,
    parameters: Vec<(String, String)>,
}

impl Target {
    fn new(text: &str) -> Self {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let parameters = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { path: path.to_owned(), parameters }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }
}

/// The beginning of the answer to a watch.
const WATCH: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";

/// One request for each connection: an error here is a client that went away.
async fn answer(stream: TcpStream, shared: Shared) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let request = lines.next_line().await.ok()??;
    while !lines.next_line().await.ok()??.is_empty() {}
    let text = request.split(' ').nth(1)?;
    let target = Target::new(text);
    let (answer, refused, epoch) = {
        let mut store = shared.store();
        store.requests.push(text.to_owned());
        let refused = store.refuses_streams && target.get("sendInitialEvents").is_some();
        (store.answers.get(&target.path).cloned(), refused, store.epoch)
    };
    match answer {
        Some(Answer::Hang) => {
            write.write_all(WATCH.as_bytes()).await.ok()?;
            std::future::pending().await
        }
        Some(Answer::Error(code, message)) => whole(&mut write, code, &failure(code, message)).await,
        None if refused => {
            let message = "sendInitialEvents: Forbidden: the WatchList feature gate is off";
            whole(&mut write, 422, &failure(422, message)).await
        }
        None if target.get("watch") == Some("true") => watch(&mut write, &shared, &target, epoch).await,
        None => {
            let page = page(&shared.store(), &target);
            whole(&mut write, 200, &page).await
        }
    }
}

fn failure(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
           "reason": "Told", "code": code})
}

/// Up to `limit` objects behind the name `continue`.
fn page(store: &Store, target: &Target) -> Value {
    let begin = target.get("continue").unwrap_or_default();
    let mut of_path = store.objects.iter().filter(|(key, _)| key.0 == target.path && key.1.as_str() > begin);
    let limit = target.number("limit").map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
    let items: Vec<_> = of_path.by_ref().take(limit).collect();
    let next = of_path.next().and(items.last()).map(|(key, _)| key.1.clone()).unwrap_or_default();
    let items: Vec<_> = items.into_iter().map(|(_, object)| object).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items,
           "metadata": {"resourceVersion": store.version.to_string(), "continue": next}})
}

async fn watch(write: &mut OwnedWriteHalf, shared: &Shared, target: &Target, epoch: u64) -> Option<()> {
    let mut changed = shared.changed.subscribe();
    write.write_all(WATCH.as_bytes()).await.ok()?;
    let mut seen = target.number("resourceVersion").unwrap_or(0);
    let mut first = Vec::new();
    {
        let store = shared.store();
        if target.get("sendInitialEvents") == Some("true") {
            let of_path = store.objects.iter().filter(|(key, _)| key.0 == target.path);
            first.extend(of_path.map(|(_, object)| json!({"type": "ADDED", "object": object})));
            seen = store.version;
            first.push(
                json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": seen.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"}}}}),
            );
        } else if seen < store.oldest {
            first.push(json!({"type": "ERROR", "object": failure(410, "too old resource version")}));
        }
    }
    for event in first {
        chunk(write, &event).await?;
    }
    loop {
        let (new, end) = {
            let store = shared.store();
            let news = store.changes.iter().filter(|change| change.0 == target.path && change.1 > seen);
            (news.cloned().collect::<Vec<_>>(), store.end.filter(|_| store.epoch != epoch))
        };
        for (_, version, event) in new {
            seen = version;
            chunk(write, &event).await?;
        }
        match end {
            Some(End::Whole) => return write.write_all(b"0\r\n\r\n").await.ok(),
            Some(End::MidEvent) => return write.write_all(b"100\r\n{\"type\": \"MODIF").await.ok(),
            Some(End::Broken) => return None,
            None => {}
        }
        changed.changed().await.ok()?;
    }
}

async fn whole(write: &mut OwnedWriteHalf, code: u16, body: &Value) -> Option<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {code} Told\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    write.write_all((head + &body).as_bytes()).await.ok()
}

async fn chunk(write: &mut OwnedWriteHalf, event: &Value) -> Option<()> {
    let line = format!("{event}\n");
    write.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.ok()
}
