//! The command line.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

/// A store for benchmarks: answers as S3, keeps next to nothing.
#[derive(Debug, clap::Parser)]
#[command(name = "null_s3")]
pub(crate) struct Options {
    /// Port to listen on at 127.0.0.1; 0 takes a free one. Without it nothing is started.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Bytes per second that all bodies together may bring.
    #[arg(long, value_name = "BYTES_PER_S")]
    pub(crate) rate: Option<NonZeroU64>,
    /// Milliseconds to wait before each answer.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
    /// RDS instances and secrets to answer with: a JSON file, see `benches/README.md`.
    #[arg(long, value_name = "FILE")]
    pub(crate) account: Option<PathBuf>,
    /// Threads that serve; two is more than a client on two cores can feed.
    #[arg(long, default_value = "2")]
    pub(crate) threads: NonZeroUsize,
    /// Keep all that is stored, in memory: for measuring what reads it back.
    #[arg(long)]
    pub(crate) keep_all: bool,
    /// Stop when stdin closes.
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
    /// Cargo passes this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub(crate) fn delay(&self) -> Option<Duration> {
        (self.delay > 0).then(|| Duration::from_millis(self.delay))
    }
}
