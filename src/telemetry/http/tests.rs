use std::collections::BTreeSet;
use std::net::SocketAddr;

use async_trait::async_trait;
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::plan::plan;
use crate::ports::credentials::TokenRef;
use crate::telemetry::health::Missing;
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

fn state(clock: impl Clock + 'static) -> (HttpState, watch::Sender<Option<Arc<Status>>>) {
    let (publish, status) = watch::channel(None);
    let policy = fixtures::policy(&[("accounts", &["accounts"])]);
    let state = HttpState {
        metrics: Arc::new(Metrics::new(&policy).unwrap()),
        health: Arc::new(Health::new(now(), &policy.cadence)),
        status,
        clock: Arc::new(clock),
        guard: Arc::new(Guard::default()),
    };
    (state, publish)
}

/// What a loop publishes that has seen one source, whose database has a name that is none of HTML's.
fn seen() -> Arc<Status> {
    let policy = fixtures::policy(&[("accounts", &["<b>"])]);
    let inventory = fixtures::inventory(&policy);
    Arc::new(Status::of(&policy, &inventory, &plan(&policy, &inventory, now())))
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
    ask_with(address, request, "").await
}

/// The same with more lines in the request's head, each with its end.
async fn ask_with(address: SocketAddr, request: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: strongroom\r\n{head}Connection: close\r\n\r\n");
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
        publish.send_replace(Some(seen()));
        let after = ask(address, "GET /api/status").await;
        assert!(after.starts_with("HTTP/1.1 200") && after.contains("content-type: application/json"), "{after}");
        let (_, body) = after.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["sources"][0]["source"], "accounts");
    })
    .await;
}

#[tokio::test]
async fn before_the_first_look_the_page_says_so_and_what_is_waited_for() {
    let (state, _publish) = state(StillClock(now()));
    state.health.config_loaded();
    with_server(state, async |address| {
        for path in ["/", "/sources/accounts"] {
            let page = ask(address, &format!("GET {path}")).await;
            assert!(page.starts_with("HTTP/1.1 503"), "{page}");
            assert!(page.contains("Nothing has been seen yet"), "{page}");
            assert!(page.contains("Waiting for the first complete inventory"), "{page}");
        }
    })
    .await;
}

