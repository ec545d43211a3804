//! The workers: each reads ranges over a connection of its own until none is left, while their parts are uploaded.

use std::collections::{BTreeMap, VecDeque};
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
use crate::ports::postgres::Session;
use crate::ports::{Chain, ErrorKind, PortError};

/// Bytes of a page. A server that was built with others is split into other ranges, and is dumped as well.
const BLOCK_BYTES: u64 = 8192;
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
    Rows { table: String, statement: String },
    LargeObject { id: String },
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Rows { table, .. } => write!(f, "table {table}"),
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

/// Copies tables and large objects of a snapshot into objects of their own.
pub(super) async fn copy(
    request: &ParallelRequest,
    snapshot: &str,
    contents: &Contents,
    token: &CancellationToken,
) -> Result<Copied, DumpError> {
    let tables: Vec<Ranged> = contents
        .tables
        .iter()
        .map(|table| {
            let ranges = table.ranges((request.range_bytes / BLOCK_BYTES).max(1));
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
    let copied = copy_all(request, snapshot, &queue, token).await;
    let stored = match copied {
        Ok(whole) => complete(request, &objects, whole, token).await,
        Err(error) => Err(error),
    };
    let stored = match stored {
        Ok(stored) => stored,
        Err(error) => {
            abort(request, &objects).await;
            return Err(error);
        }
    };
    let of_tables = contents.tables.iter().zip(&tables).map(|(data, (object, _))| to_table(data, object));
    let large_bytes = large.iter().map(|object| object.filled().count.bytes).sum();
    Ok(Copied {
        tables: of_tables.collect(),
        large_objects: LargeObjects { count: large.len() as u64, bytes: large_bytes },
        objects: stored,
    })
}

/// Everything that is to be done: large tables first, so that none of them is left alone at the end.
fn work(contents: &Contents, tables: &[Ranged], large: &[Arc<TableObject>]) -> Result<VecDeque<Work>, DumpError> {
    let mut sorted: Vec<(&TableData, &Ranged)> = contents.tables.iter().zip(tables).collect();
    sorted.sort_by_key(|(data, _)| std::cmp::Reverse(data.pages));
    let mut queue = VecDeque::new();
    for (data, (object, ranges)) in sorted {
        for pages in ranges {
            let what = What::Rows { table: data.name(), statement: data.copy_statement(*pages)? };
            queue.push_back(Work { object: Arc::clone(object), what });
        }
    }
    let large = contents.large_objects.iter().zip(large);
    queue.extend(
        large.map(|(id, object)| Work { object: Arc::clone(object), what: What::LargeObject { id: id.clone() } }),
    );
    Ok(queue)
}

/// Runs the workers and the uploads beside them; returns the objects that were small enough to be sent whole.
async fn copy_all(
    request: &ParallelRequest,
    snapshot: &str,
    queue: &Queue,
    token: &CancellationToken,
) -> Result<BTreeMap<ObjectKey, StoredObject>, DumpError> {
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
    let mut sessions = Vec::new();
    for _ in 0..memory.jobs {
        let mut session = request.session().await?;
        let snapshot = snapshot.to_owned();
        sessions.push(
            blocking(move || {
                frozen::enter(session.as_mut(), &snapshot)?;
                Ok(session)
            })
            .await?,
        );
    }
    let stoppers = sessions.iter().map(|session| session.stopper()).collect::<Result<Vec<_>, PortError>>()?;
    let mut crew = JoinSet::new();
    for (session, worker) in sessions.into_iter().zip(1..) {
        let (queue, outlet, mark, workers) = (Arc::clone(queue), outlet.clone(), mark.clone(), memory.jobs);
        crew.spawn_blocking(move || {
            run(session, &queue, &outlet, &mark).map_err(|Stuck { what, error }| {
                let error = Box::new(error);
                DumpError::Worker { worker, workers, what, error }
            })
        });
    }
    drop(outlet);
    // Threads wait for the server, for memory, or for more work: all of it ends here.
    let stopping = CancellationToken::new();
    let stop_all = || {
        stopping.cancel();
        slots.close();
        queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
        stoppers.iter().for_each(|stop| stop());
    };
    let uploading = upload_all(request, receiver, &stopping);
    tokio::pin!(uploading);
    let (mut whole, mut failed) = (None, None);
    while whole.is_none() || !crew.is_empty() {
        let ended = tokio::select! {
            uploaded = &mut uploading, if whole.is_none() => match uploaded {
                Ok(stored) => {
                    whole = Some(stored);
                    continue;
                }
                Err(error) => {
                    whole = Some(BTreeMap::new());
                    Err(error)
                }
            },
            Some(ended) = crew.join_next() => ended.unwrap_or(Err(DumpError::Panicked)),
            () = token.cancelled(), if failed.is_none() => Err(DumpError::Cancelled),
        };
        // The first trouble is the cause of those that follow.
        if let Err(error) = ended {
            stop_all();
            failed.get_or_insert(error);
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(whole.unwrap_or_default()),
    }
}

/// Work that cannot be done.
struct Stuck {
    what: String,
    error: DumpError,
}

/// One worker.
fn run(mut session: Box<dyn Session>, queue: &Queue, outlet: &Outlet, mark: &Frames) -> Result<(), Stuck> {
    while let Some(Work { object, what }) = next(queue) {
        let writer = RangeWriter::new(outlet, &object);
        store(session.as_mut(), &what, writer, mark).map_err(|error| Stuck { what: what.to_string(), error })?;
    }
    Ok(())
}

fn store(session: &mut dyn Session, what: &What, mut writer: RangeWriter, mark: &Frames) -> Result<(), DumpError> {
    match what {
        What::Rows { table, statement } => {
            let copied = session.copy_out(statement, &mut writer)?;
            let counted = writer.finish(mark).map_err(|error| DumpError::Compress(error.into()))?.rows;
            if copied != counted {
                return Err(DumpError::RowsDiffer { table: table.clone(), copied, counted });
            }
        }
        What::LargeObject { id } => {
            frozen::read_large_object(session, id, |bytes| {
                writer.take_bytes(bytes).map_err(|error| DumpError::Compress(error.into()))
            })?;
            writer.finish_bytes().map_err(|error| DumpError::Compress(error.into()))?;
        }
    }
    Ok(())
}

/// Uploads what the workers send, as it comes, until they are done.
async fn upload_all(
    request: &ParallelRequest,
    mut outgoing: mpsc::Receiver<Permitted>,
    stopping: &CancellationToken,
) -> Result<BTreeMap<ObjectKey, StoredObject>, DumpError> {
    let mut whole = BTreeMap::new();
    let mut uploads = FuturesUnordered::new();
    let mut keep = |stored: Option<StoredObject>| whole.extend(stored.map(|own| (own.key.clone(), own)));
    loop {
        tokio::select! {
            permitted = outgoing.recv() => match permitted {
                Some(permitted) => uploads.push(upload(request, permitted, stopping)),
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

async fn upload(
    request: &ParallelRequest,
    permitted: Permitted,
    stopping: &CancellationToken,
) -> Result<Option<StoredObject>, DumpError> {
    let Permitted { object, outgoing, slot } = permitted;
    tokio::select! {
        () = request.bandwidth.pass(outgoing.size_bytes()) => {}
        () = stopping.cancelled() => return Err(DumpError::Cancelled),
    }
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
        whole.remove(&object.key).ok_or_else(|| {
            let cause = "it was not stored: this is a bug in strongroom";
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
