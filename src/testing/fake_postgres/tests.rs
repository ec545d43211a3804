use rstest::rstest;

use super::*;
use crate::domain::key::ObjectKey;
use crate::domain::memory::DumpMemory;
use crate::dump::parts::{PartSizes, SEGMENT_BYTES};
use crate::dump::{Archive, ArchiveRequest, DumpError, stream_archive};
use crate::ports::object_store::ObjectStore;
use crate::testing::fake_store::FakeObjectStore;
use crate::testing::memory::{SMALL, share};
use crate::testing::now;
use crate::testing::sim_clock::SimClock;

const TAKES: SignedDuration = SignedDuration::from_hours(2);

struct Bench {
    clock: Arc<SimClock>,
    servers: Arc<FakePostgres>,
    pg_dump: FakePgDump,
    store: Arc<FakeObjectStore>,
}

fn key() -> ObjectKey {
    ObjectKey::listed("archive")
}

fn database() -> DatabaseName {
    "accounts".parse().unwrap()
}

impl Bench {
    fn new() -> Bench {
        let clock = SimClock::starting_at(now());
        let servers = FakePostgres::new(Arc::clone(&clock) as Arc<dyn Clock>);
        servers.set_rows("db", &database(), 40);
        let pg_dump = FakePgDump::of(Arc::clone(&servers));
        pg_dump.set_takes(TAKES);
        Bench { clock, servers, pg_dump, store: Arc::default() }
    }

    async fn dump(&self, token: &CancellationToken) -> Result<Archive, DumpError> {
        let request = ArchiveRequest {
            store: Arc::clone(&self.store) as Arc<dyn ObjectStore>,
            key: key(),
            kms_key: None,
            compression_level: 1,
            sizes: PartSizes::for_dump(SEGMENT_BYTES as u64, 0),
            memory: share(DumpMemory { parts_in_flight: 4, ..SMALL }),
            bandwidth: Arc::default(),
            progress: Arc::default(),
        };
        let mut process =
            self.pg_dump.start(&login_to("db"), &database(), "one", TextEncoding::Utf8, None).await.unwrap();
        assert_eq!(self.pg_dump.running(), ["one"]);
        stream_archive(process.as_mut(), &request, token).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_dump_has_the_rows_of_its_database_and_takes_its_time() {
    let bench = Bench::new();
    let archive = bench.dump(&CancellationToken::new()).await.unwrap();
    assert_eq!(archive.walked.rows, 40);
    assert!(bench.clock.now() >= now() + TAKES);
    assert!(bench.pg_dump.running().is_empty(), "it has ended");
    let facts = bench.servers.facts(&login_to("db"), &database()).await.unwrap();
    assert_eq!(facts.at, bench.clock.now());
}

#[rstest]
#[case::fails(DumpEnd::Fails { stderr: "pg_dump: error: connection lost".to_owned() })]
#[case::cut(DumpEnd::Cut)]
#[tokio::test(start_paused = true)]
async fn a_dump_that_ends_badly_leaves_nothing_and_the_next_one_is_good(#[case] end: DumpEnd) {
    let bench = Bench::new();
    bench.pg_dump.next_ends(end);
    assert!(bench.dump(&CancellationToken::new()).await.is_err());
    assert_eq!((bench.store.bytes(&key()), bench.store.open_uploads()), (None, 0));
    assert!(bench.dump(&CancellationToken::new()).await.is_ok());
}

#[rstest]
#[case::at_the_end(DumpEnd::HangsAtTheEnd)]
#[case::in_the_middle(DumpEnd::Stalls)]
#[tokio::test(start_paused = true)]
async fn a_dump_that_hangs_can_be_stopped(#[case] end: DumpEnd) {
    let bench = Bench::new();
    bench.pg_dump.next_ends(end);
    let token = CancellationToken::new();
    let (dumped, ()) = tokio::join!(bench.dump(&token), async {
        while bench.store.open_uploads() == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(TAKES.unsigned_abs() * 2).await;
        token.cancel();
    });
    assert!(matches!(dumped, Err(DumpError::Cancelled)), "{dumped:?}");
    assert!(bench.pg_dump.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_fails_the_client_too() {
    let bench = Bench::new();
    bench.servers.set_reachable("db", false);
    let login = login_to("db");
    let refused = bench.servers.globals(&login, &database()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Transient);
    assert!(matches!(bench.dump(&CancellationToken::new()).await, Err(DumpError::Client { .. })));
    bench.servers.set_reachable("db", true);
    let unknown = bench.servers.facts(&login, &"elsewhere".parse().unwrap()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_login_shows_its_password_to_nobody_and_can_be_denied() {
    assert!(!format!("{:?}", login_to("db")).contains(PASSWORD));
    let (credentials, source) = (FakeCredentials::default(), "accounts".parse().unwrap());
    credentials.set_denied(&source, true);
    let endpoint = Endpoint { host: "db".to_owned(), port: 5432 };
    assert_eq!(credentials.login(&source, &endpoint).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    credentials.set_denied(&source, false);
    assert!(credentials.login(&source, &endpoint).await.is_ok());
}

#[tokio::test]
async fn another_client_can_be_installed() {
    let bench = Bench::new();
    bench.pg_dump.set_major(18);
    assert_eq!(bench.pg_dump.version().await.unwrap().major, 18);
}
