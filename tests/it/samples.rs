//! The samples in `config` as their readers meet them: they load, none is forgotten, and editors know their keys.

use std::fs;
use std::path::Path;

use rstest::rstest;

use crate::cli::{strongroom, text};
use crate::source::{files, root};

/// Every sample: what `--config` names, from `config` on, and how `check` ends.
const SAMPLES: [(&[&str], i32); 5] = [
    (&["strongroom.toml"], 0),
    (&["demo.toml"], 0),
    // Its page asks for no token, which is a finding.
    (&["fleet.toml"], 3),
    (&["repository/base", "repository/overlays/production.toml"], 0),
    (&["repository/base", "repository/overlays/staging.toml"], 0),
];

#[test]
fn the_sample_configurations_load() {
    for (paths, code) in SAMPLES {
        let paths: Vec<String> = paths.iter().map(|path| format!("{}/config/{path}", root().display())).collect();
        let mut arguments: Vec<&str> = paths.iter().flat_map(|path| ["--config", path.as_str()]).collect();
        arguments.push("check");
        let output = strongroom(&arguments);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{paths:?}:\n{said}");
    }
}

#[test]
fn no_sample_configuration_is_forgotten() {
    let named: Vec<String> =
        SAMPLES.iter().flat_map(|(paths, _)| paths.iter()).map(|path| format!("config/{path}")).collect();
    for file in files(&["config"], &["toml"]) {
        let folder = Path::new(&file.path).parent().map(|folder| folder.to_string_lossy().into_owned());
        let is_loaded = named.iter().any(|name| *name == file.path || Some(name) == folder.as_ref());
        assert!(is_loaded, "{}: no sample names it or its directory; add it to SAMPLES", file.path);
    }
}

#[test]
fn every_sample_begins_with_its_schema() {
    for file in files(&["config"], &["toml"]) {
        let is_whole =
            SAMPLES.iter().any(|(paths, _)| matches!(paths, [path] if file.path == format!("config/{path}")));
        let wanted = if is_whole { "config/strongroom.schema.json" } else { "config/strongroom.part.schema.json" };
        let first_line = file.text.lines().next().unwrap_or_default();
        let named = first_line.strip_prefix("#:schema ").unwrap_or_else(|| panic!("{}: {first_line}", file.path));
        let folder = root().join(&file.path).parent().expect("a file is in a directory").to_owned();
        let named = fs::canonicalize(folder.join(named)).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        assert_eq!(named, fs::canonicalize(root().join(wanted)).expect("it is there"), "{}", file.path);
    }
}

#[rstest]
#[case::whole("config/strongroom.schema.json", &["config", "schema"])]
#[case::part("config/strongroom.part.schema.json", &["config", "schema", "--part"])]
fn the_published_schemas_are_those_that_the_binary_prints(#[case] path: &str, #[case] command: &[&str]) {
    let published = fs::read_to_string(root().join(path)).expect("it is there");
    let printed = text(&strongroom(command).stdout);
    assert!(published == printed, "write it anew: `strongroom {} > {path}`", command.join(" "));
}

#[test]
fn what_only_looks_like_a_slip_is_taken() {
    let folder = tempfile::tempdir().expect("there is room for a directory");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("it can be written");
    // What a webhook is posted may have `${…}` in it, which its receiver fills in.
    let base = r#"
        installation = "bank-prod"
        aws.region = "us-east-1"
        destination.bucket = "bank-backups"
        policies.weekly.snapshot = { schedule = "0 3 * * Sun", keep_weekly = 8 }
        sources.accounts = { instance = "bank-accounts", policy = "weekly" }
        [alerts.routes.chat]
        webhook = { secret = "strongroom/chat" }
        template = '{ "text": {{text}}, "by": "${USER}" }'
    "#;
    write("00-base.toml", base);
    // A file that changes the instance and nothing else is meant; one that defines the source once more is a copy.
    write("90-override.toml", "sources.accounts.instance = \"bank-accounts-blue\"\n");
    let path = folder.path().to_string_lossy().into_owned();
    let check = || strongroom(&["--config", path.as_str(), "check"]);
    let output = check();
    assert_ne!(output.status.code(), Some(2), "{}", text(&output.stderr));
    write("90-override.toml", "sources.accounts = { instance = \"bank-accounts-blue\", policy = \"weekly\" }\n");
    let output = check();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("has a source of this name already"), "{}", text(&output.stderr));
}
