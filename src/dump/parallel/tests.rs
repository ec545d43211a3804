use std::sync::Arc;

use jiff::SignedDuration;

use super::*;
use crate::domain::id::{DatabaseName, Kind, RunId};
use crate::domain::manifest::Engine;
use crate::domain::memory::DumpMemory;
use crate::dump::parts::SEGMENT_BYTES;
use crate::dump::row_meter::RowMeter;
use crate::ports::clock::Clock;
use crate::testing::archive::{decompressed, row};
use crate::testing::fake_postgres::{FakeCredentials, FakePgDump, FakePostgres};
use crate::testing::fake_store::{Call, FakeObjectStore, Strikes};
use crate::testing::memory::{SMALL, share};
use crate::testing::now;
use crate::testing::sim_clock::SimClock;

const ROWS: u64 = 60_000;

struct Bench {
    servers: Arc<FakePostgres>,
    store: Arc<FakeObjectStore>,
    pg_dump: Arc<FakePgDump>,
    request: ParallelRequest,
}

impl Bench {
    fn new() -> Bench {
        let clock = SimClock::starting_at(now());
        let servers = FakePostgres::new(clock as Arc<dyn Clock>);
        let database: DatabaseName = "accounts".parse().unwrap();
        servers.set_rows("db", &database, ROWS);
        let pg_dump = Arc::new(FakePgDump::of(Arc::clone(&servers)));
        pg_dump.set_takes(SignedDuration::from_hours(2));
        let store = Arc::new(FakeObjectStore::default());
        let slot = "20261101t040000z".parse().unwrap();
        let request = ParallelRequest {
            postgres: Arc::clone(&servers) as Arc<_>,
            pg_dump: Arc::clone(&pg_dump) as Arc<_>,
            credentials: Arc::new(FakeCredentials::default()),
            endpoint: Endpoint { host: "db".to_owned(), port: 5432 },
            replica_of: None,
            text: TextEncoding::Utf8,
            name: "one".to_owned(),
            store: Arc::clone(&store) as Arc<_>,
            layout: Layout::new("strongroom"),
            dump: DumpId { source: "accounts".parse().unwrap(), database: database.clone(), slot },
            run: RunId { slot, kind: Kind::Dump, database: Some(database), attempt: 1 },
            kms_key: None,
            compression_level: 1,
            memory: share(DumpMemory { engine: Engine::Parallel, jobs: 2, parts_in_flight: 2, ..SMALL }),
            sizes: PartSizes::for_dump(SEGMENT_BYTES as u64, 0),
            range_bytes: 64 << 20,
            bandwidth: Arc::default(),
            progress: Arc::default(),
        };
        Bench { servers, store, pg_dump, request }
    }

    async fn dump(&self) -> Result<ParallelDump, DumpError> {
        dump_in_parallel(&self.request, &CancellationToken::new()).await
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        assert_eq!(self.store.open_uploads(), 0);
        assert!(self.store.bytes(&self.request.key("2.dat.zst")).is_none());
        assert!(self.pg_dump.running().is_empty(), "the client is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_an_object_of_whole_frames_and_whole_rows() {
    let bench = Bench::new();
    let made = bench.dump().await.unwrap();
    let mut text: String = (0..ROWS).map(row).collect();
    let mut meter = RowMeter::default();
    meter.take(text.as_bytes());
    text.push_str("\\.\n\n\n");
    let key = bench.request.key("2.dat.zst");
    let bytes = bench.store.bytes(&key).unwrap();
    assert_eq!(decompressed(&bytes), text.as_bytes());
    let [table] = made.tables.as_slice() else { panic!("{:?}", made.tables) };
    assert_eq!((table.rows, table.hash.clone()), (ROWS, Some(meter.count().hash_hex())));
    assert_eq!(made.count, meter.count());
    assert!(table.parts.len() > 3, "{:?}", table.parts);
    for part in &table.parts {
        let at = |offset: u64| usize::try_from(offset).unwrap();
        let (from, to) = (at(part.offset), at(part.offset + part.size_bytes));
        let mut meter = RowMeter::default();
        let plain = decompressed(&bytes[from..to]);
        meter.take(plain.strip_suffix(b"\\.\n\n\n").unwrap_or(&plain));
        assert!(meter.is_between_rows());
        assert_eq!((part.rows, part.hash.clone()), (meter.count().rows, meter.count().hash_hex()));
    }
    let toc = bench.store.bytes(&made.objects[0].key).unwrap();
    assert!(toc.starts_with(b"PGDMP"));
    assert_eq!(made.objects.len(), 2);
    let stored: u64 = bytes.len() as u64;
    let count = bench.request.progress.count();
    assert_eq!((count.rows, count.read_bytes, count.stored_bytes), (ROWS, made.count.bytes, stored));
    assert!(bench.pg_dump.running().is_empty(), "the client, which would have taken hours, is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_cannot_be_stored_ends_everything_and_leaves_nothing() {
    let bench = Bench::new();
    bench.store.fail_next(Call::Part, Strikes::Before);
    let error = bench.dump().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_cannot_be_completed_leaves_nothing() {
    let bench = Bench::new();
    bench.store.fail_next(Call::Complete, Strikes::Before);
    bench.dump().await.unwrap_err();
    bench.nothing_is_left();
}

/// Whoever lost the locks cannot know whether a table was emptied before it was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_whose_locks_were_lost_is_no_dump() {
    let mut bench = Bench::new();
    bench.request.memory = share(DumpMemory { engine: Engine::Parallel, jobs: 1, parts_in_flight: 2, ..SMALL });
    bench.servers.lose_sessions_after_the_copy();
    let error = bench.dump().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
    assert_eq!(bench.store.open_uploads(), 0);
    assert!(bench.pg_dump.running().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_cancelled_leaves_nothing() {
    let bench = Bench::new();
    let token = CancellationToken::new();
    token.cancel();
    let ended = dump_in_parallel(&bench.request, &token).await;
    assert!(matches!(ended, Err(DumpError::Cancelled)), "{ended:?}");
    bench.nothing_is_left();
}

/// Beside the rate nothing takes time here: the clock moves only while somebody waits for it.
#[tokio::test(start_paused = true)]
async fn all_connections_together_send_no_faster_than_the_bandwidth_allows() {
    let mut bench = Bench::new();
    let rate = 64 << 10;
    // A thread that waits for a slot would keep the paused clock from moving.
    bench.request.memory = share(DumpMemory { engine: Engine::Parallel, jobs: 2, parts_in_flight: 100, ..SMALL });
    bench.request.bandwidth = Arc::new(Bandwidth::of(std::num::NonZeroU64::new(rate)));
    let began = tokio::time::Instant::now();
    let made = bench.dump().await.unwrap();
    let stored = bench.request.progress.count().stored_bytes;
    let last = made.tables[0].parts.last().unwrap().size_bytes;
    let ratio = began.elapsed().as_secs_f64() * rate as f64 / (stored - last) as f64;
    assert!(stored > 4 * rate && (0.99..=1.01).contains(&ratio), "{ratio} of {stored} bytes");
}
