//! A null S3: takes what a store would take, answers as S3 answers, and keeps next to nothing.
//!
//! A benchmark of a pipeline must not measure the store behind it. This one reads bodies as fast as they come, checks the
//! checksums that were sent, remembers size, `ETag` and CRC64NVME, and drops the bytes. Only small objects (manifests, run
//! records) are kept, because whoever wrote them reads them back; all of them with `--keep-all`, which a restore needs. It also gives the few answers of RDS, STS and Secrets
//! Manager that a dump asks for, so that nothing slower stands in the path.
//!
//! It does not check signatures or rights, knows every bucket, and keeps only the newest version of a key. It is no proof of
//! correctness against S3; the sandbox is there for that.
//!
//! `cargo bench --bench null_s3 -- --port 0` prints one JSON line with the endpoint and serves until it is told to stop.

mod aws;
mod body;
mod checksum;
mod chunked;
mod objects;
mod options;
mod respond;
mod s3;
mod store;
mod uri;
mod xml;

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use clap::Parser as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::aws::Account;
use crate::body::Pace;
use crate::options::Options;
use crate::respond::NullS3;
use crate::store::Store;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let Some(port) = options.port else {
        // `cargo test --all-targets` runs benches without arguments: that must end, and well.
        say("null_s3: nothing to do; `--port 0` starts the server")?;
        return Ok(());
    };
    let account = match &options.account {
        Some(path) => Account::load(path)?,
        None => Account::default(),
    };
    let server = Arc::new(NullS3 {
        account,
        store: Store::new(options.keep_all),
        pace: Pace::new(options.rate),
        delay: options.delay(),
    });
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads.get())
        .enable_all()
        .build()
        .context("could not start the runtime")?
        .block_on(serve(server, port, options.until_stdin_closes))
}

async fn serve(server: Arc<NullS3>, port: u16, until_stdin_closes: bool) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("could not listen on port {port}"))?;
    let address = listener.local_addr().context("could not read the port back")?;
    let mut terminate = signal(SignalKind::terminate()).context("could not watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not watch SIGINT")?;
    let stdin_closed = watch_stdin(until_stdin_closes);
    say(&serde_json::json!({ "endpoint": format!("http://{address}"), "pid": std::process::id() }).to_string())?;

    let listener = listener.tap_io(|connection| {
        // Answers are small: waiting to fill a segment would add 40 ms to each. A socket that refuses is only slower.
        drop(connection.set_nodelay(true));
    });
    tokio::select! {
        served = axum::serve(listener, respond::router(server)) => served.context("the server failed"),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = stdin_closed => Ok(()),
    }
}

/// Resolves when stdin ends, so that the server cannot outlive whoever started it; never, when not asked to.
async fn watch_stdin(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let (closed, seen) = oneshot::channel::<()>();
    // A thread of its own: the runtime would wait at its end for a blocking read that may never return.
    std::thread::spawn(move || {
        let mut sink = [0_u8; 1024];
        let mut stdin = std::io::stdin().lock();
        while matches!(stdin.read(&mut sink), Ok(read) if read > 0) {}
        drop(closed);
    });
    // Nothing is ever sent: the other end goes away with the thread.
    drop(seen.await);
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").context("could not write to stdout")?;
    stdout.flush().context("could not write to stdout")
}
