//! Channels against a server that keeps what it is sent, and what is sent against the channels' documentation.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::domain::alert::{Alert, AlertKey, Event, Item, Message, Severity};
use crate::ports::notifier::WebhookTemplate;
use crate::ports::{Chain, ErrorKind, PortError};
use crate::testing::at;

const TOKEN: &str = "B00000000-very-secret-token";

fn item(name: &str, source: Option<&str>, thread: &str, thread_ends: bool) -> Item {
    let alert = Alert {
        key: AlertKey {
            name: name.to_owned(),
            source: source.map(|source| source.parse().unwrap()),
            detail: Some("dump".to_owned()),
            database: source.map(|source| source.parse().unwrap()),
        },
        severity: Severity::Critical,
        what: vec!["a <b> & c".to_owned()],
        meaning: "there is no fresh backup".to_owned(),
        action: "run `strongroom status`".to_owned(),
    };
    Item { alert, since: at("2026-11-22T15:00:00Z"), thread: thread.to_owned(), thread_ends }
}

fn message(event: Event, items: Vec<Item>) -> Message {
    let at = at("2026-11-23T12:00:00Z");
    Message { id: "bank-prod-7".to_owned(), installation: "bank-prod".parse().unwrap(), event, at, items }
}

fn overdue(event: Event) -> Message {
    message(event, vec![item("overdue", Some("accounts"), "overdue/accounts/dump/accounts", event == Event::Resolved)])
}

/// What a server was sent.
type Received = Arc<Mutex<Vec<(String, HeaderMap, Value)>>>;

/// Does something with a server that answers so.
async fn serving<T, F: Future<Output = T>>(
    status: u16,
    answer: &'static str,
    act: impl FnOnce(String) -> F,
) -> (T, Vec<(String, HeaderMap, Value)>) {
    let received: Received = Arc::default();
    let keeps = Arc::clone(&received);
    let app = Router::new().fallback(move |request: Request| {
        let keeps = Arc::clone(&keeps);
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            keeps.lock().unwrap().push((format!("{} {}", parts.method, parts.uri), parts.headers, body));
            let location = [("location", "/elsewhere")];
            (StatusCode::from_u16(status).unwrap(), location, answer)
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let done = tokio::select! {
        _ = std::future::IntoFuture::into_future(axum::serve(listener, app)) => panic!("the server has ended"),
        done = act(url) => done,
    };
    let received = std::mem::take(&mut *received.lock().unwrap());
    (done, received)
}

fn kit() -> ChannelKit {
    let aws = SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::v2026_01_12()).build();
    ChannelKit::new(&aws, Arc::new(|_: &str, _: &str, _: bool| {}))
}

fn secret(text: String) -> SecretRef {
    SecretRef::Value(SecretString::from(text))
}

async fn posted(channel: ChannelRef, event: Event) -> Result<String, PortError> {
    kit().channel(&channel).notify(&overdue(event)).await
}

#[tokio::test]
async fn each_channel_is_posted_json_once_to_its_own_address() {
    let channels: [fn(String) -> ChannelRef; 5] = [
        |url| ChannelRef::Alertmanager { urls: vec![format!("{url}/am/")] },
        |url| ChannelRef::Slack { url: secret(format!("{url}/slack")) },
        |url| ChannelRef::Teams { url: secret(format!("{url}/teams")) },
        |url| ChannelRef::PagerDuty { routing_key: secret(TOKEN.to_owned()), url: format!("{url}/v2/enqueue") },
        |url| ChannelRef::Webhook { url: secret(format!("{url}/hook?a=b")), template: None },
    ];
    let paths = ["/am/api/v2/alerts", "/slack", "/teams", "/v2/enqueue", "/hook?a=b"];
    for (channel, path) in channels.into_iter().zip(paths) {
        let (answer, received) = serving(200, "ok", |url| posted(channel(url), Event::Fired)).await;
        assert_eq!(answer.unwrap(), "status 200 OK: ok");
        let [(request, headers, body)] = received.as_slice() else { panic!("{received:?}") };
        assert_eq!(*request, format!("POST {path}"));
        assert_eq!(headers["content-type"], "application/json");
        assert_ne!(*body, Value::Null);
    }
}

#[rstest]
#[case(400, ErrorKind::Invalid)]
#[case(403, ErrorKind::PermissionDenied)]
#[case(404, ErrorKind::NotFound)]
#[case(429, ErrorKind::Throttled)]
#[case(503, ErrorKind::Transient)]
#[case(302, ErrorKind::Other)]
#[tokio::test]
async fn whatever_is_no_success_is_an_error_that_does_not_repeat_the_secret(
    #[case] status: u16,
    #[case] kind: ErrorKind,
) {
    let channel = |url: String| ChannelRef::Slack { url: secret(format!("{url}/services/{TOKEN}")) };
    let answer = "no_service: /services/B00000000-very-secret-token";
    let (sent, received) = serving(status, answer, |url| posted(channel(url), Event::Fired)).await;
    let error = sent.unwrap_err();
    assert_eq!(error.kind(), kind);
    let said = format!("{} {error:?}", Chain(&error));
    assert!(said.contains(&status.to_string()) && !said.contains(TOKEN), "{said}");
    assert_eq!(received.len(), 1, "a redirect is not followed: what was sent is meant for nobody else");
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_an_error_that_does_not_hold_it() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for url in [format!("http://{free}/services/{TOKEN}"), format!("no url {TOKEN}")] {
        let error = posted(ChannelRef::Slack { url: secret(url) }, Event::Fired).await.unwrap_err();
        let said = format!("{} {error:?}", Chain(&error));
        assert!(said.contains("post to Slack") && !said.contains(TOKEN), "{said}");
    }
}

#[tokio::test]
async fn a_secret_in_a_file_is_read_anew_each_time_and_one_that_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("slack");
    let channel = kit().channel(&ChannelRef::Slack { url: SecretRef::File { path: path.clone() } });
    let fired = overdue(Event::Fired);
    let error = channel.notify(&fired).await.unwrap_err();
    assert!(Chain(&error).to_string().contains("read the secret in"), "{}", Chain(&error));
    for name in ["old", "new"] {
        let (sent, received) = serving(200, "ok", |url| {
            std::fs::write(&path, format!("{url}/{name}\n")).unwrap();
            channel.notify(&fired)
        })
        .await;
        sent.unwrap();
        assert_eq!(received[0].0, format!("POST /{name}"));
    }
}

