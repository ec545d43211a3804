//! What the compiler and clippy cannot refuse: who may name whom, and how files are made. Each rule is a test, and its
//! failure says where and what to do instead.

use crate::source::{Source, files, places, root, shipped_src, src};

/// A module and the modules below it: those that it may name.
struct Layer(&'static str, &'static [&'static str]);

/// ARCHITECTURE's arrows. The lower a module stands, the fewer it knows.
const LAYERS: &[Layer] = &[
    Layer("domain", &[]),
    Layer("policy", &["domain"]),
    Layer("plan", &["domain", "policy"]),
    Layer("ports", &["domain"]),
    Layer("config", &["domain", "policy", "ports"]),
    Layer("collect", &["domain", "policy", "ports"]),
    Layer("dump", &["domain", "ports"]),
    Layer("restore", &["domain", "ports", "dump"]),
    Layer("recover", &["domain", "ports", "dump", "restore"]),
    Layer("execute", &["domain", "policy", "plan", "ports", "dump", "restore"]),
    Layer("reconcile", &["domain", "policy", "plan", "ports", "collect", "execute"]),
    Layer("adapters", &["domain", "ports"]),
    Layer("telemetry", &["domain", "policy", "plan", "ports"]),
    Layer(
        "daemon",
        &[
            "domain",
            "policy",
            "plan",
            "ports",
            "config",
            "collect",
            "execute",
            "recover",
            "reconcile",
            "adapters",
            "telemetry",
        ],
    ),
    Layer(
        "cli",
        &[
            "domain",
            "policy",
            "plan",
            "ports",
            "config",
            "collect",
            "dump",
            "restore",
            "execute",
            "recover",
            "telemetry",
            "daemon",
        ],
    ),
];

/// Modules that decide and do nothing else.
const PURE: [&str; 3] = ["domain", "policy", "plan"];

/// Names of everything that waits, does, or differs from one call to the next.
const IMPURE: [&str; 14] = [
    "tokio::",
    "tracing::",
    "aws_",
    "async fn",
    "async move",
    ".await",
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::",
    "::now()",
];

const LINES_MAX: usize = 500;
const MAIN_LINES_MAX: usize = 60;

/// Where our own code is; `scripts` has no extension.
const OURS: [&str; 5] = ["src", "tests", "benches", "scripts", "config"];

#[track_caller]
fn none(violations: Vec<String>, advice: &str) {
    assert!(violations.is_empty(), "{advice}\n{}", violations.join("\n"));
}

#[test]
fn each_module_names_only_the_modules_below_it() {
    let mut violations = Vec::new();
    for source in shipped_src().iter().filter(|source| !["lib", "main"].contains(&source.module())) {
        let module = source.module();
        let Some(Layer(_, below)) = LAYERS.iter().find(|Layer(name, _)| *name == module) else {
            violations.push(format!("  {}: module `{module}` has no row in LAYERS (tests/it/tidy.rs)", source.path));
            continue;
        };
        let outside = |name: &str| name != module && !below.contains(&name);
        violations.extend(places(source, &source.shipped(), |line| named_modules(line).any(outside)));
    }
    none(
        violations,
        "ARCHITECTURE's arrows point one way. Move what is needed to a lower module, or pass it in as an argument:",
    );
}

/// The crate's modules that a line names by `crate::`; `{` for a group of several.
fn named_modules(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("crate::").map(|(at, path)| {
        let rest = &line[at + path.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 { "{" } else { &rest[..end] }
    })
}

#[test]
fn no_path_climbs_out_of_its_module() {
    let mut violations = Vec::new();
    for source in shipped_src().iter().filter(|source| !["lib", "main"].contains(&source.module())) {
        // From depth 1 a single `super` is the crate's root, where every module can be named.
        let escape = "super::".repeat(source.depth());
        violations.extend(places(source, &source.shipped(), |line| line.contains(&escape)));
    }
    none(violations, "Name other modules by `crate::`, so that the rule above sees them:");
}

#[test]
fn the_core_does_no_io_reads_no_clock_and_never_waits() {
    let mut violations = Vec::new();
    for source in shipped_src().iter().filter(|source| PURE.contains(&source.module())) {
        violations.extend(places(source, &source.shipped(), |line| IMPURE.iter().any(|word| line.contains(word))));
    }
    none(
        violations,
        "domain, policy and plan are values and functions of their arguments. Take what is needed as an argument, or do it \
         in collect or execute:",
    );
}

#[test]
fn only_the_adapters_name_an_sdk() {
    let mut violations = Vec::new();
    for source in src().iter().filter(|source| source.module() != "adapters") {
        let names_sdk = |line: &str| ["aws_sdk", "aws_config", "aws_smithy"].iter().any(|name| line.contains(name));
        violations.extend(places(source, &source.code, names_sdk));
    }
    none(violations, "Put this behind a port: a trait in src/ports in words of the domain, done in src/adapters:");
}

#[test]
fn only_the_configuration_reads_the_environment() {
    let mut violations = Vec::new();
    for source in shipped_src().iter().filter(|source| source.module() != "config") {
        violations
            .extend(places(source, &source.shipped(), |line| line.contains("std::env") || line.contains("env::var")));
    }
    none(violations, "Read it in src/config and hand the value on, so that `strongroom config show` tells the truth:");
}

#[test]
fn no_file_is_longer_than_its_reader_can_hold() {
    let of_ours = files(&OURS, &["rs", "py", "sql", "toml", ""]);
    let long = of_ours.iter().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > LINES_MAX).then(|| format!("  {}: {lines} lines", source.path))
    });
    none(
        long.collect(),
        &format!("Files end at {LINES_MAX} lines, and are better at 400. Split by what is said together:"),
    );
}

