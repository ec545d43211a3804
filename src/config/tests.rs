//! The loader from outside: files in, configuration or messages out.

mod good;
mod mistakes;
mod variables;

use std::path::{Path, PathBuf};

use super::*;

fn fixture(name: &str) -> PathBuf {
    // Relative, so that the messages in snapshots are the same everywhere.
    Path::new("tests/fixtures/config").join(name)
}

fn load(path: impl Into<PathBuf>) -> Result<Config, ConfigErrors> {
    Config::load(&[path.into()], Environment::default())
}

fn load_with(path: impl Into<PathBuf>, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::load(&[path.into()], variables.iter().copied().collect())
}

/// All files of a directory of fixtures, in the order of their names.
fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = directory.read_dir().unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
