//! One rename of an instance: by its identity, whatever bears its name meanwhile.

use jiff::SignedDuration;

use super::{RecoverError, Recovering};
use crate::domain::id::InstanceId;
use crate::domain::new_instance::InstanceDetails;
use crate::domain::recovery::ApprovedRename;
use crate::ports::ErrorKind;

/// RDS renames and restarts an instance within minutes.
const RENAMED_WITHIN: SignedDuration = SignedDuration::from_mins(30);
/// While it is renamed an instance may be listed under neither name.
const LISTED_WITHIN: SignedDuration = SignedDuration::from_mins(10);

impl Recovering<'_> {
    /// Gives an instance its other name, and waits until it is settled there. One that has it already is left as it is.
    pub(super) async fn rename(
        &self,
        rename: &ApprovedRename,
        tell: &mut impl FnMut(String),
    ) -> Result<(), RecoverError> {
        let deadline = self.in_time(RENAMED_WITHIN);
        let unseen_until = self.in_time(LISTED_WITHIN);
        let mut ordered = false;
        let mut status = "unseen".to_owned();
        loop {
            match self.look(rename).await {
                Ok(Seen::Renamed(now)) if is_settled(&now) => {
                    tell(format!("{} is called {} now", rename.resource(), rename.to()));
                    return Ok(());
                }
                Ok(Seen::Renamed(now)) => status = now,
                Ok(Seen::Waiting(now)) => {
                    status = now;
                    if !ordered {
                        ordered = self.order(rename, tell).await?;
                    }
                }
                Ok(Seen::Nowhere) if self.tools.clock.now() >= unseen_until => {
                    return Err(RecoverError::Vanished {
                        resource: rename.resource().clone(),
                        from: rename.from().clone(),
                        to: rename.to().clone(),
                    });
                }
                Ok(Seen::Nowhere | Seen::OtherOfOurs) => {}
                Err(RecoverError::Port(error)) if error.may_pass() => {}
                Err(error) => return Err(error),
            }
            if self.tools.clock.now() >= deadline {
                let minutes = RENAMED_WITHIN.as_mins();
                return Err(RecoverError::TooLate { name: rename.from().clone(), status, minutes });
            }
            self.pause(self.tools.poll_interval).await?;
        }
    }

    /// Where the instance is.
    async fn look(&self, rename: &ApprovedRename) -> Result<Seen, RecoverError> {
        if let Some(found) = self.tools.instances.details(rename.to()).await? {
            return self.is_meant(rename, &found, rename.to(), Seen::Renamed);
        }
        match self.tools.instances.details(rename.from()).await? {
            Some(found) => self.is_meant(rename, &found, rename.from(), Seen::Waiting),
            None => Ok(Seen::Nowhere),
        }
    }

    fn is_meant(
        &self,
        rename: &ApprovedRename,
        found: &InstanceDetails,
        name: &InstanceId,
        seen: fn(String) -> Seen,
    ) -> Result<Seen, RecoverError> {
        let (resource, recovery) = (&found.instance.resource, self.journal.recovery());
        if resource == rename.resource() {
            return Ok(seen(found.instance.status.clone()));
        }
        // RDS lists a name some time longer than it is borne.
        if [&recovery.old, &recovery.new_resource].into_iter().flatten().any(|own| own == resource) {
            return Ok(Seen::OtherOfOurs);
        }
        let (found, expected) = (resource.clone(), rename.resource().clone());
        Err(RecoverError::NameTaken { name: name.clone(), found, expected })
    }

    /// Whether RDS has taken the order. It takes none while an earlier one is carried out, or while the name is being freed.
    async fn order(&self, rename: &ApprovedRename, tell: &mut impl FnMut(String)) -> Result<bool, RecoverError> {
        self.still_ours().await?;
        match self.tools.renames.rename(rename).await {
            Ok(()) => {
                tell(format!("renaming {} to {}", rename.from(), rename.to()));
                Ok(true)
            }
            Err(error) if error.may_pass() || is_too_early(error.kind()) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Under which name an instance is listed.
enum Seen {
    /// The new one, with its status.
    Renamed(String),
    /// The old one, with its status.
    Waiting(String),
    /// Another instance of this recovery bears one of the names.
    OtherOfOurs,
    /// None.
    Nowhere,
}

/// Whether a refusal says that another rename is not over.
fn is_too_early(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WrongState | ErrorKind::AlreadyExists | ErrorKind::NotFound)
}

/// Whether RDS is done with the rename. What else is wrong with an old instance is why it was renamed.
fn is_settled(status: &str) -> bool {
    !["renaming", "modifying", "rebooting"].contains(&status)
}