#[tokio::test]
async fn of_a_cluster_every_member_is_told_and_one_is_enough() {
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (sent, received) = serving(200, "", |url| {
        let urls = vec![format!("http://{dead}"), url.clone(), url];
        posted(ChannelRef::Alertmanager { urls }, Event::Fired)
    })
    .await;
    assert_eq!((sent.unwrap().as_str(), received.len()), ("status 200 OK", 2));
}

#[tokio::test]
async fn the_heartbeat_asks_its_address_and_says_nothing_of_it() {
    let (beaten, received) =
        serving(200, "OK", |url| async move { kit().heartbeat(&secret(format!("{url}/ping/{TOKEN}"))).beat().await })
            .await;
    beaten.unwrap();
    assert_eq!(received[0].0, format!("GET /ping/{TOKEN}"));
    let (beaten, _) =
        serving(500, TOKEN, |url| async move { kit().heartbeat(&secret(format!("{url}/{TOKEN}"))).beat().await }).await;
    assert!(!Chain(&beaten.unwrap_err()).to_string().contains(TOKEN));
}

#[tokio::test]
async fn a_webhook_is_sent_what_its_template_says() {
    let template = WebhookTemplate::parse(r#"{"title": {{subject}}, "kind": {{event}}, "n": 3}"#).unwrap();
    let channel = |url| ChannelRef::Webhook { url: secret(url), template: Some(template) };
    let (sent, received) = serving(204, "", |url| posted(channel(url), Event::Resolved)).await;
    sent.unwrap();
    let title = "[RESOLVED] strongroom bank-prod: overdue of accounts: dump accounts";
    assert_eq!(received[0].2, json!({ "title": title, "kind": "resolved", "n": 3 }));
}

/// api/v2/openapi.yaml of Alertmanager: `postableAlert` is labels and annotations of strings, `startsAt`, `endsAt`.
#[rstest]
#[case::fired(Event::Fired, "2026-11-23T12:15:00Z")]
#[case::resolved(Event::Resolved, "2026-11-23T12:00:00Z")]
fn alertmanager_gets_labels_that_stay_and_an_end(#[case] event: Event, #[case] ends_at: &str) {
    let alerts = alertmanager::alerts(&overdue(event));
    let alert = &alerts[0];
    let labels = json!({
        "alertname": "StrongroomOverdue", "installation": "bank-prod", "severity": "critical", "source": "accounts",
        "detail": "dump", "database": "accounts",
    });
    assert_eq!(alert["labels"], labels);
    assert_eq!((&alert["startsAt"], &alert["endsAt"]), (&json!("2026-11-22T15:00:00Z"), &json!(ends_at)));
    for strings in [&alert["labels"], &alert["annotations"]] {
        assert!(strings.as_object().unwrap().values().all(Value::is_string), "{strings}");
    }
}

#[test]
fn slack_reads_three_characters_as_markup_unless_they_are_written_otherwise() {
    let body = chat::slack(&overdue(Event::Fired));
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("*[CRITICAL] strongroom bank-prod: overdue of accounts: dump accounts*\n"), "{text}");
    assert!(text.contains("a &lt;b&gt; &amp; c") && text.contains("What to do: run `strongroom status`"), "{text}");
    assert_eq!(body.as_object().unwrap().len(), 1);
}