#[test]
fn the_program_is_a_thin_shell_over_the_library() {
    let lines = files(&["src"], &["rs"])
        .iter()
        .find(|source| source.path == "src/main.rs")
        .map(|main| main.text.lines().count());
    assert!(
        lines.is_some_and(|lines| lines <= MAIN_LINES_MAX),
        "src/main.rs parses, dispatches and maps to an exit code, in {MAIN_LINES_MAX} lines: move the rest to src/cli"
    );
}

#[test]
fn a_module_is_the_file_that_bears_its_name() {
    let unnamed = files(&["src", "tests", "benches"], &["rs"]);
    let unnamed = unnamed.iter().filter(|source| source.path.ends_with("/mod.rs"));
    none(unnamed.map(|source| format!("  {}", source.path)).collect(), "Rename `foo/mod.rs` to `foo.rs`:");
}

#[test]
fn each_module_says_what_it_is_for() {
    let silent = shipped_src();
    let silent = silent.iter().filter(|source| !source.text.starts_with("//!"));
    none(
        silent.map(|source| format!("  {}:1", source.path)).collect(),
        "Begin with `//!`: what the module is for, and what it deliberately does not do:",
    );
}

#[test]
fn an_exception_to_a_lint_says_why_and_ends_when_it_is_not_needed() {
    let mut violations = Vec::new();
    for source in files(&["src", "tests", "benches"], &["rs"]) {
        violations
            .extend(places(&source, &source.code, |line| line.contains("#[allow(") || line.contains("#![allow(")));
    }
    none(violations, "Write `#[expect(lint, reason = \"…\")]`, which complains once the lint no longer fires:");
}

#[test]
fn nothing_that_ships_unwraps() {
    let mut violations = Vec::new();
    for source in shipped_src() {
        violations.extend(places(&source, &source.shipped(), |line| line.contains(".unwrap()")));
    }
    none(violations, "Return an error, or state the invariant that makes it impossible with `expect`:");
}

#[test]
fn every_table_of_the_configuration_refuses_unknown_keys() {
    let mut violations = Vec::new();
    for source in src().iter().filter(|source| source.path.starts_with("src/config/raw")) {
        for (at, _) in source.code.match_indices("struct ").filter(|(at, _)| begins_word(&source.code, *at)) {
            let before = &source.code[..at];
            let attributes = &before[before.rfind(['}', ';']).unwrap_or(0)..];
            if !attributes.contains("deny_unknown_fields") {
                violations.push(place(source, at));
            }
        }
    }
    none(
        violations,
        "Add `#[serde(deny_unknown_fields)]`: a misspelt key must not be a setting that silently is not made:",
    );
}

fn begins_word(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_')
}

fn place(source: &Source, at: usize) -> String {
    let line = source.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
    format!("  {}:{}: {}", source.path, line + 1, source.text.lines().nth(line).unwrap_or_default().trim())
}

#[test]
fn what_is_left_to_do_has_an_issue() {
    // In two pieces, or this file would be its own first finding.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut violations = Vec::new();
    for source in files(&OURS, &["rs", "py", "sql", "toml", "md", ""]) {
        let orphan = |line: &str| {
            marks.iter().any(|mark| {
                let after = line.split_once(mark).map(|(_, after)| after);
                after.is_some_and(|after| !after.strip_prefix("(#").is_some_and(|id| id.starts_with(char::is_numeric)))
            })
        };
        violations.extend(places(&source, &source.text, orphan));
    }
    none(violations, "Do it, or file an issue and write its number behind the mark, as `(#12)`:");
}

#[test]
fn no_test_is_switched_off() {
    let mut violations = Vec::new();
    for source in files(&["src", "tests"], &["rs"]) {
        violations.extend(places(&source, &source.code, |line| line.contains("#[ignore")));
    }
    none(violations, "Mend the test or remove it: what does not run proves nothing:");
}

#[test]
fn tools_keep_their_settings_out_of_sight() {
    let visible = ["clippy.toml", "rustfmt.toml", "deny.toml", "rust-toolchain.toml"];
    let seen = visible.iter().filter(|name| root().join(name).exists());
    none(seen.map(|name| format!("  {name}")).collect(), "Put a dot before the name: the top level is for readers:");
}
