use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::domain::memory::DumpMemory;
use crate::dump::parts::SEGMENT_BYTES;
use crate::ports::postgres::Exit;
use crate::testing::archive::{archive_of_rows, decompressed};
use crate::testing::fake_store::{Call, FakeObjectStore, Strikes};
use crate::testing::memory::{SMALL, share};

/// A `pg_dump` that writes given bytes and ends as it is told.
struct ScriptedDump {
    archive: Option<Box<dyn Read + Send>>,
    exit: Exit,
    killed: Arc<AtomicBool>,
}

impl ScriptedDump {
    fn of(archive: Vec<u8>) -> ScriptedDump {
        ScriptedDump::reading(std::io::Cursor::new(archive))
    }

    fn reading(archive: impl Read + Send + 'static) -> ScriptedDump {
        let exit = Exit { success: true, status: "exit status: 0".to_owned(), stderr: String::new() };
        ScriptedDump { archive: Some(Box::new(archive)), exit, killed: Arc::default() }
    }

    fn failing(mut self, stderr: &str) -> ScriptedDump {
        self.exit = Exit { success: false, status: "exit status: 1".to_owned(), stderr: stderr.to_owned() };
        self
    }
}

#[async_trait]
impl DumpProcess for ScriptedDump {
    fn take_archive(&mut self) -> Option<Box<dyn Read + Send>> {
        self.archive.take()
    }

    async fn wait(&mut self) -> Result<Exit, PortError> {
        Ok(self.exit.clone())
    }

    async fn kill(&mut self) {
        self.killed.store(true, Ordering::SeqCst);
    }
}

/// Gives an archive's head and then nothing, until the process behind it is killed: a dump that waits for a lock.
struct Stalled {
    head: std::io::Cursor<Vec<u8>>,
    killed: Arc<AtomicBool>,
}

impl Read for Stalled {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.head.read(buffer)?;
        while read == 0 && !self.killed.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Ok(read)
    }
}

const SEGMENT: u64 = SEGMENT_BYTES as u64;

fn request(store: &Arc<FakeObjectStore>) -> ArchiveRequest {
    ArchiveRequest {
        store: Arc::clone(store) as Arc<dyn ObjectStore>,
        key: ObjectKey::listed("strongroom/accounts/dumps/accounts/slot/run/archive.dump.zst"),
        kms_key: None,
        compression_level: 1,
        sizes: PartSizes::for_dump(SEGMENT, 0),
        memory: share(DumpMemory { parts_in_flight: 2, ..SMALL }),
        bandwidth: Arc::default(),
        progress: Arc::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_stored_whole_in_parts_of_the_given_size() {
    let archive = archive_of_rows(60_000);
    let store = Arc::new(FakeObjectStore::default());
    let request = request(&store);
    let mut process = ScriptedDump::of(archive.clone());
    let stored = stream_archive(&mut process, &request, &CancellationToken::new()).await.unwrap();
    let bytes = store.bytes(&request.key).unwrap();
    assert_eq!(decompressed(&bytes), archive);
    assert_eq!(stored.object.size_bytes, bytes.len() as u64);
    assert_eq!(stored.walked.rows, 60_000);
    let sizes = store.part_sizes();
    assert!(sizes.len() > 3, "{sizes:?}");
    assert_eq!(sizes.iter().filter(|size| **size != SEGMENT_BYTES).count(), 1, "all but the last: {sizes:?}");
    let count = request.progress.count();
    assert_eq!((count.read_bytes, count.stored_bytes, count.rows), (archive.len() as u64, bytes.len() as u64, 60_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_fails_after_a_whole_archive_leaves_nothing() {
    let store = Arc::new(FakeObjectStore::default());
    let request = request(&store);
    let mut process = ScriptedDump::of(archive_of_rows(10)).failing("pg_dump: error: connection lost");
    let error = stream_archive(&mut process, &request, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "pg_dump ended with exit status: 1: pg_dump: error: connection lost");
    assert_eq!((store.bytes(&request.key), store.open_uploads()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_succeeds_after_half_an_archive_leaves_nothing() {
    let store = Arc::new(FakeObjectStore::default());
    let request = request(&store);
    let mut archive = archive_of_rows(60_000);
    archive.truncate(archive.len() / 2);
    let error = stream_archive(&mut ScriptedDump::of(archive), &request, &CancellationToken::new()).await;
    assert!(matches!(error, Err(DumpError::Archive(ArchiveError::Truncated(_)))), "{error:?}");
    assert_eq!((store.bytes(&request.key), store.open_uploads()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_kills_the_client_and_leaves_nothing() {
    let store = Arc::new(FakeObjectStore::default());
    store.fail_next(Call::Part, Strikes::Before);
    let request = request(&store);
    let mut process = ScriptedDump::of(archive_of_rows(60_000));
    let killed = Arc::clone(&process.killed);
    let error = stream_archive(&mut process, &request, &CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(killed.load(Ordering::SeqCst));
    assert_eq!((store.bytes(&request.key), store.open_uploads()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_stalls_can_be_cancelled_and_leaves_nothing() {
    let store = Arc::new(FakeObjectStore::default());
    let request = request(&store);
    let killed = Arc::new(AtomicBool::new(false));
    let mut head = archive_of_rows(10);
    head.truncate(head.len() - 3);
    let stalled = Stalled { head: std::io::Cursor::new(head), killed: Arc::clone(&killed) };
    let mut process = ScriptedDump { killed, ..ScriptedDump::reading(stalled) };
    let token = CancellationToken::new();
    let ended = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::join!(stream_archive(&mut process, &request, &token), async {
            while store.open_uploads() == 0 {
                tokio::task::yield_now().await;
            }
            token.cancel();
        })
    });
    let (ended, ()) = ended.await.expect("the stalled dump did not stop");
    assert!(matches!(ended, Err(DumpError::Cancelled)), "{ended:?}");
    assert_eq!((store.bytes(&request.key), store.open_uploads()), (None, 0));
}