#[tokio::test]
async fn every_link_and_every_file_of_the_pages_is_answered() {
    let (state, publish) = state(StillClock(now()));
    state.health.config_loaded();
    state.health.inventory_seen();
    publish.send_replace(Some(seen()));
    with_server(state, async |address| {
        let mut links = BTreeSet::from(["/".to_owned()]);
        for page in ["/", "/sources/accounts"] {
            let page = ask(address, &format!("GET {page}")).await;
            assert!(page.contains("content-type: text/html"), "{page}");
            let named = page.split("href=\"").chain(page.split("src=\"")).skip(1);
            links.extend(named.filter_map(|rest| rest.split_once('"')).map(|(link, _)| link.to_owned()));
        }
        links.retain(|link| link.starts_with('/'));
        for link in ["/page.css", "/page.js", "/api/status", "/metrics", "/livez", "/readyz", "/sources/accounts"] {
            assert!(links.contains(link), "{links:?}");
        }
        for link in links {
            let answer = ask(address, &format!("GET {link}")).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{link}: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_page_of_a_source_that_is_not_there_says_so() {
    let (state, publish) = state(StillClock(now()));
    publish.send_replace(Some(seen()));
    let page = answer(state, "GET /sources/%3Cscript%3E").await;
    assert!(page.starts_with("HTTP/1.1 404") && page.contains("There is no such source"), "{page}");
    assert!(!page.contains("<script>"), "{page}");
}

/// In the head of every answer, of errors and refusals too.
#[rstest]
#[case::the_page("GET /")]
#[case::its_document("GET /api/status")]
#[case::its_script("GET /page.js")]
#[case::metrics("GET /metrics")]
#[case::nothing("GET /nothing")]
#[case::refused("POST /")]
#[tokio::test]
async fn every_answer_closes_what_a_browser_would_leave_open(#[case] request: &str) {
    let (state, publish) = state(StillClock(now()));
    publish.send_replace(Some(seen()));
    let answer = answer(state, request).await;
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let lines: BTreeSet<&str> = head.lines().collect();
    for line in [
        "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(lines.contains(line), "{head}");
    }
}

/// What the policy above forbids would not work; this says so before a browser does.
#[tokio::test]
async fn the_page_has_no_style_and_no_script_of_its_own() {
    let (state, publish) = state(StillClock(now()));
    publish.send_replace(Some(seen()));
    let page = answer(state, "GET /").await;
    assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick="), "{page}");
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert!(page.contains(r#"<script src="/page.js" defer></script>"#), "{page}");
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

const TOKEN: &str = "correct horse battery staple";

fn guarded(guard: Guard) -> HttpState {
    let (state, publish) = state(StillClock(now()));
    publish.send_replace(Some(seen()));
    HttpState { guard: Arc::new(guard), ..state }
}

fn token() -> Option<TokenRef> {
    Some(TokenRef::Text(TOKEN.to_owned().into()))
}

fn basic(user_and_password: &str) -> String {
    format!("Authorization: Basic {}\r\n", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, user_and_password))
}

#[rstest]
#[case::right(format!("Authorization: Bearer {TOKEN}\r\n"), "200")]
#[case::scheme_without_case(format!("authorization: bEARER {TOKEN}\r\n"), "200")]
#[case::asked_by_a_browser(basic(&format!("me:{TOKEN}")), "200")]
#[case::none(String::new(), "401")]
#[case::wrong("Authorization: Bearer correct horse battery stapler\r\n".to_owned(), "401")]
#[case::cut_off("Authorization: Bearer correct horse battery\r\n".to_owned(), "401")]
#[case::empty("Authorization: Bearer \r\n".to_owned(), "401")]
#[case::without_a_scheme(format!("Authorization: {TOKEN}\r\n"), "401")]
#[case::the_user_of_a_browser(basic(&format!("{TOKEN}:x")), "401")]
#[case::no_base64("Authorization: Basic %%%\r\n".to_owned(), "401")]
#[tokio::test]
async fn who_does_not_show_the_token_sees_nothing(#[case] head: String, #[case] code: &str) {
    let state = guarded(Guard { token: token(), ..Guard::default() });
    with_server(state, async |address| {
        for path in ["/", "/sources/accounts", "/sources/nothing", "/api/status"] {
            let answer = ask_with(address, &format!("GET {path}"), &head).await;
            let expected = if (path, code) == ("/sources/nothing", "200") { "404" } else { code };
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{path}: {answer}");
            if code == "401" {
                assert!(answer.contains("www-authenticate: Bearer realm=\"strongroom\"\r\n"), "{answer}");
                assert!(
                    answer.contains("www-authenticate: Basic realm=\"strongroom\", charset=\"UTF-8\"\r\n"),
                    "{answer}"
                );
                assert!(!answer.contains("accounts"), "{answer}");
            }
        }
    })
    .await;
}

#[rstest]
#[case::nothing_more(false, false)]
#[case::the_metrics(true, false)]
#[case::the_probes(false, true)]
#[tokio::test]
async fn metrics_and_probes_ask_for_the_token_only_if_they_are_told_to(#[case] metrics: bool, #[case] probes: bool) {
    let state = guarded(Guard { token: token(), metrics, probes });
    state.health.config_loaded();
    state.health.inventory_seen();
    with_server(state, async |address| {
        for (path, asks) in [("/metrics", metrics), ("/livez", probes), ("/readyz", probes), ("/page.css", false)] {
            let code = if asks { "401" } else { "200" };
            let answer = ask(address, &format!("GET {path}")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{path}: {answer}");
            let answer = ask_with(address, &format!("GET {path}"), &format!("Authorization: Bearer {TOKEN}\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_in_a_file_can_be_changed_and_one_that_cannot_be_read_admits_nobody() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |token: &str| std::fs::write(file.path(), token).unwrap();
    write(&format!("{TOKEN}\n"));
    let state = guarded(Guard { token: Some(TokenRef::File(file.path().to_owned())), ..Guard::default() });
    let guard = Arc::clone(&state.guard);
    with_server(state, async |address| {
        let code = async |token: &str| {
            let answer = ask_with(address, "GET /", &format!("Authorization: Bearer {token}\r\n")).await;
            answer.split(' ').nth(1).unwrap().to_owned()
        };
        assert_eq!(code(TOKEN).await, "200");
        write("another that is long enough");
        assert_eq!(
            (code(TOKEN).await, code("another that is long enough").await),
            ("401".to_owned(), "200".to_owned())
        );
        write("short");
        assert_eq!((code("short").await, code(TOKEN).await), ("503".to_owned(), "503".to_owned()));
        write("");
        assert_eq!(code("").await, "503");
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(code(TOKEN).await, "503");
    })
    .await;
    let why = guard.check().await.unwrap_err();
    assert!(why.to_string().starts_with("cannot read the token of the status page from /"), "{why}");
}

#[tokio::test]
async fn a_token_that_can_be_guessed_is_refused_at_the_start() {
    let short = Guard { token: Some(TokenRef::Text("fifteen letters".to_owned().into())), ..Guard::default() };
    assert!(short.check().await.unwrap_err().to_string().contains("shorter than 16 characters"));
    let long = Guard { token: Some(TokenRef::Text("sixteen letters.".to_owned().into())), ..Guard::default() };
    assert!(long.check().await.is_ok() && Guard::default().check().await.is_ok());
    assert!(!format!("{long:?}").contains("sixteen"));
}
