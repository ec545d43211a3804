//! Which files are read: those that are named, and the `*.toml` of directories that are named.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::diagnosis::{Diagnosis, Place};

/// Longest file: a thousand sources need a tenth of it, and a wrong path may lead to a dump.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A file and its text.
#[derive(Debug)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    /// The directory that was named, if it was not the file itself.
    pub(super) directory: Option<PathBuf>,
    pub(super) text: String,
}

/// Reads all files, in the order in which they apply.
pub(super) fn read_all(paths: &[PathBuf], diagnosis: &mut Diagnosis) -> Vec<ConfigFile> {
    if paths.is_empty() {
        diagnosis.report_at(
            Place::Nowhere,
            "",
            "no configuration is given",
            "name a file or directory with `--config`",
        );
    }
    let mut files = Vec::new();
    for path in paths {
        let directory = path.is_dir().then(|| path.clone());
        for path in expand(path, diagnosis) {
            match read(&path) {
                Ok(text) => files.push(ConfigFile { path, directory: directory.clone(), text }),
                Err(problem) => report(diagnosis, &path, problem),
            }
        }
    }
    files
}

/// A directory's files in the order of their names; a file is itself.
///
/// Hidden names are left out: Kubernetes keeps the files of a mounted ConfigMap in `..data`, and editors hide drafts.
fn expand(path: &Path, diagnosis: &mut Diagnosis) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let entries = match path.read_dir().and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) => {
            report(diagnosis, path, error.to_string());
            return Vec::new();
        }
    };
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let is_toml = |path: &Path| path.extension().is_some_and(|extension| extension == "toml");
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| is_toml(path) && !is_hidden(path) && !path.is_dir());
    files.sort();
    if files.is_empty() {
        report(diagnosis, path, "the directory holds no `*.toml`".to_owned());
    }
    files
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("longer than {} MiB: this is no configuration", FILE_BYTES_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())
}

fn report(diagnosis: &mut Diagnosis, path: &Path, problem: String) {
    let subject = format!("cannot read `{}`: {problem}", path.display());
    diagnosis.report_at(Place::Nowhere, "", subject, "");
}
