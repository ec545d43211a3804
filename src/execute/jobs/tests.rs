//! Jobs that a test makes begin, wait, end and vanish, by a paused clock.

use std::sync::Mutex;

use async_trait::async_trait;
use jiff::SignedDuration;

use super::*;
use crate::domain::run::{Failure, ProcessIdentity};
use crate::plan::action::Action;
use crate::plan::backup::manual;
use crate::policy::Task;
use crate::ports::object_store::{Condition, ObjectStore};
use crate::testing::at;
use crate::testing::world::{Daemon, World};

/// A cluster with at most one Job.
struct FakeJobs {
    state: Mutex<Result<JobState, ErrorKind>>,
    begun: Mutex<Vec<JobOrder>>,
    removed: Mutex<Vec<JobName>>,
    refuses: Mutex<Option<ErrorKind>>,
}

impl FakeJobs {
    fn set(&self, state: JobState) {
        *self.state.lock().unwrap() = Ok(state);
    }
}

#[async_trait]
impl Jobs for FakeJobs {
    async fn begin(&self, order: &JobOrder) -> Result<JobId, PortError> {
        if let Some(kind) = *self.refuses.lock().unwrap() {
            return Err(PortError::new("make a Job", kind).because("cronjobs \"strongroom-dump\" not found"));
        }
        self.begun.lock().unwrap().push(order.clone());
        Ok(JobId { name: order.name.clone(), uid: "u-1".to_owned() })
    }

    async fn find(&self, name: &JobName, run: &crate::domain::id::RunId) -> Result<Option<JobId>, PortError> {
        let begun = self.begun.lock().unwrap();
        let found = begun.iter().find(|order| order.name == *name && order.run == *run);
        Ok(found.map(|order| JobId { name: order.name.clone(), uid: "u-1".to_owned() }))
    }

    async fn look(&self, _job: &JobId) -> Result<JobState, PortError> {
        let state = self.state.lock().unwrap().clone();
        state.map_err(|kind| PortError::new("read a Job", kind))
    }

    async fn remove(&self, job: &JobId) -> Result<(), PortError> {
        self.removed.lock().unwrap().push(job.name.clone());
        Ok(())
    }
}

struct Bench {
    world: World,
    daemon: Daemon,
    jobs: Arc<FakeJobs>,
    executor: Executor,
    start: StartDump,
}

fn waiting(reason: &str) -> JobState {
    JobState::Waiting { reason: reason.to_owned() }
}

impl Bench {
    async fn new() -> Bench {
        let world = World::of(&[("accounts", &["accounts"])]).starting_at(at("2026-11-10T00:00:00Z")).build();
        let daemon = world.daemon("pod-1");
        let inventory = world.look().await;
        let source = &world.policy.sources.values().next().unwrap().clone();
        let tasks = source.obligations.iter().map(|own| own.task.clone());
        let task = tasks.into_iter().find(|task| matches!(task, Task::Dump { .. })).unwrap();
        let action = manual(&world.policy, &inventory, &source.id, &task, at("2026-11-10T00:00:00Z")).unwrap();
        let Action::StartDump(start) = action else { panic!("{action}") };
        let jobs = Arc::new(FakeJobs {
            state: Mutex::new(Ok(waiting("its pod has not begun"))),
            begun: Mutex::default(),
            removed: Mutex::default(),
            refuses: Mutex::default(),
        });
        let by = DumpsByJobs {
            jobs: Arc::clone(&jobs) as Arc<dyn Jobs>,
            template: "strongroom-dump".to_owned(),
            start_deadline: Duration::from_mins(10),
        };
        let executor = daemon.executor.clone().with_jobs(by);
        Bench { world, daemon, jobs, executor, start: *start }
    }

    async fn dump(&self) -> Outcome {
        self.dump_until(&CancellationToken::new()).await
    }

    async fn dump_until(&self, token: &CancellationToken) -> Outcome {
        let action = Action::StartDump(Box::new(self.start.clone()));
        self.executor.execute(action, Arc::default(), token.clone()).await
    }

    fn key(&self) -> ObjectKey {
        self.executor.settings.layout.run_record(&self.start.dump.source, &self.start.run)
    }

    /// The Job's process claims the run.
    async fn claims(&self) -> RunRecord {
        let owner = ProcessIdentity { host: "job".to_owned(), pid_space: "j/1".to_owned(), pid: 1, start_ticks: 5 };
        let record = RunRecord { owner, ..self.executor.new_record(&self.start.dump.source, &self.start.run) };
        let bytes = serde_json::to_vec(&record).unwrap().into();
        self.world.store.put(&self.key(), bytes, Condition::Absent).await.unwrap();
        record
    }

    fn writes(&self, record: &RunRecord) {
        self.world.store.overwrite(&self.key(), &serde_json::to_vec(record).unwrap());
    }

    fn record(&self) -> RunRecord {
        serde_json::from_slice(&self.world.store.bytes(&self.key()).unwrap()).unwrap()
    }
}

