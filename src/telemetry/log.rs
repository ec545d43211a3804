//! Logs: to stderr, as text for people or as one JSON object a line for machines.
//!
//! Levels are duties (`error`: a person must act), so what others' code says below `warn` has no place here; some of it
//! holds request headers and so credentials. The cap on it cannot be lifted by the level asked for.

mod json;

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{SetGlobalDefaultError, set_global_default};
use tracing_subscriber::filter::{EnvFilter, ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

/// Beginnings of targets that may say no more than `warn`. At `debug` and `trace` the SDK, HTTP, TLS and PostgreSQL
/// clients write out requests, with tokens and parameters in them; the cron library comments on every tick.
const CAPPED: [&str; 6] = ["aws_", "hyper", "rustls", "h2", "tokio_postgres", "tokio_cron_scheduler"];
/// Says of each failed request that it failed, as an error. Whether it is one, and of what, we say ourselves.
const SILENT: &str = "kube_client";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word for it, as `--log-format` takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no log format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a log format: use text or json")]
pub struct UnknownLogFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<LogFormat, UnknownLogFormat> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(UnknownLogFormat(text.to_owned())),
        }
    }
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none.
    #[error(
        "`{level}` is not a log level: use error, warn, info, debug, trace, or pairs such as `info,strongroom::plan=debug`"
    )]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it, where the parser says so.
        #[source]
        source: Option<ParseError>,
    },
    /// It is set up already.
    #[error("logging is set up already")]
    AlreadySet(#[source] SetGlobalDefaultError),
}

/// Sends the log of the whole process to stderr. `level` is one level, or pairs of target and level.
///
/// # Errors
/// See [`LogError`].
pub fn init(format: LogFormat, level: &str) -> Result<(), LogError> {
    let ansi = std::io::stderr().is_terminal();
    set_global_default(subscriber(format, level, ansi, std::io::stderr)?).map_err(LogError::AlreadySet)
}

fn subscriber<W>(format: LogFormat, level: &str, terminal: bool, writer: W) -> Result<impl Subscriber, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let refused = |source| LogError::Level { level: level.to_owned(), source };
    // The parser takes an unknown word for the name of a module, and `warning` would silence everything.
    let known = |item: &str| item.contains('=') || item.trim().parse::<LevelFilter>().is_ok();
    if !level.split(',').all(known) {
        return Err(refused(None));
    }
    let asked = EnvFilter::builder().parse(level).map_err(|source| refused(Some(source)))?;
    let cap = CAPPED.iter().map(|target| (*target, LevelFilter::WARN)).collect::<Targets>();
    let cap = cap.with_target(SILENT, LevelFilter::OFF).with_default(LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        // On a terminal the library's own choice stands, which heeds NO_COLOR.
        LogFormat::Text if terminal => lines.boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().event_format(json::FlatJson).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(cap).with_filter(asked)))
}

#[cfg(test)]
mod tests;
