//! Guided recovery, carried out: the steps of a journal, each of which can be begun again after a crash.
//!
//! ```text
//! stop what writes ─▶ restore ─▶ look at it ─▶ switch ─▶ start what was stopped      and, if wanted, all of it back
//! ```
//! What is about to happen is in the journal before it happens, and what stands is looked at before anything is changed, so that
//! a step that was interrupted goes on where it was. Nothing is ever deleted: the old instance stays, under another name.

mod error;
pub mod journal;
mod led;
mod rename;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

pub use error::RecoverError;
pub use journal::Journal;
pub use led::Asking;
pub use verify::{Difference, Verified, Verify};

use crate::domain::key::Layout;
use crate::domain::new_instance::InstanceDetails;
use crate::domain::recovery::{Approver, Recovery, RecoveryState, Step, Writer};
use crate::domain::switch::{Address, KubernetesName, Switch};
use crate::ports::PortError;
use crate::ports::clock::Clock;
use crate::ports::cluster::{Apply, Cluster};
use crate::ports::connection_secrets::ConnectionSecrets;
use crate::ports::instances::{Instances, Renames};
use crate::ports::object_store::ObjectStore;
use crate::restore::instance::{Awaited, InstanceRequest, News};

/// How long deployments may take to stop: as long as Kubernetes lets a pod with a long grace time take.
const STOPPED_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// How long they are watched while they start. Whether they become ready is theirs.
const STARTED_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// An operator that works fetches within seconds.
const FETCHED_WITHIN: SignedDuration = SignedDuration::from_mins(5);
/// Between two looks at the cluster: it answers at once, and people wait.
const LOOK_EVERY: SignedDuration = SignedDuration::from_secs(2);

/// What a recovery works with.
#[derive(Clone)]
pub struct Tools {
    /// Where the journal is.
    pub store: Arc<dyn ObjectStore>,
    /// Under which key.
    pub layout: Layout,
    /// Measures and waits.
    pub clock: Arc<dyn Clock>,
    /// Instances of the source's region.
    pub instances: Arc<dyn Instances>,
    /// Renames them.
    pub renames: Arc<dyn Renames>,
    /// Secrets of AWS that applications read.
    pub secrets: Arc<dyn ConnectionSecrets>,
    /// The cluster that they run in.
    pub cluster: Arc<dyn Cluster>,
    /// Between two looks at an instance.
    pub poll_interval: SignedDuration,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tools")
    }
}

/// How the new instance comes about.
#[derive(Debug)]
pub enum Restore {
    /// RDS is told to make it.
    Order(Box<InstanceRequest>),
    /// RDS was told to.
    Await(Awaited),
}

/// A recovery that is being carried out.
#[derive(Debug)]
pub struct Recovering<'a> {
    tools: &'a Tools,
    journal: Journal,
    token: &'a CancellationToken,
    asking: Option<Asking>,
}

