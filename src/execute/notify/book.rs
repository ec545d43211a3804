//! The ledger as it stands in the store, and how it is changed: read, form the next one, write it over the one that was read.
//!
//! While the store cannot be reached a daemon goes on from what it knows, so that the outage itself is told. Nobody else is
//! told of that, so two daemons may then both tell; once the store is back what stands there counts, unless nobody has written
//! it in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::alert_ledger::{AlertLedger, LEDGER_BYTES_MAX, LEDGER_VERSION};
use crate::domain::key::ObjectKey;
use crate::execute::json;
use crate::ports::object_store::{Condition, ObjectStore};
use crate::ports::{Chain, ErrorKind, PortError};

/// How long the store has to be away before a daemon tells by itself: a broken connection is not an outage.
const ALONE_AFTER: SignedDuration = SignedDuration::from_mins(2);

/// Where the ledger is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// In the store, for every daemon and for the next start.
    InStore,
    /// Only here.
    InMemory,
}

/// How long one request to the store may take: people wait.
const STORE_TIMEOUT: Duration = Duration::from_secs(30);

/// What came of sending a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    /// The channel has taken it.
    Taken,
    /// It has not, for this reason.
    Refused(String),
    /// It was not tried, because an earlier one was refused.
    Untried,
}

/// The ledger and what is known of it.
pub(super) struct Book {
    store: Arc<dyn ObjectStore>,
    key: ObjectKey,
    kept: Kept,
    /// The version in the store that `ledger` goes on from; `None`: there is none.
    etag: Option<String>,
    ledger: AlertLedger,
    /// Whether the store could be read a moment ago.
    readable: bool,
    /// Whether more is known here than stands in the store.
    ahead: bool,
    away_since: Option<Timestamp>,
    /// The store has been away for long.
    alone: bool,
    /// What came of messages, until it stands in the store.
    outcomes: BTreeMap<String, Sent>,
}

impl Book {
    pub(super) fn new(store: Arc<dyn ObjectStore>, key: ObjectKey, kept: Kept) -> Book {
        Book {
            store,
            key,
            kept,
            etag: None,
            ledger: AlertLedger::default(),
            readable: false,
            ahead: false,
            away_since: None,
            alone: false,
            outcomes: BTreeMap::new(),
        }
    }

    /// The ledger as it stands, or as far as it is known where the store has been away for long.
    pub(super) async fn open(&mut self, now: Timestamp) -> Result<AlertLedger, PortError> {
        if self.kept == Kept::InMemory {
            return Ok(self.ledger.clone());
        }
        let found = in_time(&self.key, "read", read(self.store.as_ref(), &self.key)).await;
        self.readable = found.is_ok();
        match found {
            Ok(found) => {
                let etag = found.as_ref().map(|(etag, _)| etag.clone());
                // What was told in an outage holds on, unless somebody else has gone on from what stood there.
                if !(self.ahead && etag == self.etag) {
                    self.ledger = found.map(|(_, ledger)| ledger).unwrap_or_default();
                    self.ahead = false;
                }
                self.etag = etag;
            }
            Err(error) => self.miss(error, now)?,
        }
        Ok(self.ledger.clone())
    }

    /// The store is away; an error for as long as that may be an accident.
    fn miss(&mut self, error: PortError, now: Timestamp) -> Result<(), PortError> {
        let since = *self.away_since.get_or_insert(now);
        // A clock that was set back must not put this off.
        if now.duration_since(since).abs() < ALONE_AFTER {
            return Err(error);
        }
        if !self.alone {
            tracing::warn!(error = %Chain(&error), "the ledger of alerts is out of reach: this daemon tells by itself, messages may come twice");
        }
        self.alone = true;
        Ok(())
    }

    /// The store is as it should be.
    fn back(&mut self) {
        (self.away_since, self.alone) = (None, false);
    }

    /// Writes the next ledger over the one that was opened. `false`: another daemon was faster, and nothing is written.
    pub(super) async fn write(
        &mut self,
        before: &AlertLedger,
        next: &AlertLedger,
        now: Timestamp,
    ) -> Result<bool, PortError> {
        if before == next && !self.ahead {
            if self.readable {
                self.back();
            }
            return Ok(true);
        }
        if self.kept == Kept::InStore && self.readable {
            let condition = self.etag.clone().map_or(Condition::Absent, Condition::Matches);
            let put = self.store.put(&self.key, json(&self.key, next)?, condition);
            match in_time(&self.key, "write", put).await {
                Ok(written) => {
                    self.etag = Some(written.etag);
                    self.ahead = false;
                    self.ledger = next.clone();
                    self.back();
                    return Ok(true);
                }
                // A lost race, or our own write whose answer was lost: what stands there tells.
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
                    return Ok(false);
                }
                Err(error) => self.miss(error, now)?,
            }
        }
        self.ahead = self.kept == Kept::InStore;
        self.ledger = next.clone();
        Ok(true)
    }

    /// Keeps what came of messages until it is written.
    pub(super) fn note(&mut self, outcomes: impl IntoIterator<Item = (String, Sent)>) {
        self.outcomes.extend(outcomes);
    }

    /// What came of messages stands in the ledger.
    pub(super) fn written_down(&mut self) {
        self.outcomes.clear();
    }

    /// Writes what came of messages; the ledger as it stands then. What cannot be written now is written in a later round.
    pub(super) async fn settle(&mut self, now: Timestamp) -> Result<AlertLedger, PortError> {
        for _ in 0..super::RACES_MAX {
            let before = self.open(now).await?;
            let next = self.with_outcomes(&before, now);
            if self.write(&before, &next, now).await? {
                self.written_down();
                return Ok(next);
            }
        }
        Ok(self.ledger.clone())
    }

    /// A ledger with what came of messages, as far as it is not written yet.
    pub(super) fn with_outcomes(&self, ledger: &AlertLedger, now: Timestamp) -> AlertLedger {
        let mut next = ledger.clone();
        for (id, sent) in &self.outcomes {
            match sent {
                Sent::Taken => next.delivered(id),
                Sent::Refused(why) => next.refused(id, why, now),
                Sent::Untried => next.untried(id, now),
            }
        }
        next
    }
}

async fn in_time<T>(
    key: &ObjectKey,
    verb: &str,
    request: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    let late = || PortError::new(format!("{verb} {key}"), ErrorKind::Transient).because("no answer in time");
    tokio::time::timeout(STORE_TIMEOUT, request).await.unwrap_or_else(|_| Err(late()))
}

/// The ledger in the store and its entity tag. One that is damaged, or of another version, is begun anew: what holds is then
/// told again, which is better than not at all.
async fn read(store: &dyn ObjectStore, key: &ObjectKey) -> Result<Option<(String, AlertLedger)>, PortError> {
    let found = match store.get(key, LEDGER_BYTES_MAX).await {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let parsed = serde_json::from_slice::<AlertLedger>(&found.bytes);
    let ledger = parsed.ok().filter(|ledger| ledger.version == LEDGER_VERSION);
    if ledger.is_none() {
        tracing::warn!(key = %key, "the ledger of alerts cannot be understood, it is begun anew: what holds is told again");
    }
    Ok(Some((found.etag, ledger.unwrap_or_default())))
}

/// The ledger in the store, for people.
///
/// # Errors
/// The store cannot be read.
pub async fn read_ledger(store: &dyn ObjectStore, key: &ObjectKey) -> Result<Option<AlertLedger>, PortError> {
    Ok(read(store, key).await?.map(|(_, ledger)| ledger))
}
