//! Sources that two files of one directory define. Tables are merged, so the second file would take the place of the first:
//! somebody copied a file and forgot the name, and one of the two instances would be backed up no more.
//!
//! A file that changes the instance of a source and nothing else of what makes one is meant, and so is a layer of its own, which has
//! a `--config` of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Map, Value, ValueKind};

use super::diagnosis::{Diagnosis, join};
use super::files::ConfigFile;

/// The instances of sources, and the files that name them.
#[derive(Debug, Default)]
pub(super) struct Definitions(BTreeMap<(PathBuf, String), (PathBuf, String)>);

impl Definitions {
    /// Looks through a file whose values were just read, so that its places are those that hold.
    pub(super) fn see(&mut self, file: &ConfigFile, values: &Map<String, Value>, diagnosis: &mut Diagnosis) {
        let Some(directory) = &file.directory else { return };
        for (source, instance) in definitions(values) {
            let id = (directory.clone(), source.to_owned());
            match self.0.get(&id) {
                Some((first, other)) if !other.eq_ignore_ascii_case(instance) => {
                    report(source, other, first, diagnosis);
                }
                Some(_) => {}
                None => {
                    self.0.insert(id, (file.path.clone(), instance.to_owned()));
                }
            }
        }
    }
}

fn report(source: &str, instance: &str, first: &Path, diagnosis: &mut Diagnosis) {
    let key = format!("{}.instance", join("sources", source));
    let problem = format!("{} has a source of this name already, with instance `{instance}`", first.display());
    diagnosis.report(
        &key,
        problem,
        "give each source a name of its own, and put what changes one into a `--config` of its own",
    );
}

/// Sources and their instances, as far as a file defines them: with the policy that goes with them.
fn definitions(values: &Map<String, Value>) -> impl Iterator<Item = (&str, &str)> {
    let sources = values.get("sources").and_then(table).into_iter().flatten();
    let defined = sources.filter(|(_, keys)| table(keys).is_some_and(|keys| keys.contains_key("policy")));
    defined.filter_map(|(source, keys)| match &table(keys)?.get("instance")?.kind {
        ValueKind::String(instance) => Some((source.as_str(), instance.as_str())),
        ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::Table(_)
        | ValueKind::Array(_) => None,
    })
}

fn table(value: &Value) -> Option<&Map<String, Value>> {
    if let ValueKind::Table(table) = &value.kind { Some(table) } else { None }
}