fn message(outcome: &Outcome) -> String {
    match outcome {
        Outcome::RunEnded(RunEnd { state: RunState::Failed { failure: Failure { message, .. }, .. }, .. }) => {
            message.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_process_of_the_job_says_how_it_ended() {
    let bench = Bench::new().await;
    let end = async {
        sleep(Duration::from_secs(30)).await;
        bench.jobs.set(JobState::Running);
        let record = bench.claims().await;
        sleep(Duration::from_mins(30)).await;
        bench.writes(&record.closed(RunState::Cancelled { finished_at: at("2026-11-10T00:31:00Z") }));
    };
    let (outcome, ()) = tokio::join!(bench.dump(), end);
    assert!(matches!(outcome, Outcome::RunEnded(RunEnd { state: RunState::Cancelled { .. }, .. })), "{outcome:?}");
    let order = bench.jobs.begun.lock().unwrap().remove(0);
    let slot = bench.start.run.slot.to_string();
    let words = ["backup", "dump", "accounts", "--database", "accounts", "--slot", slot.as_str(), "--attempt", "1"];
    assert_eq!(order.arguments, words);
    assert!(order.deadline_seconds > 12 * 3600, "its process has until then, and ends by itself");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_does_not_begin_is_deleted_and_its_run_has_failed() {
    let bench = Bench::new().await;
    bench.jobs.set(waiting("Unschedulable: 0/3 nodes are available"));
    let began = Instant::now();
    let outcome = bench.dump().await;
    assert!(began.elapsed() >= Duration::from_mins(10));
    assert!(message(&outcome).contains("0/3 nodes are available"), "{outcome:?}");
    assert_eq!(bench.jobs.removed.lock().unwrap().len(), 1);
    assert!(matches!(bench.record().state, RunState::Failed { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_died_is_told_with_what_the_cluster_says() {
    for (state, says) in [
        (JobState::Ended { reason: "BackoffLimitExceeded; its pod: OOMKilled".to_owned() }, "OOMKilled"),
        (JobState::Missing, "is gone"),
    ] {
        let bench = Bench::new().await;
        bench.claims().await;
        bench
            .jobs
            .begin(&bench.executor.order(&bench.start, bench.executor.by_jobs.as_ref().unwrap(), bench.name()))
            .await
            .unwrap();
        bench.jobs.set(state);
        let outcome = bench.dump().await;
        assert!(message(&outcome).contains(says), "{outcome:?}");
        assert!(matches!(bench.record().state, RunState::Failed { .. }), "whoever had it is gone");
    }
}

impl Bench {
    fn name(&self) -> JobName {
        JobName::of(&self.executor.settings.installation, &self.start.dump.source, &self.start.run)
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_begun_is_told_and_what_may_pass_is_tried_again() {
    let bench = Bench::new().await;
    *bench.jobs.refuses.lock().unwrap() = Some(ErrorKind::Transient);
    assert!(matches!(bench.dump().await, Outcome::Failed { .. }));
    assert!(bench.world.store.bytes(&bench.key()).is_none(), "nothing is written down of what may pass");
    *bench.jobs.refuses.lock().unwrap() = Some(ErrorKind::NotFound);
    assert!(message(&bench.dump().await).contains("\"strongroom-dump\" not found"));
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_leaves_the_job_and_the_next_one_goes_on() {
    let bench = Bench::new().await;
    let token = CancellationToken::new();
    let stop = async {
        sleep(Duration::from_secs(20)).await;
        token.cancel();
    };
    let (outcome, ()) = tokio::join!(bench.dump_until(&token), stop);
    assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
    assert!(bench.jobs.removed.lock().unwrap().is_empty());
    let record = bench.claims().await;
    bench.jobs.set(JobState::Running);
    let finished_at = bench.daemon.clock.true_now() + SignedDuration::from_mins(1);
    let end = async {
        sleep(Duration::from_mins(1)).await;
        bench.writes(&record.closed(RunState::Succeeded { finished_at, size_bytes: 7 }));
    };
    let (outcome, ()) = tokio::join!(bench.dump(), end);
    assert!(matches!(outcome, Outcome::RunEnded(RunEnd { state: RunState::Succeeded { .. }, .. })), "{outcome:?}");
    assert_eq!(bench.jobs.begun.lock().unwrap().len(), 1, "it was found, not begun again");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_no_job_makes_is_left_alone() {
    let bench = Bench::new().await;
    bench.claims().await;
    assert!(matches!(bench.dump().await, Outcome::Overtaken { .. }));
    assert_eq!(bench.record().state, RunState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_does_not_answer_fails_nothing() {
    let bench = Bench::new().await;
    *bench.jobs.state.lock().unwrap() = Err(ErrorKind::Transient);
    let end = async {
        let record = bench.claims().await;
        sleep(Duration::from_hours(1)).await;
        bench.writes(&record.closed(RunState::Cancelled { finished_at: at("2026-11-10T01:00:00Z") }));
    };
    let begin = async {
        // The Job is begun before its process claims the run.
        tokio::join!(bench.dump(), async {
            sleep(Duration::from_secs(1)).await;
            end.await
        })
        .0
    };
    let outcome = begin.await;
    assert!(matches!(outcome, Outcome::RunEnded(_)), "{outcome:?}");
}
