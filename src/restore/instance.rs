//! An instance out of a backup: ordered, waited for, and asked its first question.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::Server;
use crate::domain::id::{DatabaseName, InstanceId};
use crate::domain::new_instance::{InstanceDetails, NewInstance, RestoreFrom, trouble_of};
use crate::domain::tags;
use crate::ports::clock::Clock;
use crate::ports::instances::{Instances, NotRestored, Refusal};
use crate::ports::{Chain, ErrorKind, PortError};

/// On the new instance: from what it was restored. Whoever is told to restore the same under the same name goes on with it.
pub const RESTORED_FROM: &str = "strongroom:restored-from";
/// On an instance that a recovery has made: which one. Another recovery does not go on with it, for it may have been used since.
pub const RECOVERY: &str = "strongroom:recovery";
/// Lists of RDS lag behind its answers; an instance that is not listed for longer is not there.
const LISTED_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// How often a server that does not answer yet is asked.
const ASK_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// What is to be restored, and by what.
#[derive(Debug, Clone)]
pub struct InstanceRequest {
    /// How it is waited for.
    pub awaited: Awaited,
    /// The new instance.
    pub new: NewInstance,
    /// Classes to try where AWS has no room for that of the new instance.
    pub other_classes: Vec<String>,
}

/// An instance that is being made.
#[derive(Clone)]
pub struct Awaited {
    /// Shows it.
    pub instances: Arc<dyn Instances>,
    /// Measures.
    pub clock: Arc<dyn Clock>,
    /// Its identifier.
    pub id: InstanceId,
    /// Between two looks.
    pub poll_interval: SignedDuration,
    /// When it is given up.
    pub deadline: Timestamp,
}

/// How a restore goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// RDS has taken the order.
    Accepted {
        /// The class that there was room for.
        class: String,
    },
    /// An earlier attempt had it taken.
    Adopted,
    /// AWS has no room for this class.
    NoRoom {
        /// The class.
        class: String,
    },
    /// The instance is in another status now.
    Status(String),
    /// Nobody knows at the moment, and why; it is asked again.
    Unseen(String),
}

/// Why there is no instance that can be used.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// RDS does not begin it.
    #[error(transparent)]
    Refused(#[from] NotRestored),
    /// An outside thing failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// It is in a status that it does not leave by itself.
    #[error("instance {id} is {status}: {meaning}; it stays as it is, delete it when you have seen enough")]
    Trouble {
        /// The instance.
        id: InstanceId,
        /// The status, in RDS's words.
        status: String,
        /// What it means.
        meaning: &'static str,
    },
    /// It is not there any more.
    #[error("instance {id} is gone: somebody has deleted it, or RDS never made it")]
    Gone {
        /// The instance.
        id: InstanceId,
    },
    /// It took too long.
    #[error(
        "instance {id} was still {status} at the deadline; RDS goes on with it: the same command with --as {id} waits again"
    )]
    TooLate {
        /// The instance.
        id: InstanceId,
        /// The last status, in RDS's words.
        status: String,
    },
    /// It is there, and the login is not.
    #[error(
        "instance {id} is available, but the login does not work there: it has the users and passwords of its data's moment"
    )]
    LoginRefused {
        /// The instance.
        id: InstanceId,
        /// What it said.
        #[source]
        error: PortError,
    },
    /// Its server answers, and has no such database.
    #[error("instance {id} is available, and lacks a database")]
    NoDatabase {
        /// The instance.
        id: InstanceId,
        /// What it said.
        #[source]
        error: PortError,
    },
    /// It is there and nobody answers.
    #[error("instance {id} is available, but its server was not to be reached until the deadline")]
    NotConnectable {
        /// The instance.
        id: InstanceId,
        /// What the last attempt met.
        #[source]
        error: PortError,
    },
    /// Stopped by us.
    #[error("stopped; RDS goes on with instance {id}: the same command with --as {id} waits for it again")]
    Cancelled {
        /// The instance.
        id: InstanceId,
    },
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Awaited({})", self.id)
    }
}

impl InstanceRequest {
    /// Orders the instance, or finds that it was ordered before, and waits until it is available.
    ///
    /// # Errors
    /// See [`InstanceError`]. Nothing is deleted.
    pub async fn make(
        &self,
        token: &CancellationToken,
        mut tell: impl FnMut(News),
    ) -> Result<InstanceDetails, InstanceError> {
        self.order(&mut tell).await?;
        self.awaited.until_available(token, &mut tell).await
    }

