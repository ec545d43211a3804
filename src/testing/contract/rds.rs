//! The contract of RDS.

use jiff::SignedDuration;

use crate::domain::id::{InstanceId, RegionName, SnapshotId};
use crate::domain::inventory::{Instance, Snapshot};
use crate::domain::tags::Tags;
use crate::ports::ErrorKind;
use crate::ports::rds::{Rds, SnapshotCopyRequest};
use crate::testing::eventually::Patience;

/// What there is to try it on.
pub(crate) struct RdsCase<'a> {
    pub(crate) rds: &'a dyn Rds,
    /// An instance that is available, and that nobody else works on.
    pub(crate) instance: InstanceId,
    /// Snapshot ids begin with this; none does yet.
    pub(crate) prefix: String,
    pub(crate) patience: Patience<'a>,
    /// Where copies can be made, if anywhere.
    pub(crate) copies: Option<CopyCase<'a>>,
}

/// Another region.
pub(crate) struct CopyCase<'a> {
    /// The region of the instance.
    pub(crate) source_region: RegionName,
    /// RDS in the other region.
    pub(crate) rds: &'a dyn Rds,
    /// A KMS key there; must be given where the instance is encrypted.
    pub(crate) kms_key: Option<String>,
}

/// All of it, one after the other.
pub(crate) async fn run_all(case: &RdsCase<'_>) {
    case.what_is_not_there_is_not_found().await;
    case.a_snapshot_comes_about_with_its_tags_and_its_identity().await;
    case.an_id_is_taken_once().await;
    case.an_instance_that_is_busy_takes_no_snapshot_and_an_unfinished_one_is_not_deleted().await;
    case.a_deleted_snapshot_is_gone_and_no_other().await;
    case.events_are_of_the_time_asked_for_and_in_its_order().await;
    if let Some(copies) = &case.copies {
        case.a_copy_keeps_the_time_of_its_data_and_has_its_own_tags(copies).await;
        case.a_copy_without_a_source_is_refused(copies).await;
        case.an_encrypted_snapshot_needs_a_key_of_the_other_region(copies).await;
    }
}

/// RDS tells whole seconds, and machines differ by as much.
const ROUNDING: SignedDuration = SignedDuration::from_secs(2);

