//! The repository's files as the rules of `tidy` read them. No parser: comments and the contents of literals are blanked,
//! what is left is matched as text. It errs towards finding too much, which a person then sees.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) struct Source {
    /// Path from the repository's root.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
    /// The same, line by line, without comments and without what stands in literals.
    pub(crate) code: String,
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.strip_prefix(root()).expect("only files of the repository are read");
        let code = blank(&text);
        Source { path: path.to_string_lossy().into_owned(), text, code }
    }

    /// The module below `src` that the file belongs to: `plan` for `src/plan.rs` and `src/plan/action.rs`.
    pub(crate) fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split(['/', '.']).next().unwrap_or(below)
    }

    /// How many modules deep the file is: 1 for `src/plan.rs`.
    pub(crate) fn depth(&self) -> usize {
        self.path.matches('/').count()
    }

    /// The code without its test modules.
    pub(crate) fn shipped(&self) -> String {
        let mut code = self.code.clone();
        while let Some(range) = test_item(&code) {
            let blanked: String = code[range.clone()].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            code.replace_range(range, &blanked);
        }
        code
    }

    /// Test modules in files of their own that this file declares, as paths without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = self.code.as_str();
        while let Some(range) = test_item(rest) {
            let item = &rest[range.clone()];
            if let Some(name) = item.strip_suffix(';').and_then(|item| item.rsplit(' ').next()) {
                let directory = self.path.trim_end_matches(".rs").trim_end_matches("/lib");
                found.push(format!("{directory}/{name}"));
            }
            rest = &rest[range.end..];
        }
        found
    }
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below some directories that has one of these extensions (`""` for none).
pub(crate) fn files(directories: &[&str], extensions: &[&str]) -> Vec<Source> {
    let mut paths = BTreeSet::new();
    for directory in directories {
        walk(&root().join(directory), &mut paths);
    }
    let wanted = |path: &&PathBuf| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned());
        extensions.contains(&extension.unwrap_or_default().as_str())
    };
    paths.iter().filter(wanted).map(|path| Source::read(path)).collect()
}

/// The Rust files below `src`.
pub(crate) fn src() -> Vec<Source> {
    files(&["src"], &["rs"])
}

/// The Rust files below `src` that are not tests from their first line to their last.
pub(crate) fn shipped_src() -> Vec<Source> {
    let all = src();
    let tests: Vec<String> = all.iter().flat_map(Source::test_modules).collect();
    let is_test = |source: &Source| {
        tests.iter().any(|module| {
            let rest = source.path.strip_prefix(module);
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    };
    all.into_iter().filter(|source| !is_test(source)).collect()
}

/// Places in a text, as `path:line: what stands there`.
pub(crate) fn places(source: &Source, text: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = text.lines().zip(source.text.lines()).enumerate();
    let found = lines.filter(|(_, (line, _))| wanted(line));
    found.map(|(number, (_, original))| format!("  {}:{}: {}", source.path, number + 1, original.trim())).collect()
}

fn walk(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Caches of tools, and what tests have written.
        if name.starts_with('.') || ["__pycache__", "snapshots"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.insert(path);
        }
    }
}

/// Where the first item stands that is compiled for tests only, its attribute included.
fn test_item(code: &str) -> Option<std::ops::Range<usize>> {
    let attributes = ["#[cfg(test)]", "#[cfg(any(test"];
    let start = attributes.iter().filter_map(|attribute| code.find(attribute)).min()?;
    let attribute_end = start + code[start..].find(']')?;
    let opening = attribute_end + code[attribute_end..].find(['{', ';'])?;
    if code[opening..].starts_with(';') {
        return Some(start..opening + 1);
    }
    let mut open = 0_usize;
    for (offset, c) in code[opening..].char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(start..opening + offset + 1);
        }
    }
    Some(start..code.len())
}

/// Replaces comments and the contents of literals by spaces; every line stays where it is.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            literal(rest, code.chars().next_back())
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// Length of the string or character literal that begins here; 0 if none does.
fn literal(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    if rest.starts_with('r') && !in_word {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = 2 + hashes;
            return rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len());
        }
    }
    // `'a'` and `'\n'` are characters, `'a` is a lifetime.
    let mut after = rest.strip_prefix('\'').unwrap_or_default().chars();
    match (after.next(), after.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(rest, '\''),
        _ => 0,
    }
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return offset + quote.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn only_what_the_compiler_sees_is_left_of_a_source() {
    let text = "let a = \"tokio::x\"; // aws_\nfn f<'a>(c: &'a str) { r#\"\"std::fs\"\"#; '\\''; '\"'; x }\n/* crate::ports\n */ y";
    let code = blank(text);
    assert_eq!(code.lines().count(), text.lines().count());
    for gone in ["tokio", "aws_", "std::fs", "crate", "\""] {
        assert!(!code.contains(gone), "{gone} is still in\n{code}");
    }
    for kept in ["let a = ", "fn f<'a>(c: &'a str) {", "x }", "y"] {
        assert!(code.contains(kept), "{kept} is missing in\n{code}");
    }
}

#[test]
fn test_modules_are_no_part_of_what_is_shipped() {
    let text =
        "mod a;\n#[cfg(test)]\nmod tests;\nfn f() {}\n#[cfg(test)]\nmod more {\n    fn g() { h() }\n}\nfn i() {}\n";
    let source = Source { path: "src/plan.rs".into(), text: text.into(), code: blank(text) };
    let shipped = source.shipped();
    let words: Vec<&str> = shipped.split_whitespace().collect();
    assert_eq!(words, ["mod", "a;", "fn", "f()", "{}", "fn", "i()", "{}"]);
    assert_eq!(source.test_modules(), ["src/plan/tests"]);
    assert_eq!(shipped.lines().count(), text.lines().count());
}
