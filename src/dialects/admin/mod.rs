//! What operators ask: is it alive, is it ready, what does it count, what can be tried. Not served on the public door.

mod collector;
mod page;
mod readiness;

pub use page::{dev_page, serve_page};
pub use readiness::Readiness;

use crate::http::body::BodyError;
use crate::http::head::HeadError;
use crate::http::response::{Response, error, json};
use crate::metrics::Metrics;
use crate::session::{Actions, Dialect, Door, HeadLimits, Opening, Request};
use prometheus_client::registry::Registry;
use std::sync::{Arc, OnceLock};

/// The dialect `admin`.
pub struct Admin {
    registry: Registry,
    readiness: Arc<Readiness>,
    page: Arc<OnceLock<String>>,
    head_bytes: usize,
}

/// No path takes a body; one up to this size is dropped and the request still gets its answer.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// Its pages.
pub const PATHS: [&str; 4] = ["/", "/health", "/ready", "/metrics"];

impl Admin {
    /// `page` is shown on `/` once it is known; `head_bytes` bounds the fields of a request.
    pub fn new(metrics: Arc<Metrics>, readiness: Arc<Readiness>, page: Arc<OnceLock<String>>, head_bytes: usize) -> Admin {
        let mut registry = Registry::with_prefix("fanwire");
        registry.register_collector(Box::new(collector::Reading(metrics)));
        Admin { registry, readiness, page, head_bytes }
    }

    fn metrics(&self) -> Response {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("a String takes everything");
        Response::new(200).content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(text)
    }

