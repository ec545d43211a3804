//! Leads, or follows: renews the record of the leader while this process leads, and takes over from one that is silent.
//!
//! Expiry is measured on this process's monotonic clock, from the last change of the record that it has seen: no two clocks are
//! ever compared.

mod bucket;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::leadership::{LEADER_RECORD_VERSION, LeaseTimes, Term};
use crate::ports::clock::Clock;
use crate::ports::leadership::{LeaderLock, Standing};
use crate::ports::{Chain, ErrorKind, PortError};
pub use bucket::BucketLock;

/// Whether this process leads now. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lead(Option<watch::Receiver<Option<Instant>>>);

impl Lead {
    /// Of a process that nobody shares the work with.
    #[must_use]
    pub fn alone() -> Lead {
        Lead(None)
    }

    /// Whether it leads: also where whoever renews has had no time yet to say that the time is up.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Some(until) = &self.0 else { return true };
        until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it leads.
    pub async fn gained(&mut self) {
        while !self.holds() {
            self.changed().await;
        }
    }

    /// Waits until it does not lead: also where nobody is left to say so.
    pub async fn lost(&mut self) {
        while self.holds() {
            let until = self.0.as_ref().and_then(|until| *until.borrow());
            tokio::select! {
                () = self.changed() => {}
                () = time_is_up(until) => {}
            }
        }
    }

    async fn changed(&mut self) {
        let told = match &mut self.0 {
            Some(until) => until.changed().await.is_ok(),
            None => false,
        };
        if !told {
            // Nobody will say anything any more.
            std::future::pending().await
        }
    }
}

/// What is needed to be one of several.
#[derive(Clone)]
pub struct Candidacy {
    /// Where it is written who leads.
    pub lock: Arc<dyn LeaderLock>,
    /// Names this process, and no other, ever.
    pub me: String,
    /// How long a leader may be silent.
    pub times: LeaseTimes,
}

impl std::fmt::Debug for Candidacy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidacy").field("me", &self.me).field("times", &self.times).finish_non_exhaustive()
    }
}

/// Renews and takes over.
pub struct Elector {
    candidacy: Candidacy,
    clock: Arc<dyn Clock>,
    until: watch::Sender<Option<Instant>>,
    /// What this process has written last, and nobody has written over.
    held: Option<Standing>,
    /// The record of another, and since when it is seen unchanged.
    other: Option<(Standing, Instant)>,
    /// Since when the record can neither be read nor written, and when that was last said.
    failing: Option<Instant>,
    rounds: u64,
}

impl std::fmt::Debug for Elector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Elector({})", self.candidacy.me)
    }
}

impl Elector {
    /// One that does not lead yet.
    #[must_use]
    pub fn new(candidacy: Candidacy, clock: Arc<dyn Clock>) -> Elector {
        let (until, _) = watch::channel(None);
        let (held, other, failing, rounds) = (None, None, None, 0);
        Elector { candidacy, clock, until, held, other, failing, rounds }
    }

    /// For those who act only while this process leads.
    #[must_use]
    pub fn lead(&self) -> Lead {
        Lead(Some(self.until.subscribe()))
    }

    /// Leads or follows until `resign` is cancelled, which comes after all work has stopped; then another may lead at once.
    pub async fn run(mut self, resign: CancellationToken) {
        while !resign.is_cancelled() {
            self.round().await;
            let pause = self.pause();
            tokio::select! {
                () = self.wait(pause) => {}
                () = resign.cancelled() => {}
            }
        }
        self.give_back().await;
    }

    /// Waits; a leader whose time is up meanwhile stops in time.
    async fn wait(&mut self, pause: Duration) {
        let until = *self.until.borrow();
        match until {
            Some(until) if until < Instant::now() + pause => {
                sleep_until(until).await;
                self.stop_leading("the record could not be renewed in time");
            }
            Some(_) | None => sleep_until(Instant::now() + pause).await,
        }
    }

    /// How long until the next round: a tenth more or less, so that processes that were started together do not ask together.
    /// A leader that got no answer asks again soon, and whoever follows a silent one as soon as its time is up.
    fn pause(&mut self) -> Duration {
        const TENTHS_OF_A_PERCENT: u64 = 200;
        let times = self.candidacy.times;
        let leads = self.until.borrow().is_some();
        let usual = match (leads, self.failing) {
            (true, None) => times.renewal(),
            (true, Some(_)) => times.retry(),
            (false, _) => times.look(),
        };
        self.rounds = self.rounds.wrapping_add(1);
        let mut chance = DefaultHasher::new();
        (&self.candidacy.me, self.rounds).hash(&mut chance);
        let spread = chance.finish() % (TENTHS_OF_A_PERCENT + 1);
        let pause = usual * u32::try_from(900 + spread).unwrap_or(1000) / 1000;
        let free_in = self.other.as_ref().filter(|_| self.failing.is_none()).map(|(standing, since)| {
            let free_at = *since + times.left_alone_for(&standing.term);
            free_at.saturating_duration_since(Instant::now())
        });
        free_in.filter(|free_in| !free_in.is_zero()).map_or(pause, |free_in| pause.min(free_in))
    }

