//! Jobs that a test makes begin, wait, end and vanish, by a paused clock.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::domain::run::ProcessIdentity;
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
    tried: Mutex<Vec<String>>,
    refuses: Mutex<Option<ErrorKind>>,
}

impl FakeJobs {
    fn set(&self, state: JobState) {
        *self.state.lock().unwrap() = Ok(state);
    }
}

#[async_trait]
impl Jobs for FakeJobs {
    async fn try_out(&self, order: &JobOrder) -> Result<(), PortError> {
        self.tried.lock().unwrap().push(order.template.clone());
        match *self.refuses.lock().unwrap() {
            Some(kind) => Err(PortError::new(format!("read CronJob {}", order.template), kind)),
            None => Ok(()),
        }
    }

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
            tried: Mutex::default(),
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

    /// It goes on for so many minutes, and says so now and then.
    async fn lives(&self, record: &RunRecord, minutes: u64) {
        for _ in 0..minutes / 5 {
            pass(Duration::from_mins(5)).await;
            self.writes(&record.renewed(self.daemon.clock.true_now()));
        }
    }

    fn writes(&self, record: &RunRecord) {
        self.world.store.overwrite(&self.key(), &serde_json::to_vec(record).unwrap());
    }

    fn record(&self) -> RunRecord {
        serde_json::from_slice(&self.world.store.bytes(&self.key()).unwrap()).unwrap()
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep_until(Instant::now() + time).await;
}

fn message(outcome: &Outcome) -> String {
    let Outcome::RunEnded(RunEnd { state: RunState::Failed { failure, .. }, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    failure.message.clone()
}

#[tokio::test(start_paused = true)]
async fn the_process_of_the_job_says_how_it_ended() {
    let bench = Bench::new().await;
    let end = async {
        pass(Duration::from_secs(30)).await;
        bench.jobs.set(JobState::Running);
        let record = bench.claims().await;
        bench.lives(&record, 30).await;
        bench.writes(&record.closed(RunState::Cancelled { finished_at: at("2026-11-10T00:31:00Z") }));
    };
    let (outcome, ()) = tokio::join!(bench.dump(), end);
    assert!(matches!(outcome, Outcome::RunEnded(RunEnd { state: RunState::Cancelled { .. }, .. })), "{outcome:?}");
    let order = bench.jobs.begun.lock().unwrap().remove(0);
    let slot = bench.start.run.slot.to_string();
    let words = ["backup", "dump", "accounts", "--database=accounts", "--slot", slot.as_str(), "--attempt", "1"];
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
        bench.begun().await;
        bench.jobs.set(state);
        let outcome = bench.dump().await;
        assert!(message(&outcome).contains(says), "{outcome:?}");
        assert!(matches!(bench.record().state, RunState::Failed { .. }), "whoever had it is gone");
    }
}

impl Bench {
    /// Somebody has begun the Job before.
    async fn begun(&self) {
        let order = self.executor.order(&self.start, self.executor.by_jobs.as_ref().unwrap());
        self.jobs.begin(&order).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn each_template_that_a_dump_may_be_made_from_is_tried_once() {
    let bench = Bench::new().await;
    let mut policy =
        crate::testing::policy(&[("accounts", &["a", "b"]), ("cards", &["cards"]), ("ledger", &["ledger"])]);
    for obligation in &mut policy.sources.get_mut(&"ledger".parse().unwrap()).unwrap().obligations {
        if let Task::Dump { settings, .. } = &mut obligation.task {
            settings.job_template = Some("strongroom-dump-large".to_owned());
        }
    }
    let by = bench.executor.by_jobs.as_ref().unwrap();
    assert!(by.try_templates(&policy, at("2026-11-10T00:00:00Z")).await.is_empty());
    assert_eq!(*bench.jobs.tried.lock().unwrap(), ["strongroom-dump", "strongroom-dump-large"]);
    *bench.jobs.refuses.lock().unwrap() = Some(ErrorKind::NotFound);
    assert_eq!(by.try_templates(&policy, at("2026-11-10T00:00:00Z")).await.len(), 2);
    assert!(bench.jobs.begun.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_begun_is_told_and_what_may_pass_is_tried_again() {
    let bench = Bench::new().await;
    *bench.jobs.refuses.lock().unwrap() = Some(ErrorKind::Transient);
    let began = Instant::now();
    let passes = async {
        pass(Duration::from_mins(1)).await;
        assert!(bench.world.store.bytes(&bench.key()).is_none(), "nothing is written down of what may pass");
        *bench.jobs.refuses.lock().unwrap() = Some(ErrorKind::NotFound);
    };
    let (outcome, ()) = tokio::join!(bench.dump(), passes);
    assert!(began.elapsed() < Duration::from_mins(2));
    assert!(message(&outcome).contains("\"strongroom-dump\" not found"), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_leaves_the_job_and_the_next_one_goes_on() {
    let bench = Bench::new().await;
    let token = CancellationToken::new();
    let stop = async {
        pass(Duration::from_secs(20)).await;
        token.cancel();
    };
    let (outcome, ()) = tokio::join!(bench.dump_until(&token), stop);
    assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
    assert!(bench.jobs.removed.lock().unwrap().is_empty());
    let record = bench.claims().await;
    bench.jobs.set(JobState::Running);
    let finished_at = bench.daemon.clock.true_now() + SignedDuration::from_mins(1);
    let end = async {
        pass(Duration::from_mins(1)).await;
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
        bench.lives(&record, 60).await;
        bench.writes(&record.closed(RunState::Cancelled { finished_at: at("2026-11-10T01:00:00Z") }));
    };
    let begin = async {
        // The Job is begun before its process claims the run.
        tokio::join!(bench.dump(), async {
            pass(Duration::from_secs(1)).await;
            end.await
        })
        .0
    };
    let outcome = begin.await;
    assert!(matches!(outcome, Outcome::RunEnded(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_does_not_keep_the_run_for_ever() {
    let bench = Bench::new().await;
    bench.jobs.set(JobState::Running);
    let claim = async {
        pass(Duration::from_secs(20)).await;
        bench.claims().await;
    };
    let began = Instant::now();
    let (outcome, ()) = tokio::join!(bench.dump(), claim);
    assert!(matches!(outcome, Outcome::Overtaken { .. }), "{outcome:?}");
    assert!(began.elapsed() > LEASE.unsigned_abs() && began.elapsed() < LEASE.unsigned_abs() * 2);
    assert_eq!(bench.record().state, RunState::Running, "the planner closes it, by what stands");
    assert_eq!(bench.jobs.removed.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_never_claims_its_run_is_given_up() {
    for state in [Ok(JobState::Running), Err(ErrorKind::PermissionDenied)] {
        let bench = Bench::new().await;
        *bench.jobs.state.lock().unwrap() = state;
        let outcome = bench.dump().await;
        assert!(message(&outcome).contains("has not claimed it"), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dump_that_stands_has_succeeded_whatever_became_of_its_process() {
    let bench = Bench::new().await;
    // As a process of its own makes it; then its last word is lost.
    let made = Action::StartDump(Box::new(bench.start.clone()));
    let made = bench.daemon.executor.execute(made, Arc::default(), CancellationToken::new()).await;
    assert!(matches!(made, Outcome::RunEnded(RunEnd { state: RunState::Succeeded { .. }, .. })), "{made:?}");
    bench.writes(&RunRecord { state: RunState::Running, ..bench.record() });
    bench.begun().await;
    bench.jobs.set(JobState::Ended { reason: "BackoffLimitExceeded".to_owned() });
    let outcome = bench.dump().await;
    assert!(matches!(outcome, Outcome::RunEnded(RunEnd { state: RunState::Succeeded { .. }, .. })), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_claims_at_the_last_moment_is_left_in_peace() {
    let bench = Bench::new().await;
    bench.jobs.set(waiting("Unschedulable"));
    let late = async {
        pass(Duration::from_secs(10 * 60 - 1)).await;
        let record = bench.claims().await;
        pass(Duration::from_mins(2)).await;
        bench.writes(&record.closed(RunState::Cancelled { finished_at: at("2026-11-10T00:12:00Z") }));
    };
    let (outcome, ()) = tokio::join!(bench.dump(), late);
    assert!(matches!(outcome, Outcome::RunEnded(RunEnd { state: RunState::Cancelled { .. }, .. })), "{outcome:?}");
}
