//! Several sessions that work through one list.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{RestoreError, Server};
use crate::domain::id::DatabaseName;
use crate::ports::PortError;
use crate::ports::postgres::Session;

/// Works through `items` with at most so many sessions; the first error ends all of them.
pub(super) async fn work_through<T: Send + 'static>(
    server: &Server,
    database: &DatabaseName,
    sessions_max: usize,
    items: Vec<T>,
    token: &CancellationToken,
    work: impl Fn(&mut dyn Session, T) -> Result<(), RestoreError> + Send + Sync + 'static,
) -> Result<(), RestoreError> {
    let mut sessions = Vec::new();
    for _ in 0..sessions_max.min(items.len()) {
        sessions.push(server.session(database).await?);
    }
    let stoppers = sessions.iter().map(|session| session.stopper()).collect::<Result<Vec<_>, PortError>>()?;
    let queue = Arc::new(Mutex::new(VecDeque::from(items)));
    let work = Arc::new(work);
    let mut crew = JoinSet::new();
    for mut session in sessions {
        let (queue, work) = (Arc::clone(&queue), Arc::clone(&work));
        crew.spawn_blocking(move || {
            while let Some(item) = next(&queue) {
                work(session.as_mut(), item)?;
            }
            Ok(())
        });
    }
    let mut failed = None;
    loop {
        let ended = tokio::select! {
            ended = crew.join_next() => match ended {
                Some(ended) => ended.unwrap_or(Err(RestoreError::Panicked)),
                None => return failed.map_or(Ok(()), Err),
            },
            () = token.cancelled(), if failed.is_none() => Err(RestoreError::Cancelled),
        };
        // The first trouble is the cause of those that follow.
        if let Err(error) = ended {
            queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
            stoppers.iter().for_each(|stop| stop());
            failed.get_or_insert(error);
        }
    }
}

fn next<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}
