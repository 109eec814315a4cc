//! The agent's eye on a kube-proxy, on a thread of its own: it tells of one that runs beside it and, where it is to, takes over
//! from one that has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::watch;

use super::removal;
use super::running::{self, Running};
use super::tools::Tools;
use super::traces::Traces;

/// Between two looks for a process, while one is waited for to end.
const SOON: Duration = Duration::from_secs(2);
/// Otherwise.
const LATER: Duration = Duration::from_secs(30);
/// Between two looks whether the kernel's translation is still needed.
const RELEASE: Duration = Duration::from_secs(60);

/// What the agent knows of a kube-proxy on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// In words: `none`, or what runs and what there is of it.
    pub(crate) summary: String,
    /// What was removed when this agent took over, once it has.
    pub(crate) removed: Option<Vec<String>>,
    /// Its rules are in the kernel, or may be: they drop what conntrack saw one way of. Once they are seen, until they are removed here.
    pub(crate) rules: bool,
}

impl Default for Sight {
    /// Before the first look.
    fn default() -> Self {
        Self { summary: String::new(), removed: None, rules: true }
    }
}

/// The thread's other end.
pub(crate) struct Watch {
    /// What was seen last.
    pub(crate) sight: watch::Receiver<Sight>,
    /// Set once the programs are attached and the tables follow the cluster: before that nothing is taken over.
    pub(crate) serving: Arc<AtomicBool>,
}

impl Watch {
    /// Starts watching.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub(crate) fn start(tools: Tools, replace: bool) -> Result<Self> {
        let (sender, sight) = watch::channel(Sight::default());
        let serving = Arc::new(AtomicBool::new(false));
        let watcher = Watcher { tools, replace, serving: Arc::clone(&serving), sender, ..Watcher::default() };
        thread::Builder::new()
            .name("kube-proxy".into())
            .spawn(|| watcher.run())
            .context("start the thread that watches kube-proxy")?;
        Ok(Self { sight, serving })
    }
}

#[derive(Default)]
struct Watcher {
    tools: Tools,
    replace: bool,
    serving: Arc<AtomicBool>,
    sender: watch::Sender<Sight>,
    /// What ran at the last look; `None` before the first.
    running: Option<Option<Running>>,
    /// What is left of a kube-proxy waits to be removed.
    remains: bool,
    /// What is not to be logged again.
    said: Option<String>,
}

impl Watcher {
    fn run(mut self) {
        let mut released = Instant::now();
        while !self.sender.is_closed() {
            match self.look() {
                Ok(()) => self.said = None,
                Err(error) => {
                    let text = format!("kube-proxy: {error:#}; trying again");
                    if self.said.as_ref() != Some(&text) {
                        tracing::warn!("{text}");
                    }
                    self.said = Some(text);
                }
            }
            if released.elapsed() >= RELEASE {
                released = Instant::now();
                match removal::release(&self.tools, false) {
                    Ok(true) => tracing::info!("kube-proxy: no connection needs its translation any more"),
                    Ok(false) => {}
                    Err(error) => tracing::debug!("kube-proxy: {error:#}"),
                }
            }
            thread::sleep(if self.replace && self.remains { SOON } else { LATER });
        }
    }

    fn look(&mut self) -> Result<()> {
        let running = running::look(self.tools.host_root());
        if self.running.as_ref() != Some(&running) {
            // A kube-proxy has come or gone, or this is the first look: what is there is read anew.
            let traces = Traces::look(&self.tools)?;
            self.remains = traces.running.is_some() || !traces.is_clean();
            self.tell(&traces);
            self.running = Some(traces.running);
        }
        let gone = self.running.as_ref().is_some_and(Option::is_none);
        if self.replace && self.remains && gone && self.serving.load(Ordering::Acquire) {
            self.take_over()?;
        }
        Ok(())
    }

    fn tell(&self, traces: &Traces) {
        let summary = traces.to_string();
        match (&traces.running, self.replace) {
            (Some(_), true) => tracing::info!("kube-proxy: {summary}; waiting for it to end, to take over"),
            (Some(_), false) => tracing::info!("kube-proxy: {summary}; serving beside it"),
            (None, _) if self.remains => tracing::info!("kube-proxy: left {summary}"),
            (None, _) => tracing::debug!("kube-proxy: none"),
        }
        for note in traces.notes() {
            tracing::debug!("kube-proxy: {note}");
        }
        let first = self.running.is_none();
        self.sender.send_modify(|sight| {
            sight.summary = summary;
            // Where the tools are missing, what an ended one has left cannot be seen.
            sight.rules = self.remains || sight.rules && !first;
        });
    }

    fn take_over(&mut self) -> Result<()> {
        let traces = Traces::look(&self.tools)?;
        if traces.running.is_some() {
            // It has come back meanwhile.
            return Ok(());
        }
        let removed = removal::remove(&self.tools, &traces)?;
        for line in &removed {
            tracing::info!("kube-proxy: removed {line}");
        }
        for note in traces.notes() {
            tracing::warn!("kube-proxy: {note}");
        }
        self.remains = false;
        self.sender.send_modify(|sight| {
            sight.summary = Traces::default().to_string();
            sight.removed = Some(removed);
            sight.rules = false;
        });
        Ok(())
    }
}
