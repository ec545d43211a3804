//! Level 4: a dump is restored into a PostgreSQL of our own, which is thrown away, and what stands there is compared with what
//! was dumped.

use tokio_util::sync::CancellationToken;

use super::super::restore::{readable, restore_into};
use crate::daemon::Assembly;
use crate::domain::id::DatabaseName;
use crate::domain::inventory::StoredDump;
use crate::domain::verification::Verdict;
use crate::dump::archive::{ArchiveError, Section};
use crate::execute::Outcome;
use crate::ports::{Chain, ErrorKind, PortError};
use crate::restore::{RestoreError, RestoreRequest, Restored, Selection, Server, Target};

use std::sync::Arc;

/// Connections that load rows.
const JOBS: usize = 4;

/// What `pg_restore` says when something is missing on this machine: that is no fault of the dump.
const OF_THIS_MACHINE: [&str; 5] = [
    "is not available",
    "could not open extension control file",
    "could not access file",
    "could not load library",
    "invalid locale name",
];

/// Restores a dump, compares it, and records what was found.
pub(super) async fn restore(assembly: &Assembly, stored: &StoredDump, token: &CancellationToken) -> Outcome {
    let began_at = assembly.ports.clock.now();
    let server = match assembly.scratch.start().await {
        Ok(server) => server,
        Err(error) => return Outcome::Failed { error },
    };
    let request = request(assembly, stored, &server.endpoint(), server.login()).await;
    let ended = match request {
        Ok(request) => {
            let restored = Box::pin(restore_into(assembly, &request, token)).await;
            verdict(stored, &request, restored)
        }
        Err(error) => Err(error),
    };
    // Whatever came of it.
    server.stop().await;
    match ended {
        Ok(verdict) => assembly.executor.record_restored(stored, began_at, verdict).await,
        Err(error) => Outcome::Failed { error },
    }
}

async fn request(
    assembly: &Assembly,
    stored: &StoredDump,
    endpoint: &crate::domain::inventory::Endpoint,
    login: crate::ports::credentials::LoginRef,
) -> Result<RestoreRequest, PortError> {
    let ports = &assembly.ports;
    let database: DatabaseName = stored.dump.database.clone();
    let (manifest, objects, store) = readable(assembly, stored).await?;
    Ok(RestoreRequest {
        manifest,
        objects,
        store,
        server: Server::new(ports, login, endpoint.clone(), format!("strongroom/verify-{}", stored.dump.slot)),
        client: Arc::clone(&assembly.ports.pg_restore),
        clock: Arc::clone(&ports.clock),
        // A server of its own has a `postgres` of its own.
        target: Target {
            create: database != DatabaseName::maintenance(),
            database,
            roles: true,
            owners: true,
            privileges: true,
        },
        selection: Selection::default(),
        sections: vec![Section::PreData, Section::Data, Section::PostData],
        jobs: JOBS,
        compare: true,
    })
}

/// What a restore says of the dump; an error where it says nothing.
fn verdict(
    stored: &StoredDump,
    request: &RestoreRequest,
    restored: Result<Restored, RestoreError>,
) -> Result<Verdict, PortError> {
    let bad = |error: &RestoreError| Verdict::Bad { faults: vec![Chain(error).to_string()] };
    let failed = |error: RestoreError| {
        PortError::new(format!("restore {} here", stored.point.id), ErrorKind::Other).because(error)
    };
    match restored {
        Ok(restored) => Ok(Verdict::Good {
            objects: request.manifest.objects.len() as u64,
            bytes: request.manifest.stored_bytes,
            rows: restored.rows.unwrap_or(0),
        }),
        // That is the store's affair.
        Err(error @ RestoreError::Archive(ArchiveError::Read(_))) => Err(failed(error)),
        Err(error @ (RestoreError::Differs(_) | RestoreError::Damaged(_) | RestoreError::Archive(_))) => {
            Ok(bad(&error))
        }
        Err(error @ RestoreError::Client { .. }) if !is_of_this_machine(&Chain(&error).to_string()) => Ok(bad(&error)),
        Err(error) => Err(failed(error)),
    }
}

fn is_of_this_machine(error: &str) -> bool {
    OF_THIS_MACHINE.iter().any(|part| error.contains(part))
}
