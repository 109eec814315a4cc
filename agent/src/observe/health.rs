//! Whether this proxy is healthy, ready, and its node one that load balancers should send to. Pure: time is told.
//!
//! Healthy means what it means of kube-proxy (`pkg/proxy/healthcheck/proxy_health.go`, KEP-3836): in no family does a change wait for
//! longer than [`TIMEOUT`]. While the proxy starts, nothing waits.
//!
//! A change waits from when the control loop woke up for it until the loop has come to its end and nothing of the family has
//! failed. So a loop that hangs becomes unhealthy as well: it wakes once a minute at least. What does not fit into a full table has not
//! failed in this sense: kubelet restarts what is not live, and no restart makes room.

use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::jiff::Timestamp;
use penstock_model::tables::{Family, PerFamily};
use serde::Serialize;

/// How long a change may wait: twice kube-proxy's `syncPeriod` of 30 s, as there.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// One moment, by the clock that measures and by the one that people read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) time: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }
}

/// What is known of the health.
#[derive(Debug)]
pub(crate) struct Health {
    families: PerFamily<Proxy>,
    node: Option<bool>,
    ready: bool,
}

/// The proxy of one family.
#[derive(Clone, Copy, Debug)]
struct Proxy {
    updated: SystemTime,
    waiting_since: Option<Instant>,
}

impl Health {
    /// A proxy that starts.
    pub(crate) fn new(now: Moment) -> Self {
        let proxy = Proxy { updated: now.time, waiting_since: None };
        Self { families: PerFamily { v4: proxy, v6: proxy }, node: None, ready: false }
    }

    /// Something is to be done.
    pub(crate) fn queued(&mut self, now: Moment) {
        for family in Family::ALL {
            self.families.get_mut(family).waiting_since.get_or_insert(now.instant);
        }
    }

    /// All that was to be done is done, but for the families that have failed.
    pub(crate) fn done(&mut self, failed: PerFamily<bool>, now: Moment) {
        for family in Family::ALL {
            if !failed.get(family) {
                *self.families.get_mut(family) = Proxy { updated: now.time, waiting_since: None };
            }
        }
    }

    /// The own Node object was told, and this is what it says.
    pub(crate) fn set_eligible(&mut self, eligible: bool) {
        self.node = Some(eligible);
    }

    /// The first full sync is through and the programs are attached.
    pub(crate) fn set_ready(&mut self) {
        self.ready = true;
    }

    /// See [`Self::set_ready`].
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether load balancers should send to this node. One whose object was never seen is not eligible.
    pub(crate) fn is_eligible(&self) -> bool {
        self.node == Some(true)
    }

    /// Whether a family keeps up with its changes.
    pub(crate) fn is_healthy(&self, family: Family, now: Moment) -> bool {
        let waiting_since = self.families.get(family).waiting_since;
        waiting_since.is_none_or(|since| now.instant.saturating_duration_since(since) < TIMEOUT)
    }

    /// The answer of `/livez`.
    pub(crate) fn livez(&self, now: Moment) -> Answer {
        let [v4, v6] = Family::ALL.map(|family| FamilyBody {
            last_updated: timestamp(self.families.get(family).updated),
            healthy: self.is_healthy(family, now),
        });
        let healthy = v4.healthy && v6.healthy;
        // As kube-proxy does for those who expect a time that moves: "now" where all is well.
        let last_updated = if healthy { timestamp(now.time) } else { v4.last_updated.max(v6.last_updated) };
        let body = Body {
            last_updated,
            current_time: timestamp(now.time),
            node_eligible: None,
            healthy,
            status: Status { v4, v6 },
        };
        Answer { ok: healthy, body }
    }

    /// The answer of `/healthz`: as `/livez`, and no for a node that should get no more traffic from outside.
    pub(crate) fn healthz(&self, now: Moment) -> Answer {
        let Answer { ok: healthy, mut body } = self.livez(now);
        let ok = healthy && self.is_eligible();
        body.node_eligible = Some(self.is_eligible());
        if !ok {
            body.last_updated = body.status.v4.last_updated.max(body.status.v6.last_updated);
        }
        Answer { ok, body }
    }
}

/// What a probe is told.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 200, otherwise 503.
    pub(crate) ok: bool,
    pub(crate) body: Body,
}