    async fn round(&mut self) {
        let (until, within) = (*self.until.borrow(), self.candidacy.times.answer());
        let asked = tokio::select! {
            asked = timeout(within, self.ask()) => Some(asked),
            () = time_is_up(until) => None,
        };
        match asked {
            None => self.stop_leading("the record could not be renewed in time"),
            Some(Ok(Ok(()))) => {
                if self.failing.take().is_some() {
                    tracing::info!("the record of the leader is read and written again");
                }
            }
            Some(Ok(Err(error))) => self.complain(&error),
            Some(Err(_)) => {
                self.complain(&PortError::new("ask who leads", ErrorKind::Transient).because("no answer in time"));
            }
        }
    }

    /// Renews what is held, or looks whether it can be had.
    async fn ask(&mut self) -> Result<(), PortError> {
        if let Some(held) = self.held.clone() {
            let (term, sent) = (Term { renewed_at: self.clock.now(), ..held.term.clone() }, Instant::now());
            if let Some(standing) = self.candidacy.lock.write(&term, Some(&held)).await? {
                self.leads(standing, sent);
                return Ok(());
            }
            // Somebody has written over it: another, or an earlier write of ours whose answer never came.
            self.held = None;
        }
        let found = self.candidacy.lock.read().await?;
        if let Some(standing) = &found
            && !self.may_take(standing)
        {
            self.stop_leading("another process leads");
            return Ok(());
        }
        let (term, sent) = (self.term(found.as_ref()), Instant::now());
        // Where somebody was faster, the next round sees who.
        if let Some(standing) = self.candidacy.lock.write(&term, found.as_ref()).await? {
            self.leads(standing, sent);
        }
        Ok(())
    }

    /// Whether the record is ours, or nobody's, or that of a leader who has been silent for too long. Notes when it changed.
    fn may_take(&mut self, standing: &Standing) -> bool {
        let Some(holder) = standing.term.holder.as_ref().filter(|holder| **holder != self.candidacy.me) else {
            return true;
        };
        match &self.other {
            Some((seen, since)) if seen.version == standing.version => {
                since.elapsed() >= self.candidacy.times.left_alone_for(&standing.term)
            }
            seen => {
                let is_news = seen.as_ref().is_none_or(|(seen, _)| seen.term.holder != standing.term.holder);
                if is_news {
                    tracing::info!(holder, "another process leads: this one looks, and does nothing");
                }
                self.other = Some((standing.clone(), Instant::now()));
                false
            }
        }
    }

    /// What this process writes to take the lead.
    fn term(&self, found: Option<&Standing>) -> Term {
        let now = self.clock.now();
        let ours = found.filter(|found| found.term.holder.as_ref() == Some(&self.candidacy.me));
        let transitions = found.map_or(0, |found| found.term.transitions);
        Term {
            version: LEADER_RECORD_VERSION,
            holder: Some(self.candidacy.me.clone()),
            lease_seconds: u32::try_from(self.candidacy.times.lease().as_secs()).unwrap_or(u32::MAX),
            acquired_at: ours.map_or(now, |ours| ours.term.acquired_at),
            renewed_at: now,
            transitions: if ours.is_some() {
                transitions
            } else {
                transitions.saturating_add(u32::from(found.is_some()))
            },
        }
    }

    /// The record is ours. The time counts from before it was written.
    fn leads(&mut self, standing: Standing, sent: Instant) {
        self.held = Some(standing);
        self.other = None;
        let until = sent + self.candidacy.times.held_for();
        // One whose time was up has stopped, even if nobody has said so.
        let begins =
            self.until.send_if_modified(|held| held.replace(until).is_none_or(|before| before <= Instant::now()));
        if begins {
            tracing::info!(holder = self.candidacy.me, "this process leads");
        }
    }

    fn stop_leading(&mut self, why: &str) {
        if self.until.send_if_modified(|until| until.take().is_some()) {
            tracing::warn!(why, "no longer leading: what is under way here is stopped");
        }
    }

    /// Says it again now and then: where nobody can read the record, this line is all that there is.
    fn complain(&mut self, error: &PortError) {
        const AGAIN_AFTER: Duration = Duration::from_mins(10);
        if self.failing.is_none_or(|said_at| said_at.elapsed() >= AGAIN_AFTER) {
            self.failing = Some(Instant::now());
            tracing::warn!(error = %Chain(error), "the record of the leader cannot be read or written: where nobody can, nobody leads and no backup is made");
        }
    }

    /// Lets another lead at once. If it cannot be said, the others wait for as long as for one that has died.
    async fn give_back(mut self) {
        let Some(held) = self.held.take() else { return };
        let term = Term { holder: None, renewed_at: self.clock.now(), ..held.term.clone() };
        let given = timeout(self.candidacy.times.renewal(), self.candidacy.lock.write(&term, Some(&held))).await;
        self.until.send_replace(None);
        match given {
            Ok(Ok(Some(_))) => tracing::info!("no longer leading: another process may"),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::info!(error = %Chain(&error), "the lead could not be given back: others wait for the lease")
            }
            Err(_) => tracing::info!("the lead could not be given back in time: others wait for the lease"),
        }
    }
}

/// Waits until then; for ever where there is no such time.
async fn time_is_up(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
