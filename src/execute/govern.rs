//! Watches the server of a dump that runs, and orders the dump to stop when it does harm.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Executor;
use crate::domain::activity::Activity;
use crate::domain::run::StopCause;
use crate::dump::governor::Watch;
use crate::plan::action::StartDump;
use crate::policy::governor::storage::{ASK_EVERY, StorageGovernor};
use crate::policy::governor::{Governor, GovernorLimits, LOOK_EVERY, Stop, UNWATCHED_MAX};
use crate::ports::postgres::Stopper;
use crate::ports::{Chain, ErrorKind, PortError};

/// The server ends each question after five seconds; a network that is gone ends none.
const ANSWER_MAX: SignedDuration = SignedDuration::from_secs(10);
/// With the log-in before it: a secret, a connection, TLS.
const FIRST_ANSWER_MAX: SignedDuration = SignedDuration::from_secs(30);

/// What the watching has come to.
struct Post {
    /// Away while a thread looks, and after it has failed.
    watch: Option<Watch>,
    /// Ends whatever the watch waits for.
    stopper: Option<Stopper>,
    seen_at: Instant,
    has_complained: bool,
    has_told_of_standbys: bool,
}

impl Executor {
    /// Looks at the server until the dump has `finished`; orders it to `stop` and says why.
    pub(super) async fn govern(
        &self,
        start: &StartDump,
        finished: &CancellationToken,
        stop: &CancellationToken,
    ) -> Option<Stop> {
        let mut post = Post::new(&start.settings.governor);
        let verdict = tokio::select! {
            verdict = self.watch_sessions(start, &mut post) => verdict,
            verdict = self.watch_storage(start) => verdict,
            () = finished.cancelled() => {
                post.hang_up();
                return None;
            }
        };
        stop.cancel();
        self.end_sessions(start, post).await;
        Some(verdict)
    }

    /// Looks at the server every second, until the dump must stop.
    async fn watch_sessions(&self, start: &StartDump, post: &mut Post) -> Stop {
        let limits = start.settings.governor;
        if !limits.watches_sessions() {
            return std::future::pending().await;
        }
        let mut governor = Governor::new(limits);
        loop {
            let patience = if post.watch.is_some() { ANSWER_MAX } else { FIRST_ANSWER_MAX };
            let looked = tokio::select! {
                looked = self.look(start, post) => looked,
                () = self.wait(patience) => Err(silent(patience)),
            };
            let verdict = match looked {
                Ok(activity) => {
                    post.saw(&activity);
                    governor.judge(&activity)
                }
                Err(error) => {
                    post.hang_up();
                    post.saw_nothing(&error)
                }
            };
            if let Some(verdict) = verdict {
                return verdict;
            }
            self.wait(LOOK_EVERY).await;
        }
    }

    /// Asks twice a minute what is free on the server's volume, until the dump must stop. That nobody answers stops nothing:
    /// whether there is room hangs less on the dump than its locks do.
    async fn watch_storage(&self, start: &StartDump) -> Stop {
        let Some(min_bytes) = start.settings.governor.free_storage_min else {
            return std::future::pending().await;
        };
        let mut governor = StorageGovernor::new(min_bytes);
        let (mut has_complained, mut has_told) = (false, false);
        loop {
            let measured =
                self.ports.server_metrics.free_storage_bytes(&start.read_from.instance, self.ports.clock.now());
            match measured.await {
                Ok(Some(free)) => {
                    has_complained = false;
                    if let Some(verdict) = governor.judge(free) {
                        return verdict;
                    }
                }
                Ok(None) if !has_told => {
                    has_told = true;
                    tracing::info!(
                        instance = %start.read_from.instance,
                        "free storage of the server is not watched: CloudWatch has not measured it lately"
                    );
                }
                Err(error) if !has_complained => {
                    has_complained = true;
                    let advice = if error.kind() == ErrorKind::PermissionDenied {
                        "grant `cloudwatch:GetMetricStatistics`, or write `free_storage_min = \"off\"`"
                    } else {
                        "it is asked for again"
                    };
                    tracing::warn!(error = %Chain(&error), advice, "free storage of the server is not watched");
                }
                Ok(None) => {}
                Err(_) => {}
            }
            self.wait(ASK_EVERY).await;
        }
    }

