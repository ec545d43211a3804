//! The workers: each reads ranges over a connection of its own until none is left, while their parts are uploaded.
//!
//! The coordinator's session holds all locks, and mostly nothing else is asked of it. Where somebody waits for a lock on a
//! table, say to alter it, every new lock has to wait behind them, and they wait for the coordinator: a worker would wait
//! for ever, and no deadlock would be found, because the coordinator waits for nothing that a server knows of. So a worker
//! hands such a table to the coordinator, who needs no new lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc as queue;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::frozen::{self, Contents, Pages, TableData};
use super::object::{Frames, Outgoing, TableObject};
use super::range_writer::{Outlet, Permitted, RangeWriter, end_mark};
use super::{ParallelRequest, blocking, large_object, table_object};
use crate::domain::key::ObjectKey;
use crate::domain::manifest::{LargeObjects, StoredObject, Table};
use crate::dump::row_meter::RowCount;
use crate::dump::{DumpError, check_stored, put_new};
use crate::ports::postgres::{LOCK_TIMEOUT, Session};
use crate::ports::{Chain, ErrorKind, PortError};

/// Objects that are completed and asked for at once.
const ASKED_AT_ONCE: usize = 16;

/// What the workers have stored.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) tables: Vec<(Table, RowCount)>,
    pub(super) large_objects: LargeObjects,
    pub(super) objects: Vec<StoredObject>,
}

/// A piece of work.
#[derive(Debug)]
struct Work {
    object: Arc<TableObject>,
    what: What,
}

#[derive(Debug)]
enum What {
    Rows { table: Arc<TableData>, pages: Option<Pages> },
    LargeObject { id: String },
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Rows { table, .. } => write!(f, "table {}", table.name()),
            What::LargeObject { id } => write!(f, "large object {id}"),
        }
    }
}

/// The object of a table, and the ranges that fill it; `None` is all of it.
type Ranged = (Arc<TableObject>, Vec<Option<Pages>>);

/// Work that is left, the largest first.
type Queue = Arc<Mutex<VecDeque<Work>>>;

fn next(queue: &Queue) -> Option<Work> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// Pieces of work that there are at least for each connection, if they can be had: at the end the others wait for one of them.
const RANGES_EACH: u64 = 16;
/// Below this a statement more costs more than it gains.
const RANGE_BYTES_MIN: u64 = 4 << 20;

/// Bytes of a table's file that one piece of work reads.
fn range_bytes(request: &ParallelRequest, contents: &Contents) -> u64 {
    let all: u64 = contents.tables.iter().map(|table| table.bytes).sum();
    let pieces = (request.memory.memory().jobs as u64).saturating_mul(RANGES_EACH).max(1);
    (all / pieces).max(RANGE_BYTES_MIN).min(request.range_bytes)
}

/// Copies tables and large objects of a snapshot into objects of their own.
pub(super) async fn copy(
    request: &ParallelRequest,
    coordinator: Box<dyn Session>,
    snapshot: &str,
    contents: &Contents,
    token: &CancellationToken,
) -> Result<(Copied, Box<dyn Session>), DumpError> {
    let bytes_each = range_bytes(request, contents);
    let tables: Vec<Ranged> = contents
        .tables
        .iter()
        .map(|table| {
            let ranges = table.ranges(bytes_each);
            let key = request.key(&table_object(table.entry.dump_id));
            (Arc::new(TableObject::new(key, request.sizes, ranges.len())), ranges)
        })
        .collect();
    let large: Vec<Arc<TableObject>> = contents
        .large_objects
        .iter()
        .map(|id| request.key(&large_object(id)))
        .map(|key| Arc::new(TableObject::new(key, request.sizes, 1)))
        .collect();
    let queue = Arc::new(Mutex::new(work(contents, &tables, &large)?));
    let objects: Vec<Arc<TableObject>> = tables.iter().map(|(object, _)| object).chain(&large).cloned().collect();
    let copied = copy_all(request, coordinator, snapshot, &queue, token).await;
    let stored = match copied {
        Ok((whole, coordinator)) => complete(request, &objects, whole, token).await.map(|stored| (stored, coordinator)),
        Err(error) => Err(error),
    };
    let (stored, coordinator) = match stored {
        Ok(stored) => stored,
        Err(error) => {
            abort(request, &objects).await;
            return Err(error);
        }
    };
    let of_tables = contents.tables.iter().zip(&tables).map(|(data, (object, _))| to_table(data, object));
    let large_bytes = large.iter().map(|object| object.filled().count.bytes).sum();
    let copied = Copied {
        tables: of_tables.collect(),
        large_objects: LargeObjects { count: large.len() as u64, bytes: large_bytes },
        objects: stored,
    };
    Ok((copied, coordinator))
}

