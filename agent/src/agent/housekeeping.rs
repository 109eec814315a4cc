//! Waiting for readers and walking over flows, on a thread of its own: neither holds up a commit.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use penstock_model::tables::TableError;
use penstock_model::{Due, Reclaim, Reclaimed};
use tokio::sync::mpsc as channel;

use crate::tables::KernelReaders;

/// How often expired flows are removed while nothing else asks for a walk over them.
const EXPIRE: Duration = Duration::from_secs(30);
/// What went out of use within this time is reclaimed together.
const GATHER: Duration = Duration::from_millis(200);
/// How often it is looked again at what flows still held.
const AGAIN: Duration = Duration::from_secs(10);

/// The thread, seen from the control loop.
#[derive(Debug)]
pub(super) struct Housekeeping {
    jobs: mpsc::Sender<Reclaim>,
    done: channel::Receiver<Result<Reclaimed, TableError>>,
    running: bool,
    due_at: Option<Instant>,
}

impl Housekeeping {
    /// Starts the thread. It ends when this is dropped.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(readers: Arc<KernelReaders>) -> Result<Self> {
        let (jobs, work) = mpsc::channel::<Reclaim>();
        let (results, done) = channel::channel(1);
        thread::Builder::new()
            .name("housekeeping".into())
            .spawn(move || {
                loop {
                    match work.recv_timeout(EXPIRE) {
                        Ok(reclaim) => {
                            if results.blocking_send(reclaim.run(&*readers)).is_err() {
                                return;
                            }
                        }
                        Err(RecvTimeoutError::Timeout) => match readers.expire_flows() {
                            Ok(halves) => tracing::debug!(halves, "removed expired flows"),
                            Err(error) => tracing::warn!(%error, "could not walk over the flows"),
                        },
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })
            .context("start a thread for housekeeping")?;
        Ok(Self { jobs, done, running: false, due_at: None })
    }

    /// When [`Self::is_due`] will say yes, as far as is known now.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due_at.filter(|_| !self.running)
    }

    /// Plans the next batch after a change of what waits.
    pub(super) fn plan(&mut self, due: Due, now: Instant) {
        let wanted = match due {
            Due::Nothing => None,
            Due::Later => Some(now + AGAIN),
            Due::Now => Some(now + GATHER),
        };
        self.due_at = match (self.due_at, wanted) {
            (Some(planned), Some(wanted)) => Some(planned.min(wanted)),
            (_, wanted) => wanted,
        };
    }

    /// Whether a batch is to be run now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due_at().is_some_and(|due_at| due_at <= now)
    }

    /// Runs a batch.
    pub(super) fn run(&mut self, reclaim: Reclaim) {
        self.due_at = None;
        // Where the thread is gone, what waits goes on waiting.
        self.running = self.jobs.send(reclaim).is_ok();
    }

    /// The next batch that is through. May be cancelled.
    pub(super) async fn done(&mut self) -> Option<Result<Reclaimed, TableError>> {
        let result = self.done.recv().await;
        self.running = false;
        result
    }
}