    pub(super) async fn wait(&self, time: SignedDuration) {
        let next = self.ports.clock.now().saturating_add(time).unwrap_or(Timestamp::MAX);
        self.ports.clock.sleep_until(next).await;
    }

    async fn look(&self, start: &StartDump, post: &mut Post) -> Result<Activity, PortError> {
        let mut watch = self.watch(start, post).await?;
        let (watch, activity) = on_a_thread(move || {
            let activity = watch.look()?;
            Ok((watch, activity))
        })
        .await?;
        post.watch = Some(watch);
        Ok(activity)
    }

    /// The watch that is there, or a new one.
    async fn watch(&self, start: &StartDump, post: &mut Post) -> Result<Watch, PortError> {
        match post.watch.take() {
            Some(watch) => Ok(watch),
            None => {
                let session = self.session_of(start, &start.read_from.endpoint).await?;
                post.stopper = Some(session.stopper()?);
                on_a_thread(move || Watch::begin(session)).await
            }
        }
    }

    /// The dump has been told, and closes its connections. The server may not notice that for a while: it is told, too.
    async fn end_sessions(&self, start: &StartDump, mut post: Post) {
        if post.watch.is_none() {
            // Somebody else has stopped the dump while a thread was looking.
            post.hang_up();
        }
        let ending = async {
            let mut watch = self.watch(start, &mut post).await?;
            on_a_thread(move || watch.end_sessions()).await
        };
        let ended = tokio::select! {
            ended = ending => ended,
            () = self.wait(FIRST_ANSWER_MAX) => Err(silent(FIRST_ANSWER_MAX)),
        };
        post.hang_up();
        if let Err(error) = ended {
            tracing::warn!(error = %Chain(&error), "the sessions of the dump could not be ended by another one; they end by themselves");
        }
    }
}

impl Post {
    fn new(limits: &GovernorLimits) -> Post {
        Post {
            watch: None,
            stopper: None,
            seen_at: Instant::now(),
            has_complained: false,
            has_told_of_standbys: limits.replica_lag_max.is_none(),
        }
    }

    /// Ends the session. A thread that waits for the server's answer ends with it.
    fn hang_up(&mut self) {
        self.watch = None;
        if let Some(stop) = self.stopper.take() {
            stop();
        }
    }

    fn saw(&mut self, activity: &Activity) {
        self.seen_at = Instant::now();
        self.has_complained = false;
        if activity.standbys_hidden && !self.has_told_of_standbys {
            self.has_told_of_standbys = true;
            tracing::warn!(
                "standbys of the server are not watched: grant `pg_monitor` to the dump's user, or write `replica_lag_max = \"off\"`"
            );
        }
    }

    fn saw_nothing(&mut self, error: &PortError) -> Option<Stop> {
        if !self.has_complained {
            self.has_complained = true;
            tracing::warn!(error = %Chain(error), "the server cannot be watched while it is dumped, it is tried again");
        }
        (self.seen_at.elapsed() >= Duration::try_from(UNWATCHED_MAX).unwrap_or_default()).then(|| Stop {
            cause: StopCause::Unwatched,
            reason: format!("nobody could look at the server for {UNWATCHED_MAX:#}: {}", Chain(error)),
        })
    }
}

fn silent(patience: SignedDuration) -> PortError {
    let error = PortError::new("look at the server", ErrorKind::Transient);
    error.because(format!("it has not answered for {patience:#}"))
}

/// Runs what blocks on a thread that may.
pub(super) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    let panicked = |error| PortError::new("ask a server", ErrorKind::Other).because(error);
    tokio::task::spawn_blocking(work).await.map_err(panicked)?
}
