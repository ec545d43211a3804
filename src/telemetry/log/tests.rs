use std::io;
use std::sync::{Arc, Mutex};

use rstest::rstest;
use serde_json::Value;
use tracing::{debug, error, info, info_span, trace, warn};

use super::*;

/// What was logged so far.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn json(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(format: LogFormat, level: &str, terminal: bool, act: impl FnOnce()) -> Lines {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = subscriber(format, level, terminal, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, act);
    lines
}

#[test]
fn a_json_line_is_one_flat_object_with_the_fields_of_its_spans() {
    let lines = logged(LogFormat::Json, "info", false, || {
        let _run = info_span!("run", source.id = "accounts", run.id = "r-1", attempt = 1).entered();
        let _dump = info_span!("dump", attempt = 2).entered();
        info!(size_bytes = 42_u64, "dump\nfinished");
    });
    let [line] = lines.json().try_into().unwrap();
    assert_eq!(line["message"], "dump\nfinished");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["source.id"], "accounts");
    assert_eq!(line["run.id"], "r-1");
    assert_eq!(line["attempt"], 2);
    assert_eq!(line["size_bytes"], 42);
    assert_eq!(line["target"], module_path!());
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(timestamp.ends_with('Z') && timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
}

#[test]
fn a_field_recorded_later_and_one_named_like_a_part_of_the_line_leave_one_valid_object() {
    let lines = logged(LogFormat::Json, "info", false, || {
        let run = info_span!("run", dump.key = tracing::field::Empty, source.id = "cards");
        run.record("dump.key", r#"a "quoted" key"#);
        run.in_scope(|| warn!(level = "mine", timestamp = "then", "odd"));
    });
    let text = lines.text();
    assert_eq!((text.matches(r#""level""#).count(), text.matches(r#""timestamp""#).count()), (1, 1), "{text}");
    let [line] = lines.json().try_into().unwrap();
    assert_eq!(line["dump.key"], r#"a "quoted" key"#);
    assert_eq!((&line["level"], &line["source.id"]), (&Value::from("WARN"), &Value::from("cards")));
}

#[rstest]
#[case("trace")]
#[case("debug,aws_config=trace,hyper=trace,rustls=debug,h2=debug,tokio_postgres=trace")]
fn libraries_that_print_credentials_say_only_warnings_whatever_is_asked(#[case] level: &str) {
    let lines = logged(LogFormat::Text, level, false, || {
        debug!(target: "aws_config::profile", "secret");
        info!(target: "aws_smithy_runtime::client", "secret");
        trace!(target: "hyper_util::client", "secret");
        debug!(target: "rustls::client", "secret");
        debug!(target: "h2::codec", "secret");
        debug!(target: "tokio_postgres::prepare", "secret");
        info!(target: "tokio_cron_scheduler::job", "secret");
        let _request = info_span!(target: "aws_sdk_rds", "request", authorization = "secret").entered();
        debug!("decided");
        warn!(target: "aws_config::imds", "unreachable");
        error!(target: "hyper::proto", "broken");
    });
    let text = lines.text();
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn the_level_decides_about_our_own_lines() {
    let lines = logged(LogFormat::Text, "info,strongroom::plan=debug", false, || {
        debug!(target: "strongroom::plan::backup", "decision");
        debug!(target: "strongroom::execute", "detail");
        info!(target: "strongroom::execute", "transition");
    });
    let text = lines.text();
    assert!(text.contains("decision") && text.contains("transition") && !text.contains("detail"), "{text}");
}

#[test]
fn text_away_from_a_terminal_has_no_escapes() {
    let lines = logged(LogFormat::Text, "info", false, || info!(source.id = "accounts", "snapshot available"));
    let text = lines.text();
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("snapshot available") && text.contains("source.id=\"accounts\""), "{text}");
}

#[test]
fn a_level_that_is_none_is_refused_with_what_was_given() {
    let refused = subscriber(LogFormat::Text, "strongroom=loud", false, io::sink).err().unwrap();
    assert!(refused.to_string().contains("`strongroom=loud` is not a log level"), "{refused}");
}

#[test]
fn a_format_reads_back_from_its_word_and_others_are_refused() {
    for format in [LogFormat::Text, LogFormat::Json] {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert_eq!("yaml".parse::<LogFormat>(), Err(UnknownLogFormat("yaml".to_owned())));
}
