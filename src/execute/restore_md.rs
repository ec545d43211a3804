//! `RESTORE.md`: how to restore a dump with nothing but stock tools. The tool lost must not be the backup lost.

use crate::domain::manifest::{Engine, Manifest};

/// One archive.
fn check_archive(sha256: &str) -> String {
    format!("echo '{sha256}  archive.dump.zst' | sha256sum --check\nzstd --decompress archive.dump.zst")
}

/// A directory: `pg_restore` takes the files as they are where it was built with zstd (16 and newer), and without their
/// compression everywhere. The manifest names the SHA-256 of each.
fn check_directory(bucket: &str, directory: &str) -> String {
    let dump = directory.rsplit_once('/').map_or("", |(dump, _)| dump);
    format!(
        "aws s3 cp s3://{bucket}/{dump}/manifest.json ..
jq --raw-output '.objects[] | .sha256 + \"  \" + (.key | split(\"/\") | last)' \\
  ../manifest.json | sha256sum --check
find . -name '*.zst' -print0 | xargs --null --max-args 100 zstd --decompress --rm --quiet"
    )
}

/// Said where the client is newer than the server.
const NEWER_CLIENT: &str = "\
This dump was made by a pg_dump that is newer than the server. Where the target is as old as the server, each connection of
pg_restore may report that a setting is unknown (`unrecognized configuration parameter \"transaction_timeout\"`) and go on, and
in the end it says `errors ignored on restore` with status 1. That error does no harm; any other does.

";

/// The major version in `15.18` or `pg_dump (PostgreSQL) 17.6`.
fn major(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
}

/// The moment of the data, and of what it is that.
fn moment(manifest: &Manifest) -> String {
    match &manifest.from_snapshot {
        Some(snapshot) => format!("{}, the moment of snapshot `{snapshot}`", manifest.snapshot_at),
        None => manifest.snapshot_at.to_string(),
    }
}

/// The instructions for one dump.
pub(super) fn restore_md(manifest: &Manifest, bucket: &str) -> String {
    let archive = manifest.objects.first();
    let key = archive.map_or("", |object| object.key.as_str());
    let directory = key.rsplit_once('/').map_or("", |(directory, _)| directory);
    let check = match manifest.engine {
        Engine::PgDump => check_archive(archive.map_or("", |object| object.sha256.as_str())),
        Engine::Parallel => check_directory(bucket, directory),
    };
    let restored = match manifest.engine {
        Engine::PgDump => "archive.dump",
        Engine::Parallel => ".",
    };
    // A newer client makes settings that an older server does not know; that one error must not end the restore.
    let (stop, newer) = match (major(&manifest.versions.server), major(&manifest.versions.pg_dump)) {
        (Some(server), Some(client)) if client > server => ("", NEWER_CLIENT),
        _ => (" --exit-on-error", ""),
    };
    let kms = match archive.and_then(|object| object.kms_key.as_deref()) {
        Some(key) => format!("Downloading needs `kms:Decrypt` on `{key}`.\n"),
        None => String::new(),
    };
    let extensions: Vec<String> =
        manifest.extensions.iter().map(|extension| format!("{} {}", extension.name, extension.version)).collect();
    format!(
        "# How to restore this dump without strongroom

Database `{database}` of instance `{instance}` (`{resource}`), as it was at {moment}.
{rows} rows in {tables} tables, {large_objects} large objects, {uncompressed} bytes before compression.

| made by | version |
|---|---|
| server | {server} |
| pg_dump | {pg_dump} |
| archive format | {archive_version} |

`pg_restore` must be of the same major version as that pg_dump, or newer. The target server should be of the same major
version as the server, or newer, and needs these extensions: {extensions}.
{kms}
## 1. Download and check

```sh
aws s3 cp --recursive s3://{bucket}/{directory}/ restore/
cd restore
{check}
```

## 2. Roles

Passwords are not in the dump: set them after the restore. Roles that exist are left as they are.

```sh
psql --host HOST --username MASTER --dbname postgres --set ON_ERROR_STOP=1 --file globals.sql
```

If psql stops because the database does not exist, run the file again after `createdb`.

## 3. Restore

```sh
createdb --host HOST --username MASTER TARGET
pg_restore --host HOST --username MASTER --dbname TARGET --jobs 4{stop} {restored}
psql --host HOST --username MASTER --dbname TARGET --command 'ANALYZE'
```

{newer}Add `--no-owner --no-privileges` where the roles are not wanted.

## 4. Compare

`manifest.json`, one directory up, has the exact number of rows of each table at the moment of the dump.
",
        database = manifest.dump.database,
        instance = manifest.instance,
        resource = manifest.resource,
        moment = moment(manifest),
        rows = manifest.rows,
        tables = manifest.tables.len(),
        large_objects = manifest.large_objects.count,
        uncompressed = manifest.uncompressed_bytes,
        server = manifest.versions.server,
        pg_dump = manifest.versions.pg_dump,
        archive_version = manifest.versions.archive,
        extensions = if extensions.is_empty() { "none".to_owned() } else { extensions.join(", ") },
    )
}