impl RdsCase<'_> {
    fn id(&self, name: &str) -> SnapshotId {
        format!("{}-{name}", self.prefix).parse().unwrap()
    }

    async fn instance(&self) -> Instance {
        let instances = self.rds.instances().await.unwrap();
        instances.iter().find(|found| found.id == self.instance).expect("the instance is listed").clone()
    }

    async fn until_available(&self, rds: &dyn Rds, id: &SnapshotId) -> Snapshot {
        let look = async || rds.snapshot(id).await.unwrap().filter(|found| found.status == "available");
        self.patience.until(&format!("{id} is available"), look).await
    }

    /// Begins a snapshot as soon as the instance takes one.
    async fn create(&self, name: &str, tags: &Tags) -> SnapshotId {
        let id = self.id(name);
        let look = async || match self.rds.create_snapshot(&id, &self.instance, tags).await {
            Ok(()) => Some(()),
            Err(error) if error.kind() == ErrorKind::WrongState => None,
            Err(error) => panic!("{error:?}"),
        };
        self.patience.until(&format!("{} takes a snapshot", self.instance), look).await;
        id
    }

    /// A snapshot that is available.
    async fn made(&self, name: &str) -> Snapshot {
        let id = self.create(name, &tags(name)).await;
        self.until_available(self.rds, &id).await
    }

    async fn what_is_not_there_is_not_found(&self) {
        let nothing = self.id("nothing");
        assert_eq!(self.rds.snapshot(&nothing).await.unwrap(), None);
        assert_eq!(self.rds.delete_snapshot(&nothing).await.unwrap_err().kind(), ErrorKind::NotFound);
        let nobody = "contract-nobody".parse().unwrap();
        let refused = self.rds.create_snapshot(&nothing, &nobody, &Tags::new()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
    }

    async fn a_snapshot_comes_about_with_its_tags_and_its_identity(&self) {
        let began_at = self.patience.clock.now();
        let id = self.create("made", &tags("made")).await;
        let look = async || self.rds.snapshot(&id).await.unwrap();
        let begun = self.patience.until("the snapshot is shown", look).await;
        if begun.status == "creating" {
            assert_eq!((begun.created_at, begun.stored_at), (None, None), "it has no time while it is being made");
        }
        let snapshot = self.until_available(self.rds, &id).await;
        assert_eq!(snapshot.tags, tags("made"));
        assert_eq!(snapshot.instance, self.instance);
        assert_eq!(snapshot.resource, Some(self.instance().await.resource));
        assert_eq!(snapshot.progress_percent, 100);
        assert_eq!(snapshot.created_at, snapshot.stored_at);
        let created_at = snapshot.created_at.expect("an available snapshot has a time");
        assert!(created_at >= began_at - ROUNDING && created_at <= self.patience.clock.now() + ROUNDING);
        assert!(snapshot.arn.is_some_and(|arn| arn.ends_with(id.as_str())));
        assert_eq!(snapshot.copied_from, None);
        let look = async || {
            let listed = self.rds.snapshots().await.unwrap();
            listed.iter().find(|listed| listed.id == id && listed.tags == tags("made")).cloned()
        };
        self.patience.until("the snapshot is listed with its tags", look).await;
    }

    async fn an_id_is_taken_once(&self) {
        let first = self.made("once").await;
        let look = async || self.instance().await.takes_snapshots().then_some(());
        self.patience.until("the instance takes snapshots again", look).await;
        let again = self.rds.create_snapshot(&first.id, &self.instance, &tags("another")).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(self.until_available(self.rds, &first.id).await, first, "it is as it was");
    }

    async fn an_instance_that_is_busy_takes_no_snapshot_and_an_unfinished_one_is_not_deleted(&self) {
        let id = self.create("busy", &tags("busy")).await;
        let busy = async || !self.instance().await.takes_snapshots();
        let busy_before = busy().await;
        let second = self.rds.create_snapshot(&self.id("busy-2"), &self.instance, &tags("busy-2")).await;
        // Where it is over before it can be seen there is nothing to tell.
        if busy_before && busy().await {
            assert_eq!(second.unwrap_err().kind(), ErrorKind::WrongState);
        }
        let unfinished = async || self.rds.snapshot(&id).await.unwrap().is_some_and(|found| found.status == "creating");
        if unfinished().await {
            let deleted = self.rds.delete_snapshot(&id).await;
            if unfinished().await {
                assert_eq!(deleted.unwrap_err().kind(), ErrorKind::WrongState);
                self.until_available(self.rds, &id).await;
            }
        }
    }

    async fn a_deleted_snapshot_is_gone_and_no_other(&self) {
        let (gone, stays) = (self.made("gone").await, self.made("stays").await);
        self.rds.delete_snapshot(&gone.id).await.unwrap();
        let look = async || self.rds.snapshot(&gone.id).await.unwrap().is_none().then_some(());
        self.patience.until("the snapshot is gone", look).await;
        assert_eq!(self.rds.delete_snapshot(&gone.id).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(self.rds.snapshot(&stays.id).await.unwrap(), Some(stays));
    }

    async fn events_are_of_the_time_asked_for_and_in_its_order(&self) {
        let now = self.patience.clock.now();
        let events = self.rds.instance_events(&self.instance, now - SignedDuration::from_hours(1)).await.unwrap();
        assert!(events.is_sorted_by_key(|event| event.at));
        let later = self.rds.instance_events(&self.instance, now + SignedDuration::from_mins(5)).await;
        assert!(later.is_err() || later.is_ok_and(|events| events.is_empty()));
    }

    fn copy_of(&self, copies: &CopyCase<'_>, source: &Snapshot, name: &str) -> SnapshotCopyRequest {
        SnapshotCopyRequest {
            source_arn: source.arn.clone().unwrap(),
            source_region: copies.source_region.clone(),
            target: self.id(name),
            kms_key: copies.kms_key.clone(),
            tags: tags(name),
        }
    }

    async fn a_copy_keeps_the_time_of_its_data_and_has_its_own_tags(&self, copies: &CopyCase<'_>) {
        let source = self.made("source").await;
        let copy = self.copy_of(copies, &source, "copy");
        // A copy a second later can be told from its source.
        self.patience.pause().await;
        copies.rds.copy_snapshot(&copy).await.unwrap();
        let made = self.until_available(copies.rds, &copy.target).await;
        assert_eq!(made.created_at, source.created_at);
        assert!(made.stored_at >= source.stored_at);
        assert_eq!(made.tags, copy.tags);
        assert_eq!((made.instance, made.resource), (source.instance, source.resource));
        assert_eq!(made.copied_from, source.arn);
        assert_ne!(made.arn, source.arn);
        assert_eq!(made.kms_key.is_some(), source.kms_key.is_some() || copies.kms_key.is_some());
        assert_eq!(copies.rds.copy_snapshot(&copy).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        self.rds.delete_snapshot(&source.id).await.unwrap();
        assert_eq!(self.until_available(copies.rds, &copy.target).await.id, copy.target, "it outlives its source");
    }

    async fn a_copy_without_a_source_is_refused(&self, copies: &CopyCase<'_>) {
        let source = self.made("no-source").await;
        let mut copy = self.copy_of(copies, &source, "copy-of-nothing");
        copy.source_arn.push_str("-nothing");
        assert_eq!(copies.rds.copy_snapshot(&copy).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(copies.rds.snapshot(&copy.target).await.unwrap(), None);
    }

    async fn an_encrypted_snapshot_needs_a_key_of_the_other_region(&self, copies: &CopyCase<'_>) {
        let source = self.made("encrypted").await;
        if source.kms_key.is_none() {
            return;
        }
        let copy = SnapshotCopyRequest { kms_key: None, ..self.copy_of(copies, &source, "copy-without-key") };
        assert_eq!(copies.rds.copy_snapshot(&copy).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

fn tags(name: &str) -> Tags {
    Tags::from([("contract".to_owned(), name.to_owned())])
}