/// kube-proxy's `ProxyHealth`, field by field and in its order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Body {
    last_updated: Timestamp,
    current_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    status: Status,
}

#[derive(Debug, Serialize)]
struct Status {
    #[serde(rename = "IPv4")]
    v4: FamilyBody,
    #[serde(rename = "IPv6")]
    v6: FamilyBody,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyBody {
    last_updated: Timestamp,
    healthy: bool,
}

/// A clock outside of the years 1 to 9999 is shown as 1970.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: PerFamily<bool> = PerFamily { v4: false, v6: false };

    /// Seconds after a start at 2026-01-01T00:00:00Z.
    struct Clock(Moment);

    impl Clock {
        fn new() -> Self {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
            Self(Moment { instant: Instant::now(), time })
        }

        fn at(&self, seconds: u64) -> Moment {
            let after = Duration::from_secs(seconds);
            Moment { instant: self.0.instant + after, time: self.0.time + after }
        }
    }

    fn json(answer: &Answer) -> String {
        serde_json::to_string(&answer.body).unwrap()
    }

    #[test]
    fn a_proxy_that_starts_or_has_done_everything_is_healthy_however_long_ago_that_was() {
        let clock = Clock::new();
        let mut health = Health::new(clock.at(0));
        assert!(health.livez(clock.at(1_000_000)).ok);
        health.queued(clock.at(10));
        health.done(NONE, clock.at(11));
        assert!(health.livez(clock.at(1_000_000)).ok);
    }

    #[test]
    fn a_change_that_waits_for_a_minute_is_unhealthy_until_it_is_through() {
        let clock = Clock::new();
        let mut health = Health::new(clock.at(0));
        health.queued(clock.at(10));
        assert!(health.livez(clock.at(69)).ok);
        assert!(!health.livez(clock.at(70)).ok);
        // More that comes meanwhile does not make the first one younger.
        health.queued(clock.at(69));
        assert!(!health.livez(clock.at(70)).ok);
        health.done(NONE, clock.at(71));
        assert!(health.livez(clock.at(200)).ok);
    }

    #[test]
    fn one_family_that_fails_makes_the_whole_unhealthy_and_is_named() {
        let clock = Clock::new();
        let mut health = Health::new(clock.at(0));
        health.set_eligible(true);
        health.queued(clock.at(0));
        health.done(PerFamily { v4: false, v6: true }, clock.at(1));
        let answer = health.livez(clock.at(60));
        assert!(!answer.ok);
        assert_eq!(
            json(&answer),
            r#"{"lastUpdated":"2026-01-01T00:00:01Z","currentTime":"2026-01-01T00:01:00Z","healthy":false,"#
                .to_owned()
                + r#""status":{"IPv4":{"lastUpdated":"2026-01-01T00:00:01Z","healthy":true},"#
                + r#""IPv6":{"lastUpdated":"2026-01-01T00:00:00Z","healthy":false}}}"#
        );
    }

    #[test]
    fn a_node_that_is_not_eligible_or_was_never_seen_fails_healthz_alone() {
        let clock = Clock::new();
        let mut health = Health::new(clock.at(0));
        assert!(health.livez(clock.at(1)).ok && !health.healthz(clock.at(1)).ok);
        health.set_eligible(true);
        let answer = health.healthz(clock.at(5));
        assert!(answer.ok);
        assert_eq!(
            json(&answer),
            r#"{"lastUpdated":"2026-01-01T00:00:05Z","currentTime":"2026-01-01T00:00:05Z","nodeEligible":true,"#.to_owned()
                + r#""healthy":true,"status":{"IPv4":{"lastUpdated":"2026-01-01T00:00:00Z","healthy":true},"#
                + r#""IPv6":{"lastUpdated":"2026-01-01T00:00:00Z","healthy":true}}}"#
        );
        health.set_eligible(false);
        let answer = health.healthz(clock.at(9));
        assert!(!answer.ok && health.livez(clock.at(9)).ok);
        assert!(json(&answer).contains(r#""nodeEligible":false,"healthy":true"#), "{}", json(&answer));
    }

    #[test]
    fn readiness_comes_once_and_stays() {
        let mut health = Health::new(Moment::now());
        assert!(!health.is_ready());
        health.set_ready();
        assert!(health.is_ready());
    }
}