/// What Slack and Teams refuse, or cut, for its length.
#[test]
fn a_storm_of_a_thousand_fits_into_every_channel() {
    let items = (0..1_000).map(|n| item("overdue", Some("accounts"), &format!("storm/{n}"), false)).collect();
    let storm = message(Event::Fired, items);
    assert!(chat::slack(&storm)["text"].as_str().unwrap().chars().count() < 4_000);
    assert!(chat::teams(&storm).to_string().len() < 28 << 10);
}

/// Schema of adaptive cards: a version, and a body of text blocks.
#[test]
fn teams_gets_a_message_with_one_adaptive_card() {
    let body = chat::teams(&overdue(Event::Fired));
    assert_eq!(body["type"], "message");
    let card = &body["attachments"][0];
    assert_eq!(card["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!((&card["content"]["type"], &card["content"]["version"]), (&json!("AdaptiveCard"), &json!("1.4")));
    let blocks = card["content"]["body"].as_array().unwrap();
    assert!(blocks.iter().all(|block| block["type"] == "TextBlock" && block["wrap"] == true), "{blocks:?}");
}

/// PD-CEF (PagerDuty Events API v2): a trigger needs summary, source and severity; the key ties the end to the beginning.
#[test]
fn pagerduty_gets_a_trigger_and_with_the_same_key_a_resolve() {
    let [trigger] = pagerduty::events(&overdue(Event::Fired)).try_into().unwrap();
    assert_eq!(trigger["event_action"], "trigger");
    let payload = &trigger["payload"];
    assert_eq!(payload["summary"], "strongroom bank-prod: overdue of accounts: dump accounts");
    assert_eq!((&payload["source"], &payload["severity"]), (&json!("accounts"), &json!("critical")));
    assert_eq!(payload["timestamp"], "2026-11-23T12:00:00Z");
    let [resolve] = pagerduty::events(&overdue(Event::Resolved)).try_into().unwrap();
    assert_eq!(resolve, json!({ "event_action": "resolve", "dedup_key": trigger["dedup_key"] }));
}

#[test]
fn a_storm_is_one_incident_that_ends_with_its_last_alert() {
    let storm = |event, ends| {
        let items = ["overdue", "late"].map(|name| item(name, Some("accounts"), "storm/7", ends));
        pagerduty::events(&message(event, items.into()))
    };
    let [trigger] = storm(Event::Fired, false).try_into().unwrap();
    assert_eq!(trigger["payload"]["custom_details"]["alerts"].as_array().unwrap().len(), 2);
    assert_eq!(storm(Event::Resolved, false), Vec::<Value>::new(), "others of it go on");
    assert_eq!(storm(Event::Resolved, true)[0]["dedup_key"], trigger["dedup_key"]);
}

#[test]
fn a_test_of_pagerduty_wakes_nobody_for_long_and_a_long_key_is_still_its_own() {
    let test = pagerduty::events(&message(Event::Test, Vec::new()));
    let actions: Vec<_> = test.iter().map(|event| event["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    assert_eq!(test[0]["dedup_key"], test[1]["dedup_key"]);
    let key = |end: &str| {
        let thread = format!("{}{end}", "x".repeat(300));
        pagerduty::events(&message(Event::Fired, vec![item("overdue", None, &thread, false)]))[0]["dedup_key"].clone()
    };
    assert_ne!(key("a"), key("b"));
    assert!(key("a").as_str().unwrap().len() <= 255);
}
