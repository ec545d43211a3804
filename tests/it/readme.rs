//! The README is run, not believed: its configuration loads, its commands exist, its make targets and files are there.

use std::fs;
use std::io::Write;

use crate::cli::{strongroom, text};
use crate::source::root;

/// A fenced block of the README.
struct Block {
    language: String,
    line: usize,
    text: String,
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("there is a README.md")
}

fn blocks(language: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (number, line) in readme().lines().enumerate() {
        match (line.strip_prefix("```"), inside) {
            (Some(language), false) => {
                inside = true;
                found.push(Block { language: language.to_owned(), line: number + 1, text: String::new() });
            }
            (Some(_), true) => inside = false,
            (None, true) => {
                let block = found.last_mut().expect("a block was opened");
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    found.retain(|block| block.language == language);
    assert!(!found.is_empty(), "README.md has no block of ```{language}");
    found
}

/// Every command in blocks of `sh`, without prompts, comments and variables before it.
fn commands() -> Vec<(usize, Vec<String>)> {
    let mut all = Vec::new();
    for block in blocks("sh") {
        for (offset, line) in block.text.lines().enumerate() {
            let line = line.split(" #").next().unwrap_or_default().split(['|', '>']).next().unwrap_or_default();
            let words = line.split_whitespace().skip_while(|word| *word == "$" || word.contains('='));
            all.push((block.line + offset + 1, words.map(str::to_owned).collect()));
        }
    }
    all
}

fn calls_of(program: &str) -> Vec<(usize, Vec<String>)> {
    let calls: Vec<_> =
        commands().into_iter().filter(|(_, words)| words.first().is_some_and(|word| word == program)).collect();
    assert!(!calls.is_empty(), "README.md shows no call of {program}");
    calls
}

#[test]
fn the_readmes_configurations_are_good() {
    for block in blocks("toml") {
        let mut file = tempfile::Builder::new().suffix(".toml").tempfile().expect("there is a temporary directory");
        file.write_all(block.text.as_bytes()).expect("it can be written");
        let output = strongroom(&["--config", &file.path().to_string_lossy(), "check"]);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "the configuration at README.md:{}:\n{said}", block.line);
    }
}

#[test]
fn the_readmes_rights_are_json_that_can_be_copied() {
    for block in blocks("json") {
        let parsed = serde_json::from_str::<serde_json::Value>(&block.text);
        assert!(parsed.is_ok(), "README.md:{}: {parsed:?}", block.line);
    }
}

/// The IAM action of a request, where it is not called as the request is (Service Authorization Reference).
fn action(service: &str, operation: &str) -> String {
    let action = match operation {
        "CompleteMultipartUpload" | "CopyObject" | "CreateMultipartUpload" | "UploadPart" | "UploadPartCopy" => {
            "PutObject"
        }
        "DeleteObjects" => "DeleteObjectVersion",
        "GetBucketEncryption" => "GetEncryptionConfiguration",
        "GetBucketLifecycleConfiguration" => "GetLifecycleConfiguration",
        "GetBucketReplication" => "GetReplicationConfiguration",
        "GetObjectLockConfiguration" => "GetBucketObjectLockConfiguration",
        "GetPublicAccessBlock" => "GetBucketPublicAccessBlock",
        "HeadBucket" => "ListBucket",
        "HeadObject" => "GetObject",
        "ListMultipartUploads" => "ListBucketMultipartUploads",
        "ListObjectVersions" => "ListBucketVersions",
        same => same,
    };
    format!("{service}:{action}")
}

/// Every request that is counted by name, as the source lists them.
fn requests() -> Vec<(String, String)> {
    let source = fs::read_to_string(root().join("src/telemetry/metrics/aws.rs")).expect("the list is there");
    let list = source.split("];").next().expect("a part before the list's end").split("REQUESTS").last();
    let names = list.expect("the list has a name").split('"').skip(1).step_by(2);
    let (mut service, mut all) = ("", Vec::new());
    for name in names {
        if name.starts_with(|c: char| c.is_ascii_lowercase()) {
            service = name;
        } else {
            all.push((service.to_owned(), name.to_owned()));
        }
    }
    assert!(all.len() > 20, "the list was not understood: {all:?}");
    all
}

#[test]
fn the_readmes_rights_cover_every_request() {
    let rights: Vec<String> = blocks("json").into_iter().map(|block| block.text).collect();
    for (service, operation) in requests() {
        let action = format!("\"{}\"", action(&service, &operation));
        assert!(rights.iter().any(|text| text.contains(&action)), "{operation} needs {action}");
    }
}

#[test]
fn the_readmes_commands_exist() {
    for (line, words) in calls_of("strongroom") {
        // clap refuses what it does not know before it comes to `--help`.
        let mut arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        arguments.push("--help");
        let output = strongroom(&arguments);
        assert_eq!(output.status.code(), Some(0), "README.md:{line}: {words:?}\n{}", text(&output.stderr));
    }
}

#[test]
fn the_readmes_make_targets_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("there is a Makefile");
    for (line, words) in calls_of("make") {
        for target in words.iter().skip(1) {
            let rule = format!("\n{target}:");
            assert!(makefile.contains(&rule), "README.md:{line}: the Makefile has no target `{target}`");
        }
    }
}

#[test]
fn the_readmes_links_lead_to_files() {
    let readme = readme();
    let targets = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let broken: Vec<&str> = targets
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .filter(|target| !root().join(target).exists())
        .collect();
    assert!(broken.is_empty(), "README.md links to what is not there: {broken:?}");
}
