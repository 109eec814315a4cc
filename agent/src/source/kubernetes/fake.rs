//! A small Kubernetes API over HTTP, for tests: it lists and watches what it is told to hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Objects by path of their API, and the changes of each since the start.
#[derive(Default)]
struct Store {
    version: u64,
    objects: BTreeMap<(String, String), Value>,
    changes: Vec<(String, u64, Value)>,
    /// Watches from before this version are told that it is too old.
    oldest: u64,
    requests: Vec<String>,
}

/// The API.
pub(super) struct Fake {
    store: Arc<Mutex<Store>>,
    changed: watch::Sender<u64>,
    address: String,
    server: JoinHandle<()>,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let store = Arc::new(Mutex::new(Store::default()));
        let changed = watch::Sender::new(0);
        let server = serve(listener, store.clone(), changed.clone());
        Self { store, changed, address, server }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts an object there, or another in the place of one of its name.
    pub(super) fn put(&self, path: &str, name: &str, rest: Value) {
        self.change(path, name, Some(rest));
    }

    pub(super) fn delete(&self, path: &str, name: &str) {
        self.change(path, name, None);
    }

    fn change(&self, path: &str, name: &str, object: Option<Value>) {
        let mut store = self.store.lock().unwrap();
        store.version += 1;
        let version = store.version;
        let key = (path.to_owned(), name.to_owned());
        let (kind, mut object) = match object {
            Some(object) if store.objects.contains_key(&key) => ("MODIFIED", object),
            Some(object) => ("ADDED", object),
            None => ("DELETED", store.objects.get(&key).cloned().unwrap()),
        };
        object["metadata"] = json!({"name": name, "namespace": "n", "resourceVersion": version.to_string()});
        match kind {
            "DELETED" => store.objects.remove(&key),
            _ => store.objects.insert(key, object.clone()),
        };
        store.changes.push((path.to_owned(), version, json!({"type": kind, "object": object})));
        drop(store);
        self.changed.send_replace(version);
    }

    /// Ends all connections; nothing answers until [`Self::resume`].
    pub(super) async fn stop(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
        self.changed.send_replace(u64::MAX);
    }

    /// Answers again. What changed meanwhile can be listed, not watched.
    pub(super) async fn resume(&mut self) {
        {
            let mut store = self.store.lock().unwrap();
            store.version += 1;
            store.oldest = store.version;
        }
        self.changed = watch::Sender::new(0);
        let listener = TcpListener::bind(&self.address).await.unwrap();
        self.server = serve(listener, self.store.clone(), self.changed.clone());
    }

    /// What was asked for so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.store.lock().unwrap().requests.clone()
    }
}

fn serve(listener: TcpListener, store: Arc<Mutex<Store>>, changed: watch::Sender<u64>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, store.clone(), changed.subscribe()));
        }
    })
}

/// One request for each connection: an error here is a client that went away.
async fn answer(
    stream: TcpStream,
    store: Arc<Mutex<Store>>,
    mut changed: watch::Receiver<u64>,
) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let request = lines.next_line().await.ok()??;
    while !lines.next_line().await.ok()??.is_empty() {}
    let target = request.split(' ').nth(1)?;
    let (path, query) = target.split_once('?')?;
    let parameter = |name: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|pair| pair.0 == name)
            .map(|pair| pair.1)
    };
    store.lock().unwrap().requests.push(target.to_owned());
    let mut seen: u64 = parameter("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
    if parameter("watch") != Some("true") {
        let body = {
            let store = store.lock().unwrap();
            let of_path = store.objects.iter().filter(|(key, _)| key.0 == path);
            let items: Vec<_> = of_path.map(|(_, object)| object).collect();
            json!({"apiVersion": "v1", "kind": "List", "items": items,
                   "metadata": {"resourceVersion": store.version.to_string()}})
            .to_string()
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        return write.write_all((head + &body).as_bytes()).await.ok();
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    write.write_all(head.as_bytes()).await.ok()?;
    if seen < store.lock().unwrap().oldest {
        let gone = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version", "reason": "Expired", "code": 410}});
        return chunk(&mut write, &gone).await;
    }
    loop {
        let new: Vec<_> = {
            let store = store.lock().unwrap();
            let news = store.changes.iter().filter(|change| change.0 == path && change.1 > seen);
            news.cloned().collect()
        };
        for (_, version, event) in new {
            seen = version;
            chunk(&mut write, &event).await?;
        }
        changed.changed().await.ok()?;
        if *changed.borrow() == u64::MAX {
            return None;
        }
    }
}

async fn chunk(write: &mut OwnedWriteHalf, event: &Value) -> Option<()> {
    let line = format!("{event}\n");
    write.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.ok()
}