    fn ready(&self) -> Response {
        let (status, word) = match self.readiness.read() {
            readiness::State::Starting => (503, "starting"),
            readiness::State::Ready => (200, "ready"),
            readiness::State::Draining => (503, "draining"),
        };
        json(status, format!(r#"{{"status":"{word}"}}"#))
    }
}

impl Dialect for Admin {
    fn name(&self) -> &'static str {
        "admin"
    }

    fn open(&self, request: &Request<'_>, _actions: &mut Actions) -> Option<Opening> {
        match request.door {
            Door::Public => return None,
            Door::Admin | Door::Both => {}
        }
        let path = request.head.path();
        if !PATHS.contains(&path) {
            return None;
        }
        if request.head.method != "GET" {
            let response = error(405, "Method not allowed").field("Allow", "GET");
            return Some(Opening::Respond(response));
        }
        Some(Opening::Respond(match path {
            "/health" => json(200, format!(r#"{{"status":"ok","reactor":{}}}"#, request.reactor)),
            "/ready" => self.ready(),
            "/metrics" => self.metrics(),
            _ => Response::new(200).content_type("text/plain; charset=utf-8").body(self.page.get().map_or("", String::as_str)),
        }))
    }

    fn head_limits(&self, path: &str) -> Option<HeadLimits> {
        PATHS.contains(&path).then_some(HeadLimits {
            line_bytes_max: self.head_bytes,
            field_bytes_max: self.head_bytes,
            body_bytes_max: BODY_BYTES_MAX,
            body_refused: BodyError::response,
            head_refused: HeadError::response,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::http::head::{BodyLength, Head, Version};
    use crate::metrics::Counter;
    use std::borrow::Cow;

    fn admin() -> Admin {
        Admin::new(Arc::new(Metrics::new(2)), Arc::default(), Arc::new(OnceLock::from("try this\n".to_owned())), 16_384)
    }

    fn ask(admin: &Admin, door: Door, method: &str, target: &str) -> Option<Response> {
        let head = Head {
            method,
            target,
            version: Version::Http11,
            fields: vec![("Host", "x")],
            body: BodyLength::None,
            keep_alive: true,
            expects_continue: false,
        };
        let request = Request {
            head: &head,
            door,
            peer: [127, 0, 0, 1].into(),
            reactor: 1,
            now: Now::default(),
            draining: false,
            full: false,
        };
        let mut actions = Actions::default();
        let opening = admin.open(&request, &mut actions);
        assert!(actions.is_empty());
        opening.map(|opening| match opening {
            Opening::Respond(response) => response,
            Opening::WebSocket { .. } | Opening::Hold { .. } => panic!("admin answers at once"),
        })
    }

    fn body(response: &Response) -> &str {
        std::str::from_utf8(&response.body).unwrap()
    }

    #[test]
    fn nothing_is_served_on_the_public_door() {
        for path in PATHS {
            assert!(ask(&admin(), Door::Public, "GET", path).is_none(), "{path}");
            for door in [Door::Admin, Door::Both] {
                assert_eq!(ask(&admin(), door, "POST", path).unwrap().status, 405, "{path}");
                assert!(ask(&admin(), door, "GET", path).is_some(), "{path}");
            }
            assert!(admin().head_limits(path).is_some());
        }
        assert!(ask(&admin(), Door::Admin, "GET", "/metrics/x").is_none());
        assert!(admin().head_limits("/metrics/x").is_none());
    }

    #[test]
    fn health_names_the_reactor_that_answered() {
        let response = ask(&admin(), Door::Admin, "GET", "/health?x").unwrap();
        assert_eq!((response.status, body(&response)), (200, r#"{"status":"ok","reactor":1}"#));
        assert_eq!(response.content_type, Some(Cow::Borrowed("application/json")));
    }

    #[test]
    fn ready_means_started_and_not_draining() {
        let admin = admin();
        let ready = || {
            let response = ask(&admin, Door::Both, "GET", "/ready").unwrap();
            (response.status, body(&response).to_owned())
        };
        assert_eq!(ready(), (503, r#"{"status":"starting"}"#.to_owned()));
        admin.readiness.started();
        assert_eq!(ready(), (200, r#"{"status":"ready"}"#.to_owned()));
        admin.readiness.draining();
        assert_eq!(ready(), (503, r#"{"status":"draining"}"#.to_owned()));
        admin.readiness.started();
        assert_eq!(ready().0, 503, "a stop is not taken back");
    }

    #[test]
    fn the_page_is_plain_text() {
        let response = ask(&admin(), Door::Both, "GET", "/").unwrap();
        assert_eq!((response.status, body(&response)), (200, "try this\n"));
    }

    #[test]
    fn the_metrics_that_a_page_names_are_there() {
        let response = ask(&admin(), Door::Admin, "GET", "/metrics").unwrap();
        let shown = |name: &str| body(&response).lines().any(|line| line.split([' ', '{']).next() == Some(name));
        let page = include_str!("../../../docs/OPERATIONS.md");
        let names: Vec<&str> = page.split('`').filter(|text| text.starts_with("fanwire_")).collect();
        assert!(names.len() >= 6, "{names:?}");
        for name in names {
            assert!(shown(name), "{name} is not in\n{}", body(&response));
        }
    }

    #[test]
    fn metrics_are_sums_of_what_the_threads_count() {
        let metrics = Arc::new(Metrics::new(2));
        for (reactor, accepted) in [(0, 5), (1, 7)] {
            metrics.reactors[reactor].add(Counter::Accepted, accepted);
            metrics.reactors[reactor].add(Counter::Ended, 2);
            metrics.reactors[reactor].add(Counter::WebSocketOpened, 2);
            metrics.reactors[reactor].add(Counter::StreamOpened, 1);
        }
        metrics.reactors[0].add(Counter::Joined, 9);
        metrics.reactors[1].add(Counter::Left, 1);
        metrics.reactors[1].add(Counter::DroppedTooSlow, 3);
        metrics.reactors[0].publish_to_write(40);
        metrics.reactors[1].publish_to_write(60);
        metrics.reactors[1].publish_to_write(20_000_000);
        metrics.hub.messages_in.store(11, std::sync::atomic::Ordering::Relaxed);
        let admin = Admin::new(metrics, Arc::default(), Arc::default(), 16_384);
        let response = ask(&admin, Door::Admin, "GET", "/metrics").unwrap();
        let text = body(&response);
        for line in [
            "# TYPE fanwire_connections gauge",
            "fanwire_connections{kind=\"websocket\"} 4",
            "fanwire_connections{kind=\"stream\"} 2",
            "fanwire_connections{kind=\"http\"} 2",
            "fanwire_reactor_connections{reactor=\"0\"} 3",
            "fanwire_reactor_connections{reactor=\"1\"} 5",
            "fanwire_subscriptions 8",
            "fanwire_messages_in_total 11",
            "fanwire_dropped_total{reason=\"too_slow\"} 3",
            "# TYPE fanwire_publish_to_write_seconds histogram",
            "fanwire_publish_to_write_seconds_count 3",
            "fanwire_publish_to_write_seconds_sum 20.0001",
            "fanwire_publish_to_write_seconds_bucket{le=\"0.00005\"} 1",
            "fanwire_publish_to_write_seconds_bucket{le=\"0.0001\"} 2",
            "fanwire_publish_to_write_seconds_bucket{le=\"10.0\"} 2",
            "fanwire_publish_to_write_seconds_bucket{le=\"+Inf\"} 3",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