    async fn order(&self, tell: &mut impl FnMut(News)) -> Result<(), InstanceError> {
        let mut new = self.new.clone();
        let mut classes = self.other_classes.iter();
        new.setup.tags.insert(RESTORED_FROM.to_owned(), mark(&new.from));
        loop {
            let class = new.setup.class.clone();
            let Err(refused) = self.awaited.instances.restore(&new).await else {
                tell(News::Accepted { class });
                return Ok(());
            };
            match refused.why {
                Some(Refusal::NoCapacity) => {
                    let Some(next) = classes.next() else { return Err(refused.into()) };
                    tell(News::NoRoom { class });
                    new.setup.class.clone_from(next);
                }
                Some(Refusal::NameTaken) if self.is_the_same(&new).await? => {
                    tell(News::Adopted);
                    return Ok(());
                }
                Some(_) | None => return Err(refused.into()),
            }
        }
    }

    /// Whether the instance of that name was restored from the same.
    async fn is_the_same(&self, new: &NewInstance) -> Result<bool, PortError> {
        let found = self.awaited.instances.details(&new.id).await?;
        let same = |found: &InstanceDetails, key: &str| found.setup.tags.get(key) == new.setup.tags.get(key);
        let all = [RESTORED_FROM, tags::OWNER, RECOVERY];
        Ok(found.is_some_and(|found| all.iter().all(|key| same(&found, key))))
    }
}

impl Awaited {
    /// Waits until it is available.
    ///
    /// # Errors
    /// It will not be, or not in time.
    pub async fn until_available(
        &self,
        token: &CancellationToken,
        tell: &mut impl FnMut(News),
    ) -> Result<InstanceDetails, InstanceError> {
        let id = &self.id;
        let mut status = "ordered".to_owned();
        let mut seen_at = self.clock.now();
        let mut was_there = false;
        loop {
            let now = self.clock.now();
            match self.instances.details(id).await {
                Ok(Some(found)) => {
                    (seen_at, was_there) = (now, true);
                    if found.instance.status != status {
                        status.clone_from(&found.instance.status);
                        tell(News::Status(status.clone()));
                    }
                    if is_ready(&found) {
                        return Ok(found);
                    }
                    if let Some(meaning) = trouble_of(&status) {
                        return Err(InstanceError::Trouble { id: id.clone(), status, meaning });
                    }
                }
                Ok(None) if was_there || now.duration_since(seen_at) > LISTED_WITHIN => {
                    return Err(InstanceError::Gone { id: id.clone() });
                }
                Ok(None) => {}
                Err(error) if error.may_pass() => tell(News::Unseen(Chain(&error).to_string())),
                Err(error) => return Err(error.into()),
            }
            if now >= self.deadline {
                return Err(InstanceError::TooLate { id: id.clone(), status });
            }
            let next = now.saturating_add(self.poll_interval).unwrap_or(self.deadline);
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = token.cancelled() => return Err(InstanceError::Cancelled { id: id.clone() }),
            }
        }
    }

    /// Asks the server its first question, again and again until it answers.
    ///
    /// # Errors
    /// It does not answer until the deadline, or the login is refused.
    pub async fn first_answer(
        &self,
        server: &Server,
        database: &DatabaseName,
        token: &CancellationToken,
    ) -> Result<(), InstanceError> {
        let id = || self.id.clone();
        loop {
            // Where the login itself cannot be made, no server has refused it.
            let error = match server.login().await {
                Err(error) => error,
                Ok(_) => match server.answers(database).await {
                    Ok(()) => return Ok(()),
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                        return Err(InstanceError::LoginRefused { id: id(), error });
                    }
                    // It looks for the database only once the login is good.
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        return Err(InstanceError::NoDatabase { id: id(), error });
                    }
                    Err(error) => error,
                },
            };
            if !error.may_pass() {
                return Err(error.into());
            }
            let now = self.clock.now();
            if now >= self.deadline {
                return Err(InstanceError::NotConnectable { id: id(), error });
            }
            tokio::select! {
                () = self.clock.sleep_until(now.saturating_add(ASK_EVERY).unwrap_or(self.deadline)) => {}
                () = token.cancelled() => return Err(InstanceError::Cancelled { id: id() }),
            }
        }
    }
}

/// A new instance loads its data in the background, with its own status since 2024; it serves meanwhile.
fn is_ready(found: &InstanceDetails) -> bool {
    let status = found.instance.status.as_str();
    found.instance.endpoint.is_some() && (found.instance.takes_snapshots() || status == "storage-initialization")
}

/// From what, in the characters that RDS takes in a tag.
#[must_use]
pub fn mark(from: &RestoreFrom) -> String {
    match from {
        RestoreFrom::Snapshot(snapshot) => snapshot.to_string(),
        RestoreFrom::Time { backups, to } => format!("{}/{to}", backups.resource),
    }
}
