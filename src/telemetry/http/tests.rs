use std::net::SocketAddr;

use async_trait::async_trait;
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::testing::{self as fixtures, at, now};

/// A clock that stands still; waiting for a later time never ends.
struct StillClock(Timestamp);

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        self.0
    }

    async fn sleep_until(&self, instant: Timestamp) {
        if self.0 < instant {
            std::future::pending::<()>().await;
        }
    }
}

/// A clock on which every wait is over at once.
struct HastyClock;

#[async_trait]
impl Clock for HastyClock {
    fn now(&self) -> Timestamp {
        now()
    }

    async fn sleep_until(&self, _instant: Timestamp) {}
}

fn state(clock: impl Clock + 'static) -> (HttpState, watch::Sender<Value>) {
    let (publish, status) = watch::channel(Value::Null);
    let policy = fixtures::policy(&[("accounts", &["accounts"])]);
    let state = HttpState {
        metrics: Arc::new(Metrics::new(&policy).unwrap()),
        health: Arc::new(Health::new(now(), &policy.cadence)),
        status,
        clock: Arc::new(clock),
    };
    (state, publish)
}

/// Runs the server beside a client, and stops it when the client is done.
async fn with_server<T>(state: HttpState, client: impl AsyncFnOnce(SocketAddr) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let stop = token.clone();
    let (served, answer) = tokio::join!(serve(listener, state, token), async move {
        let answer = client(address).await;
        stop.cancel();
        answer
    });
    served.unwrap();
    answer
}

/// The whole answer to one request, head and body.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: strongroom\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn answer(state: HttpState, request: &str) -> String {
    with_server(state, async |address| ask(address, request).await).await
}

#[tokio::test]
async fn metrics_come_in_the_text_format_of_prometheus() {
    let (state, _publish) = state(StillClock(now()));
    let answer = answer(state, "GET /metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4\r\n"), "{answer}");
    assert!(answer.contains("\n# TYPE strongroom_leader gauge\nstrongroom_leader 1\n"), "{answer}");
}

#[tokio::test]
async fn the_daemon_is_live_while_its_loop_turns_and_says_why_it_is_not() {
    let (state, _publish) = state(StillClock(at("2026-11-23T13:00:00Z")));
    let health = Arc::clone(&state.health);
    with_server(state, async |address| {
        let stuck = ask(address, "GET /livez").await;
        assert!(stuck.starts_with("HTTP/1.1 503"), "{stuck}");
        assert!(stuck.contains("last turned at 2026-11-23T12:00:00Z, 1h ago; after 8m"), "{stuck}");
        health.loop_turned(at("2026-11-23T12:59:00Z"));
        let live = ask(address, "GET /livez").await;
        assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    })
    .await;
}

#[rstest]
#[case("2026-11-23T12:00:00Z", true)]
#[case("2026-11-23T12:07:59Z", true)]
#[case("2026-11-23T12:08:00Z", false)]
#[case("2026-11-23T11:00:00Z", true)]
fn a_heartbeat_holds_for_three_turns_and_a_grace_and_a_clock_set_back_kills_nobody(
    #[case] asked_at: &str,
    #[case] live: bool,
) {
    let health = Health::new(now(), &fixtures::cadence());
    assert_eq!(health.live(at(asked_at)).is_ok(), live);
}

#[test]
fn a_slower_loop_is_given_more_time() {
    let health = Health::new(now(), &fixtures::cadence());
    let slow = Cadence { reconcile_interval: SignedDuration::from_hours(1), ..fixtures::cadence() };
    health.cadence_changed(&slow);
    assert_eq!(health.live(at("2026-11-23T15:00:00Z")), Ok(()));
}

#[tokio::test]
async fn readiness_lists_what_is_missing_and_stays_once_reached() {
    let (state, _publish) = state(StillClock(now()));
    let health = Arc::clone(&state.health);
    assert_eq!(health.missing(), [Missing::Config, Missing::Inventory, Missing::Listener]);
    with_server(state, async |address| {
        let waiting = ask(address, "GET /readyz").await;
        assert!(waiting.starts_with("HTTP/1.1 503"), "{waiting}");
        let expected = "\r\n\r\nwaiting for a valid configuration\nwaiting for the first complete inventory\n";
        assert!(waiting.ends_with(expected), "{waiting}");
        health.config_loaded();
        health.inventory_seen();
        let ready = ask(address, "GET /readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    })
    .await;
}

#[tokio::test]
async fn the_status_is_what_the_loop_published_last() {
    let (state, publish) = state(StillClock(now()));
    with_server(state, async |address| {
        let before = ask(address, "GET /api/status").await;
        assert!(before.starts_with("HTTP/1.1 503"), "{before}");
        publish.send_replace(json!({"sources": ["accounts"]}));
        let after = ask(address, "GET /api/status").await;
        assert!(after.starts_with("HTTP/1.1 200") && after.contains("content-type: application/json"), "{after}");
        assert!(after.ends_with(r#"{"sources":["accounts"]}"#), "{after}");
    })
    .await;
}

#[tokio::test]
async fn the_first_page_links_the_others_and_every_link_is_answered() {
    let (state, publish) = state(StillClock(now()));
    state.health.config_loaded();
    state.health.inventory_seen();
    publish.send_replace(json!({}));
    with_server(state, async |address| {
        let page = ask(address, "GET /").await;
        assert!(page.contains("content-type: text/html"), "{page}");
        let links: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(links, ["/api/status", "/metrics", "/livez", "/readyz"]);
        for link in links {
            let answer = ask(address, &format!("GET {link}")).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    })
    .await;
}

#[rstest]
#[case("POST /metrics", "405")]
#[case("PUT /api/status", "405")]
#[case("DELETE /", "405")]
#[case("PATCH /livez", "405")]
#[case("OPTIONS /readyz", "405")]
#[case("POST /api/backup", "405")]
#[case("GET /api/backup", "404")]
#[case("HEAD /livez", "200")]
#[tokio::test]
async fn nothing_but_reading_is_allowed(#[case] request: &str, #[case] code: &str) {
    let (state, _publish) = state(StillClock(now()));
    let answer = answer(state, request).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_does_not_hold_up_the_end() {
    let (state, _publish) = state(HastyClock);
    let _half_asked = with_server(state, async |address| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: strong").await.unwrap();
        stream
    })
    .await;
}
