//! What is answered to a request, by path: the same as kube-proxy answers, and readiness.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use hyper::{Request, Response, StatusCode};

use super::health::{Answer, Moment};
use super::metrics::{Exposition, Format};
use super::{Observed, Server};

const TEXT: &str = "text/plain; charset=utf-8";

/// All that the answers are made of.
pub(super) struct Routes {
    observed: std::sync::Arc<Observed>,
    exposition: Exposition,
}

impl Routes {
    pub(super) fn new(observed: std::sync::Arc<Observed>, exposition: Exposition) -> Self {
        Self { observed, exposition }
    }

    /// The answer to a request to a server. As in kube-proxy, any method is good, and a body is not read.
    pub(super) fn answer<B>(
        &self,
        server: Server,
        request: &Request<B>,
        now: Moment,
    ) -> Response<Full<Bytes>> {
        match (server, request.uri().path()) {
            (Server::Health, "/healthz") => {
                let answer = self.observed.health().healthz(now);
                self.observed.metrics.proxy.healthz(answer.ok);
                probe(&answer)
            }
            (Server::Health, "/livez") => {
                let answer = self.observed.health().livez(now);
                self.observed.metrics.proxy.livez(answer.ok);
                probe(&answer)
            }
            (Server::Health, "/readyz") => {
                if self.observed.health().is_ready() {
                    respond(StatusCode::OK, TEXT, "ok")
                } else {
                    let why =
                        "not ready: the first full sync is not through, or the programs are not attached";
                    respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, why)
                }
            }
            // That the process answers, no more: what kube-proxy has at this port.
            (Server::Metrics, "/healthz") => respond(StatusCode::OK, TEXT, "ok"),
            (Server::Metrics, "/proxyMode") => respond(StatusCode::OK, TEXT, "ebpf"),
            (Server::Metrics, "/metrics") => {
                let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
                let format = Format::accepted(accept.unwrap_or_default());
                match self.exposition.text(format) {
                    Ok(text) => respond(StatusCode::OK, format.content_type(), text),
                    Err(error) => {
                        let text = format!("the metrics could not be written: {error}");
                        respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text)
                    }
                }
            }
            _ => respond(StatusCode::NOT_FOUND, TEXT, "404 page not found\n"),
        }
    }
}

fn probe(answer: &Answer) -> Response<Full<Bytes>> {
    let status = if answer.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, "application/json", serde_json::to_string(&answer.body).unwrap_or_default())
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, hyper::header::HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use penstock_model::tables::PerFamily;

    use super::*;
    use crate::observe::metrics::Reading;

    struct Bench {
        observed: Arc<Observed>,
        routes: Routes,
    }

    impl Bench {
        fn new() -> Self {
            let observed = Arc::new(Observed::new(Moment::now()));
            let exposition = Exposition::new(&observed.metrics, Reading::default());
            Self { routes: Routes::new(Arc::clone(&observed), exposition), observed }
        }

        fn get(&self, server: Server, path: &str) -> (u16, String, String) {
            self.get_at(server, path, "", Moment::now())
        }

        fn get_at(&self, server: Server, path: &str, accept: &str, now: Moment) -> (u16, String, String) {
            let request = Request::get(path).header(ACCEPT, accept).body(()).unwrap();
            let response = self.routes.answer(server, &request, now);
            let status = response.status().as_u16();
            let content_type = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
            assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
            let runtime = crate::runtime::new().unwrap();
            let body = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
            (status, content_type, String::from_utf8(body.to_vec()).unwrap())
        }
    }

    #[test]
    fn a_probe_is_told_in_json_and_counted() {
        let bench = Bench::new();
        let (status, content_type, body) = bench.get(Server::Health, "/healthz");
        assert_eq!((status, &*content_type), (503, "application/json"));
        assert!(body.contains(r#""nodeEligible":false,"healthy":true"#), "{body}");
        bench.observed.set_eligible(true);
        assert_eq!(bench.get(Server::Health, "/healthz?verbose").0, 200);
        let (status, _, body) = bench.get(Server::Health, "/livez");
        assert_eq!(status, 200);
        assert!(!body.contains("nodeEligible"), "{body}");
        let (_, _, metrics) = bench.get(Server::Metrics, "/metrics");
        for line in [
            "kubeproxy_proxy_healthz_total{code=\"200\"} 1",
            "kubeproxy_proxy_healthz_total{code=\"503\"} 1",
            "kubeproxy_proxy_livez_total{code=\"200\"} 1",
            "kubeproxy_proxy_livez_total{code=\"503\"} 0",
            "penstock_node_eligible 1",
        ] {
            assert!(metrics.lines().any(|told| told == line), "{line} is not in:\n{metrics}");
        }
    }

    #[test]
    fn what_fails_for_a_minute_fails_both_probes() {
        let bench = Bench::new();
        let start = Moment::now();
        bench.observed.set_eligible(true);
        bench.observed.woken(start);
        bench.observed.rested(PerFamily { v4: true, v6: false }, start);
        let later = |seconds| {
            let after = Duration::from_secs(seconds);
            Moment { instant: start.instant + after, time: start.time + after }
        };
        for path in ["/healthz", "/livez"] {
            assert_eq!(bench.get_at(Server::Health, path, "", later(59)).0, 200, "{path}");
            assert_eq!(bench.get_at(Server::Health, path, "", later(60)).0, 503, "{path}");
        }
    }

    #[test]
    fn readiness_is_told_after_the_first_sync_alone() {
        let bench = Bench::new();
        assert_eq!(bench.get(Server::Health, "/readyz").0, 503);
        bench.observed.set_ready();
        assert_eq!(bench.get(Server::Health, "/readyz").0, 200);
    }

    #[test]
    fn the_servers_have_the_paths_of_kube_proxys_and_no_others() {
        let bench = Bench::new();
        assert_eq!(
            bench.get(Server::Metrics, "/proxyMode"),
            (200, "text/plain; charset=utf-8".into(), "ebpf".into())
        );
        assert_eq!(bench.get(Server::Metrics, "/healthz").2, "ok");
        for (server, path) in [
            (Server::Health, "/"),
            (Server::Health, "/metrics"),
            (Server::Metrics, "/livez"),
            (Server::Metrics, "/metrics/"),
        ] {
            assert_eq!(bench.get(server, path).0, 404, "{path}");
        }
    }

    #[test]
    fn metrics_come_in_the_format_that_is_asked_for() {
        let bench = Bench::new();
        let ask = |accept| bench.get_at(Server::Metrics, "/metrics", accept, Moment::now());
        let (_, content_type, text) = ask("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        assert!(content_type.starts_with("application/openmetrics-text") && text.ends_with("# EOF\n"));
        let (_, content_type, text) = ask("*/*");
        assert!(content_type.starts_with("text/plain; version=0.0.4") && !text.contains("# EOF"));
    }
}
