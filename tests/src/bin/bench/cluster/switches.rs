//! How soon traffic follows a change: a pod connects to a Service again and again, whose only endpoint is replaced by
//! another one and back. The endpoint that was replaced answers on, so no connection has a reason to fail.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use penstock_tests::probe::{Follow, Seen, Task, monotonic_ns};

use super::Effort;
use super::api::Api;
use super::objects::{self, PROGRAMS};
use super::witness::Witness;
use super::world::{SERVERS, SWITCHED, World};
use crate::report::{Figure, Goal};
use crate::statistics::percentile;
use crate::world::ENDPOINTS;

/// Pause between two connections: short beside what is measured, and long enough that the client leaves the machine's
/// processors to those who are to follow.
const PAUSE_US: u64 = 200;
/// Longer than any proxy takes for one change.
const LIMIT: Duration = Duration::from_secs(600);
/// Switches end after this even where there were fewer than wanted.
const ENOUGH: Duration = Duration::from_secs(90);
/// The most that is waited after a switch until the next one. How long is different each time, so that no two clocks that
/// tick beside each other are always met at the same moment.
const BETWEEN: Duration = Duration::from_millis(400);

/// Milliseconds.
const MEDIAN_GOAL: f64 = 5.0;
const MAXIMUM_GOAL: f64 = 50.0;

/// The client in its pod.
struct Client {
    process: Child,
    input: Option<ChildStdin>,
    seen: Receiver<Result<Seen>>,
    /// The server that answered last.
    server: Option<String>,
    /// When it began to.
    since: u64,
    /// The longest time between two answers, until then.
    pause: u64,
    failed: Vec<String>,
    connections: u64,
}

/// Switches the endpoint and gives what was seen; `services` is the number of other Services that are there.
pub(crate) fn measure(world: &World, api: &Api, services: u32, effort: &Effort) -> Result<Vec<Figure>> {
    let witness = Witness::start(&world.cluster.kubeconfig(), SWITCHED);
    let mut client = Client::start(world)?;
    client.wait_for(None)?;
    let begin = Instant::now();
    // From before the first change, the client has waited for the Service.
    client.pause = 0;
    let (mut followed, mut heard) = (Vec::new(), Vec::new());
    for number in 0..effort.switches {
        if begin.elapsed() > ENOUGH {
            break;
        }
        // The first leads away from where it is.
        let next = usize::from(client.server.as_deref() == Some(SERVERS[0]));
        let answered = api.change_slice(SWITCHED, &objects::endpoints(&[world.servers[next]]))?;
        client.wait_for(Some(SERVERS[next]))?;
        client.drain(Instant::now() + BETWEEN * (number % 7 + 1) / 7)?;
        // Where it went back and forth, what counts is from when on it stayed.
        client.wait_for(Some(SERVERS[next]))?;
        let until = |at_ns: u64| at_ns.saturating_sub(answered) as f64 / 1e6;
        followed.push(until(client.since));
        heard.push(until(witness.heard(&world.servers[next].to_string())?));
    }
    client.stop()?;
    let name = world.choice.name();
    let around = match services {
        0 => "few Services".to_owned(),
        many => format!("{many} Services of {ENDPOINTS} endpoints"),
    };
    let case = format!("{name}, {around}; {} switches", followed.len());
    for said in client.failed.iter().take(3) {
        println!("  a connection failed: {said}");
    }
    let is_penstock = world.choice == penstock_tests::cluster::Choice::Penstock;
    let judged = |figure: Figure, goal| if is_penstock { figure.goal(Goal::AtMost(goal)) } else { figure };
    let connections = format!("{case}, {} connections", client.connections);
    Ok(vec![
        judged(Figure::new("p50", &case, percentile(&followed, 50.0), "ms"), MEDIAN_GOAL),
        judged(Figure::new("max", &case, percentile(&followed, 100.0), "ms"), MAXIMUM_GOAL),
        // What of it is not the proxy's: until the API server has told, and while the client was not served by the machine.
        Figure::new("max of another watch", &case, percentile(&heard, 100.0), "ms"),
        Figure::new("client's longest pause", &case, client.pause as f64 / 1e6, "ms"),
        judged(Figure::new("failed connections", connections, client.failed.len() as f64, ""), 0.0),
    ])
}

/// Switches once and waits until traffic follows: what came before has then been seen by the client's node.
pub(crate) fn settle(world: &World, api: &Api) -> Result<()> {
    let mut client = Client::start(world)?;
    client.wait_for(None)?;
    let next = usize::from(client.server.as_deref() == Some(SERVERS[0]));
    api.change_slice(SWITCHED, &objects::endpoints(&[world.servers[next]]))?;
    client.wait_for(Some(SERVERS[next]))?;
    client.stop()
}

impl Client {
    fn start(world: &World) -> Result<Self> {
        let follow = Follow { target: world.switched(), pause_us: PAUSE_US, timeout_ms: 1_000 };
        let task = serde_json::to_string(&Task::Follow(follow))?;
        let mut process = world
            .in_client(&[&format!("{PROGRAMS}/pst-probe"), &task])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting kubectl exec")?;
        let output = BufReader::new(process.stdout.take().context("the client has no output")?);
        let (sender, seen) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let read = line.context("reading from the client").and_then(|line| {
                    serde_json::from_str(&line).with_context(|| format!("the client said {line:?}"))
                });
                // Nobody listens any more once the measurement has ended.
                if sender.send(read).is_err() {
                    break;
                }
            }
        });
        let input = process.stdin.take();
        Ok(Self {
            process,
            input,
            seen,
            server: None,
            since: 0,
            pause: 0,
            failed: Vec::new(),
            connections: 0,
        })
    }

    /// Waits until this server answers; any server where none is named.
    fn wait_for(&mut self, server: Option<&str>) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let is_there = |client: &Self| {
            client.server.is_some() && (server.is_none() || client.server.as_deref() == server)
        };
        while !is_there(self) {
            if !self.take(deadline)? {
                let failed = self.failed.last().map_or("none has failed", String::as_str);
                bail!("traffic has not followed in {LIMIT:?}; connections: {failed}");
            }
        }
        Ok(())
    }

    /// Takes in what is seen until the deadline.
    fn drain(&mut self, deadline: Instant) -> Result<()> {
        while self.take(deadline)? {}
        Ok(())
    }

    /// Takes in what is seen next; false at the deadline.
    fn take(&mut self, deadline: Instant) -> Result<bool> {
        match self.seen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(seen) => {
                let Seen { at_ns, longest_ns, connections, outcome } = seen?;
                self.connections = connections;
                self.pause = self.pause.max(longest_ns);
                match outcome {
                    Ok(server) => (self.server, self.since) = (Some(server), at_ns),
                    // Before the first answer the Service may not be there yet.
                    Err(said) if self.server.is_some() => self.failed.push(said),
                    Err(_) => {}
                }
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => bail!("the client has ended: {:?}", self.process.wait()),
        }
    }

    /// Ends the client.
    fn stop(&mut self) -> Result<()> {
        let mut input = self.input.take().context("the client was stopped before")?;
        // It may be gone, which its status tells.
        let _ = input.flush();
        drop(input);
        let status = self.process.wait().context("waiting for the client")?;
        while let Ok(seen) = self.seen.try_recv() {
            self.connections = seen?.connections;
        }
        anyhow::ensure!(status.success(), "the client failed: {status}");
        debug_assert!(self.since <= monotonic_ns());
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