impl<'a> Recovering<'a> {
    /// Goes on with what a journal says.
    #[must_use]
    pub fn new(tools: &'a Tools, journal: Journal, token: &'a CancellationToken) -> Recovering<'a> {
        Recovering { tools, journal, token, asking: None }
    }

    /// The same with a way to ask the servers behind names who they are, so that nothing is started before they lead right.
    #[must_use]
    pub fn asking(self, asking: Option<Asking>) -> Recovering<'a> {
        Recovering { asking, ..self }
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Notes that somebody wants a step.
    ///
    /// # Errors
    /// It could not be noted: the step must not be begun.
    pub async fn approve(&mut self, step: Step, by: Approver) -> Result<(), RecoverError> {
        let at = self.tools.clock.now();
        self.journal.change(self.tools, |recovery| recovery.approve(step, by, at)).await
    }

    /// Notes that a step is done, and with the last one that all of it is.
    ///
    /// # Errors
    /// It could not be noted: the step would be begun again.
    pub async fn end(&mut self, step: Step) -> Result<(), RecoverError> {
        let at = self.tools.clock.now();
        let end = |recovery: &mut Recovery| {
            recovery.end(step, at);
            if recovery.next().is_none() {
                recovery.state = RecoveryState::Done { at };
            }
        };
        self.journal.change(self.tools, end).await
    }

    /// Gives it up: what was done stays.
    ///
    /// # Errors
    /// It could not be noted.
    pub async fn abandon(&mut self) -> Result<(), RecoverError> {
        let at = self.tools.clock.now();
        self.journal.change(self.tools, |recovery| recovery.state = RecoveryState::Abandoned { at }).await
    }

    /// Stops what writes, and waits until nothing of it runs.
    ///
    /// # Errors
    /// The cluster refuses, or something still runs.
    pub async fn stop_writers(&mut self, tell: &mut impl FnMut(String)) -> Result<(), RecoverError> {
        for (index, writer) in self.journal.recovery().writers.clone().into_iter().enumerate() {
            let Writer { deployment, replicas } = writer;
            let before = match replicas {
                Some(before) => before,
                None => {
                    let before = self.tools.cluster.scale(&deployment).await?.wanted;
                    // Noted before it is changed: whoever goes on after a crash would take the 0 for what it had.
                    let note = |recovery: &mut Recovery| {
                        if let Some(writer) = recovery.writers.get_mut(index) {
                            writer.replicas = Some(before);
                        }
                    };
                    self.journal.change(self.tools, note).await?;
                    before
                }
            };
            self.still_ours().await?;
            self.tools.cluster.set_scale(&deployment, 0, Apply::ForReal).await?;
            tell(format!("{deployment}: {before} -> 0 replicas"));
        }
        self.until_stopped().await
    }

    async fn until_stopped(&self) -> Result<(), RecoverError> {
        let deadline = self.in_time(STOPPED_WITHIN);
        for Writer { deployment, .. } in &self.journal.recovery().writers {
            loop {
                let scale = self.tools.cluster.scale(deployment).await?;
                if scale.wanted > 0 {
                    return Err(RecoverError::CameBack { deployment: deployment.clone(), replicas: scale.wanted });
                }
                if scale.running == 0 {
                    break;
                }
                if self.tools.clock.now() >= deadline {
                    return Err(RecoverError::StillRunning { deployment: deployment.clone(), running: scale.running });
                }
                self.pause(LOOK_EVERY).await?;
            }
        }
        Ok(())
    }

    /// Makes the new instance, or goes on with the one that was ordered, and waits until it is available.
    ///
    /// # Errors
    /// RDS refuses, or the instance is not to be had.
    pub async fn restore(
        &mut self,
        restore: &Restore,
        mut tell: impl FnMut(News),
    ) -> Result<InstanceDetails, RecoverError> {
        self.still_ours().await?;
        let details = match restore {
            Restore::Order(request) => Box::pin(request.make(self.token, tell)).await?,
            Restore::Await(awaited) => {
                tell(News::Adopted);
                awaited.until_available(self.token, &mut tell).await?
            }
        };
        let resource = details.instance.resource.clone();
        self.journal.change(self.tools, |recovery| recovery.new_resource = Some(resource)).await?;
        Ok(details)
    }

    /// Leads applications to the new instance.
    ///
    /// # Errors
    /// Something writes again, or AWS or the cluster refuses. It can be begun again.
    pub async fn switch(&mut self, tell: &mut impl FnMut(String)) -> Result<(), RecoverError> {
        self.until_stopped().await?;
        match self.journal.recovery().switch.clone() {
            Switch::Rename => {
                let renames = self.journal.recovery().renames();
                if renames.is_empty() {
                    return Err(self.not_restored());
                }
                let old = self.journal.recovery().old.clone();
                self.note_left_server(old.as_ref(), tell).await?;
                for rename in renames {
                    self.rename(&rename, tell).await?;
                }
                Ok(())
            }
            switch @ (Switch::KubernetesSecret { .. } | Switch::SecretsManager { .. }) => {
                let address = self.new_address(&switch).await?;
                if self.journal.recovery().address_before.is_none() {
                    let before = self.address(&switch).await?;
                    self.journal.change(self.tools, |recovery| recovery.address_before = before).await?;
                }
                self.set_address(&switch, &address, tell).await
            }
        }
    }

    /// Starts what was stopped, with as many replicas as it had, and restarts what only reads: once the name that was switched
    /// leads where it should.
    ///
    /// # Errors
    /// It does not, or the cluster refuses.
    pub async fn start_writers(&mut self, tell: &mut impl FnMut(String)) -> Result<(), RecoverError> {
        self.until_led(tell).await?;
        let recovery = self.journal.recovery();
        for Writer { deployment, replicas } in &recovery.writers {
            let Some(replicas) = *replicas else { continue };
            self.still_ours().await?;
            self.tools.cluster.set_scale(deployment, replicas, Apply::ForReal).await?;
            let note = if replicas == 0 { ": it had none when it was to be stopped, scale it yourself" } else { "" };
            tell(format!("{deployment}: 0 -> {replicas} replicas{note}"));
        }
        for deployment in &recovery.restarts {
            self.tools.cluster.restart(deployment, self.tools.clock.now(), Apply::ForReal).await?;
            tell(format!("{deployment}: restarted"));
        }
        let deadline = self.in_time(STARTED_WITHIN);
        for Writer { deployment, replicas } in &recovery.writers {
            let wanted = replicas.unwrap_or(0);
            while self.tools.cluster.scale(deployment).await?.running < wanted {
                if self.tools.clock.now() >= deadline {
                    tell(format!("{deployment}: not all replicas are there yet; see `kubectl rollout status`"));
                    break;
                }
                self.pause(LOOK_EVERY).await?;
            }
        }
        Ok(())
    }

    /// Leads applications back to the old instance, and starts what was stopped. The new one stays.
    ///
    /// # Errors
    /// AWS or the cluster refuses. It can be begun again.
    pub async fn undo(&mut self, by: Approver, tell: &mut impl FnMut(String)) -> Result<(), RecoverError> {
        let since = self.tools.clock.now();
        let is_first = !matches!(self.journal.recovery().state, RecoveryState::Undoing { .. });
        let mut writers = self.journal.recovery().writers.clone();
        for writer in writers.iter_mut().filter(|_| is_first) {
            // Somebody may have scaled it since: it gets back what it has now.
            let now = self.tools.cluster.scale(&writer.deployment).await?.wanted;
            writer.replicas = if now > 0 { Some(now) } else { writer.replicas };
        }
        let begin = |recovery: &mut Recovery| {
            recovery.attempts += 1;
            recovery.writers = writers;
            if is_first {
                recovery.state = RecoveryState::Undoing { since, approved_by: by };
                recovery.left_server = None;
            }
        };
        self.journal.change(self.tools, begin).await?;
        self.stop_writers(tell).await?;
        let new = self.journal.recovery().new_resource.clone();
        self.note_left_server(new.as_ref(), tell).await?;
        let recovery = self.journal.recovery().clone();
        for rename in recovery.renames_back() {
            match self.rename(&rename, tell).await {
                // Somebody has deleted the restored instance: its name is free, which is all that the old one needs.
                Err(RecoverError::Vanished { resource, .. }) if Some(&resource) == recovery.new_resource.as_ref() => {
                    tell(format!("{resource} is gone"));
                }
                renamed => renamed?,
            }
        }
        if let Some(before) = &recovery.address_before {
            self.set_address(&recovery.switch, before, tell).await?;
        }
        self.start_writers(tell).await?;
        let at = self.tools.clock.now();
        self.journal.change(self.tools, |recovery| recovery.state = RecoveryState::Undone { at }).await
    }

    /// Asks the cluster whether it would do its part, and AWS for what it needs; changes nothing. Says what was found.
    ///
    /// # Errors
    /// Something of it would fail.
    pub async fn try_out(tools: &Tools, recovery: &Recovery) -> Result<Vec<String>, PortError> {
        let mut found = Vec::new();
        let is_in_cluster = match &recovery.switch {
            Switch::Rename => false,
            Switch::KubernetesSecret { .. } => true,
            Switch::SecretsManager { external_secrets, .. } => !external_secrets.is_empty(),
        };
        for Writer { deployment, .. } in &recovery.writers {
            tools.cluster.set_scale(deployment, 0, Apply::OnTrial).await?;
        }
        for deployment in &recovery.restarts {
            tools.cluster.restart(deployment, tools.clock.now(), Apply::OnTrial).await?;
        }
        match &recovery.switch {
            Switch::Rename => {}
            Switch::KubernetesSecret { secret, keys } => {
                let address = tools.cluster.address(secret, keys).await?;
                tools.cluster.set_address(secret, keys, &address, Apply::OnTrial).await?;
            }
            Switch::SecretsManager { secret, keys, external_secrets } => {
                tools.secrets.address(secret, keys).await?;
                found.push(format!("secret {secret} can be read; whether it can be written cannot be tried"));
                for external in external_secrets {
                    tools.cluster.refresh(external, tools.clock.now(), Apply::OnTrial).await?;
                }
            }
        }
        if is_in_cluster || !recovery.writers.is_empty() || !recovery.restarts.is_empty() {
            found.push("the Kubernetes cluster would do its part".to_owned());
        }
        Ok(found)
    }

    async fn address(&self, switch: &Switch) -> Result<Option<Address>, PortError> {
        Ok(match switch {
            Switch::Rename => None,
            Switch::KubernetesSecret { secret, keys } => Some(self.tools.cluster.address(secret, keys).await?),
            Switch::SecretsManager { secret, keys, .. } => Some(self.tools.secrets.address(secret, keys).await?),
        })
    }

    /// The new instance's, with a port where the secret has one.
    async fn new_address(&self, switch: &Switch) -> Result<Address, RecoverError> {
        let recovery = self.journal.recovery();
        let found = self.tools.instances.details(&recovery.new).await?;
        let is_ours = |found: &InstanceDetails| Some(&found.instance.resource) == recovery.new_resource.as_ref();
        let endpoint = found.filter(is_ours).and_then(|found| found.instance.endpoint);
        let endpoint = endpoint.ok_or_else(|| self.not_restored())?;
        let has_port = match switch {
            Switch::Rename => false,
            Switch::KubernetesSecret { keys, .. } | Switch::SecretsManager { keys, .. } => keys.port.is_some(),
        };
        Ok(Address { host: endpoint.host, port: has_port.then_some(endpoint.port) })
    }

    async fn set_address(
        &self,
        switch: &Switch,
        address: &Address,
        tell: &mut impl FnMut(String),
    ) -> Result<(), RecoverError> {
        let cluster = &self.tools.cluster;
        self.still_ours().await?;
        match switch {
            Switch::Rename => {}
            Switch::KubernetesSecret { secret, keys } => {
                cluster.set_address(secret, keys, address, Apply::ForReal).await?;
                tell(format!("Secret {secret}: {} = {}", keys.host, address.host));
            }
            Switch::SecretsManager { secret, keys, external_secrets } => {
                self.tools.secrets.set_address(secret, keys, address).await?;
                tell(format!("secret {secret}: {} = {}", keys.host, address.host));
                for external in external_secrets {
                    let before = cluster.fetched(external).await?;
                    cluster.refresh(external, self.tools.clock.now(), Apply::ForReal).await?;
                    self.until_fetched(external, before.as_deref()).await?;
                    tell(format!("ExternalSecret {external}: has fetched it"));
                }
            }
        }
        Ok(())
    }

    /// Pods that start before would get the old address.
    async fn until_fetched(&self, external: &KubernetesName, before: Option<&str>) -> Result<(), RecoverError> {
        let deadline = self.in_time(FETCHED_WITHIN);
        while self.tools.cluster.fetched(external).await?.as_deref() == before {
            if self.tools.clock.now() >= deadline {
                return Err(RecoverError::NotFetched { external: external.clone() });
            }
            self.pause(LOOK_EVERY).await?;
        }
        Ok(())
    }

    /// To be asked before anything outside is changed.
    async fn still_ours(&self) -> Result<(), RecoverError> {
        if self.token.is_cancelled() {
            return Err(RecoverError::Cancelled);
        }
        self.journal.check(self.tools).await
    }

    fn not_restored(&self) -> RecoverError {
        RecoverError::NotRestored { name: self.journal.recovery().new.clone() }
    }

    fn in_time(&self, length: SignedDuration) -> Timestamp {
        self.tools.clock.now().saturating_add(length).unwrap_or(Timestamp::MAX)
    }

    async fn pause(&self, length: SignedDuration) -> Result<(), RecoverError> {
        tokio::select! {
            () = self.tools.clock.sleep_until(self.in_time(length)) => Ok(()),
            () = self.token.cancelled() => Err(RecoverError::Cancelled),
        }
    }
}