/// Everything that is to be done: large tables first, so that none of them is left alone at the end.
fn work(contents: &Contents, tables: &[Ranged], large: &[Arc<TableObject>]) -> Result<VecDeque<Work>, DumpError> {
    let mut sorted: Vec<(&Arc<TableData>, &Ranged)> = contents.tables.iter().zip(tables).collect();
    sorted.sort_by_key(|(table, _)| std::cmp::Reverse(table.bytes));
    let mut queue = VecDeque::new();
    for (table, (object, ranges)) in sorted {
        // A statement that cannot be made is told now, not when its turn comes.
        table.copy_statement(ranges.first().copied().flatten())?;
        queue.extend(ranges.iter().map(|pages| Work {
            object: Arc::clone(object),
            what: What::Rows { table: Arc::clone(table), pages: *pages },
        }));
    }
    let large = contents.large_objects.iter().zip(large);
    queue.extend(
        large.map(|(id, object)| Work { object: Arc::clone(object), what: What::LargeObject { id: id.clone() } }),
    );
    Ok(queue)
}

/// Objects that were small enough to be sent whole, and the coordinator's session.
type CopiedAll = (BTreeMap<ObjectKey, StoredObject>, Box<dyn Session>);

/// Runs the workers and the uploads beside them.
async fn copy_all(
    request: &ParallelRequest,
    coordinator: Box<dyn Session>,
    snapshot: &str,
    queue: &Queue,
    token: &CancellationToken,
) -> Result<CopiedAll, DumpError> {
    let (memory, slots) = (request.memory.memory(), request.memory.slots());
    let (sender, receiver) = mpsc::channel(memory.parts_in_flight);
    let outlet = Outlet {
        level: request.compression_level,
        slots: slots.clone(),
        outgoing: sender,
        runtime: Handle::current(),
        progress: Arc::clone(&request.progress),
    };
    let mark = end_mark(request.compression_level)?;
    let sessions = tokio::select! {
        sessions = enter(request, snapshot) => sessions?,
        () = token.cancelled() => return Err(DumpError::Cancelled),
    };
    let all = sessions.iter().chain([&coordinator]);
    let stoppers = all.map(|session| session.stopper()).collect::<Result<Vec<_>, PortError>>()?;
    let (locked_out, handed_over) = queue::channel();
    let mut crew = JoinSet::new();
    for (session, number) in sessions.into_iter().zip(1..) {
        let (queue, locked_out) = (Arc::clone(queue), locked_out.clone());
        let (outlet, mark, snapshot) = (outlet.clone(), mark.clone(), snapshot.to_owned());
        let name = format!("connection {number} of {}", memory.jobs);
        let mut worker = Worker { name, session, outlet, mark };
        crew.spawn_blocking(move || worker.run(&snapshot, &queue, &locked_out).map(|()| None));
    }
    drop(locked_out);
    let name = "the connection that holds the locks".to_owned();
    let mut coordinator = Worker { name, session: coordinator, outlet: outlet.clone(), mark };
    crew.spawn_blocking(move || coordinator.help(&handed_over).map(|()| Some(coordinator.session)));
    drop(outlet);
    // Threads wait for the server, for memory, or for more work: all of it ends here.
    let stop_all = || {
        slots.close();
        queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
        stoppers.iter().for_each(|stop| stop());
    };
    let mut uploading = Some(Box::pin(upload_all(request, receiver)));
    let (mut whole, mut failed, mut coordinator) = (BTreeMap::new(), None, None);
    while uploading.is_some() || !crew.is_empty() {
        let uploaded = async {
            match &mut uploading {
                Some(uploading) => uploading.await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            uploaded = uploaded => {
                uploading = None;
                uploaded.map(|stored| whole = stored)
            }
            Some(ended) = crew.join_next() => ended.unwrap_or(Err(DumpError::Panicked)).map(|own| {
                coordinator = own.or_else(|| coordinator.take());
            }),
            () = token.cancelled(), if failed.is_none() => Err(DumpError::Cancelled),
        };
        // The first trouble is the cause of those that follow.
        if let Err(error) = ended {
            stop_all();
            // Parts on their way are given up, with whatever a slow store makes them wait for; nobody waits to send any more.
            uploading = None;
            failed.get_or_insert(error);
        }
    }
    match (failed, coordinator) {
        (None, Some(coordinator)) => Ok((whole, coordinator)),
        (failed, _) => Err(failed.unwrap_or(DumpError::Panicked)),
    }
}

/// The workers' sessions, in the snapshot.
async fn enter(request: &ParallelRequest, snapshot: &str) -> Result<Vec<Box<dyn Session>>, DumpError> {
    let mut sessions = Vec::new();
    for _ in 0..request.memory.memory().jobs {
        let mut session = request.session().await?;
        let snapshot = snapshot.to_owned();
        let entering = blocking(move || {
            frozen::enter(session.as_mut(), &snapshot)?;
            Ok(session)
        });
        sessions.push(entering.await?);
    }
    Ok(sessions)
}

/// A session, and where what it reads goes.
struct Worker {
    name: String,
    session: Box<dyn Session>,
    outlet: Outlet,
    mark: Frames,
}

/// How a piece of work has ended.
enum Worked {
    Done,
    /// The lock of this table was not to be had, and nothing was read.
    LockedOut(String),
}

impl Worker {
    /// Works until nothing is left, and hands over what it gets no lock for.
    fn run(&mut self, snapshot: &str, queue: &Queue, locked_out: &queue::Sender<Work>) -> Result<(), DumpError> {
        while let Some(work) = next(queue) {
            if !work.object.is_locked_out() {
                match self.work_named(&work)? {
                    Worked::Done => continue,
                    Worked::LockedOut(_) => {
                        work.object.lock_out();
                        frozen::enter_again(self.session.as_mut(), snapshot)?;
                    }
                }
            }
            if locked_out.send(work).is_err() {
                // The coordinator has ended before its time, and says why.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Does what the workers hand over, until the last of them has ended.
    fn help(&mut self, handed_over: &queue::Receiver<Work>) -> Result<(), DumpError> {
        while let Ok(work) = handed_over.recv() {
            if let Worked::LockedOut(tables) = self.work_named(&work)? {
                return Err(DumpError::Locked { tables, timeout: LOCK_TIMEOUT });
            }
        }
        Ok(())
    }

    /// Works, and says who could not go on with what.
    fn work_named(&mut self, work: &Work) -> Result<Worked, DumpError> {
        self.work(work).map_err(|error| DumpError::Worker {
            connection: self.name.clone(),
            what: work.what.to_string(),
            error: Box::new(error),
        })
    }

    fn work(&mut self, work: &Work) -> Result<Worked, DumpError> {
        let session = self.session.as_mut();
        let mut writer = RangeWriter::new(&self.outlet, &work.object);
        match &work.what {
            What::Rows { table, pages } => {
                let copied = match session.copy_out(&table.locked_copy_statement(*pages)?, &mut writer) {
                    Err(error) if error.kind() == ErrorKind::WrongState && writer.is_untouched() => {
                        return Ok(Worked::LockedOut(table.name()));
                    }
                    copied => copied?,
                };
                let count = writer.finish(&self.mark).map_err(|error| DumpError::Compress(error.into()))?;
                if copied != count.rows {
                    return Err(DumpError::RowsDiffer { table: table.name(), copied, counted: count.rows });
                }
            }
            What::LargeObject { id } => {
                frozen::read_large_object(session, id, |bytes| {
                    writer.take_bytes(bytes).map_err(|error| DumpError::Compress(error.into()))
                })?;
                writer.finish_bytes().map_err(|error| DumpError::Compress(error.into()))?;
            }
        }
        Ok(Worked::Done)
    }
}

/// Uploads what the workers send, as it comes, until they are done.
async fn upload_all(
    request: &ParallelRequest,
    mut outgoing: mpsc::Receiver<Permitted>,
) -> Result<BTreeMap<ObjectKey, StoredObject>, DumpError> {
    let mut whole = BTreeMap::new();
    let mut uploads = FuturesUnordered::new();
    let mut keep = |stored: Option<StoredObject>| whole.extend(stored.map(|own| (own.key.clone(), own)));
    loop {
        tokio::select! {
            permitted = outgoing.recv() => match permitted {
                Some(permitted) => uploads.push(upload(request, permitted)),
                None => break,
            },
            Some(stored) = uploads.next() => keep(stored?),
        }
    }
    while let Some(stored) = uploads.next().await {
        keep(stored?);
    }
    Ok(whole)
}

async fn upload(request: &ParallelRequest, permitted: Permitted) -> Result<Option<StoredObject>, DumpError> {
    let Permitted { object, outgoing, slot } = permitted;
    request.bandwidth.pass(outgoing.size_bytes()).await;
    let stored = match outgoing {
        Outgoing::Part(part) => {
            let size_bytes = part.size_bytes;
            let begin = request.store.create_upload(&object.key);
            let upload = object.upload.get_or_try_init(|| begin).await?;
            object.received(request.store.upload_part(upload, part).await?);
            request.progress.add_stored(size_bytes);
            None
        }
        Outgoing::Whole(segments) => {
            let bytes = bytes::Bytes::from(segments.concat());
            drop(segments);
            let size_bytes = bytes.len() as u64;
            let put = put_new(request.store.as_ref(), object.key.clone(), bytes, request.kms_key.as_deref());
            let stored = put.await?;
            request.progress.add_stored(size_bytes);
            Some(stored)
        }
    };
    drop(slot);
    Ok(stored)
}

/// Makes every object visible, and asks the store what it has of each.
async fn complete(
    request: &ParallelRequest,
    objects: &[Arc<TableObject>],
    mut whole: BTreeMap<ObjectKey, StoredObject>,
    token: &CancellationToken,
) -> Result<Vec<StoredObject>, DumpError> {
    let in_parts: Vec<Arc<TableObject>> =
        objects.iter().filter(|object| object.upload.get().is_some()).cloned().collect();
    let mut completed = futures_util::stream::iter(in_parts)
        .map(|object| async move {
            if let Some(upload) = object.upload.get() {
                request.store.complete_upload(upload, object.whole()).await?;
            }
            let sent = object.filled().sent;
            check_stored(request.store.as_ref(), &object.key, &sent, request.kms_key.as_deref()).await
        })
        .buffer_unordered(ASKED_AT_ONCE);
    loop {
        tokio::select! {
            stored = completed.next() => match stored {
                Some(stored) => {
                    let stored = stored?;
                    whole.insert(stored.key.clone(), stored);
                }
                None => break,
            },
            () = token.cancelled() => return Err(DumpError::Cancelled),
        }
    }
    let in_order = objects.iter().map(|object| {
        let stored = whole.remove(&object.key).filter(|_| object.has_all_ranges());
        stored.ok_or_else(|| {
            let cause = "not all of it was stored: this is a bug in strongroom";
            DumpError::Port(PortError::new(format!("store {}", object.key), ErrorKind::Other).because(cause))
        })
    });
    in_order.collect()
}

/// Drops what was begun.
async fn abort(request: &ParallelRequest, objects: &[Arc<TableObject>]) {
    for upload in objects.iter().filter_map(|object| object.upload.get()) {
        // A failed abort leaves parts that the planner finds: the run is over, the upload still open.
        if let Err(error) = request.store.abort_upload(upload).await {
            tracing::warn!(dump.key = %upload.key, error = %Chain(&error), "an upload stays open until the next round aborts it");
        }
    }
}

fn to_table(data: &TableData, object: &TableObject) -> (Table, RowCount) {
    let filled = object.filled();
    let table = Table {
        dump_id: data.entry.dump_id,
        schema: data.entry.namespace.clone(),
        name: data.entry.tag.clone(),
        rows: filled.count.rows,
        bytes: filled.count.bytes,
        hash: Some(filled.count.hash_hex()),
        parts: filled.index,
    };
    (table, filled.count)
}
