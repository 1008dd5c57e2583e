//! Imports point one way, and what is said of files and functions holds: read off the source itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom. What is not in a row is not imported; `cli` and `main` may import everything.
const IMPORTS: [(&str, &[&str]); 18] = [
    ("domain", &[]),
    ("signature", &[]),
    ("suggestion", &[]),
    ("verify", &["signature"]),
    // Time as a value, which is the domain's.
    ("clock", &["domain"]),
    ("payload", &["domain"]),
    ("schedule", &["domain"]),
    ("log", &["clock", "domain"]),
    ("transport", &["clock", "domain"]),
    ("views", &["domain", "log"]),
    ("secrets", &["domain", "log"]),
    ("attempt", &["domain", "signature", "transport"]),
    ("meter", &["domain"]),
    ("engine", &["attempt", "domain", "log", "payload", "schedule", "secrets", "signature", "views"]),
    ("dispatch", &["attempt", "clock", "domain", "transport"]),
    (
        "runtime",
        &["clock", "dispatch", "domain", "engine", "log", "meter", "schedule", "signature", "transport", "views"],
    ),
    ("api", &["clock", "domain", "meter", "runtime", "signature", "suggestion", "views"]),
    ("config", &["suggestion"]),
];

/// Of `domain`, all that `clock` may import.
const OF_DOMAIN_FOR_THE_CLOCK: &str = "time";

/// Modules that may import everything: they put the rest together.
const SHELLS: [&str; 3] = ["cli", "lib", "main"];

/// Words that are only allowed in one file each.
const CONFINED: [(&str, &str); 4] = [
    ("SystemTime::now", "src/clock.rs"),
    ("Instant::now", "src/clock.rs"),
    ("thread::sleep", "src/clock.rs"),
    ("bincode::", "src/log/codec.rs"),
];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// A source file.
struct Source {
    /// From the root of the repository: `src/log/codec.rs`.
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Its module, as the parts of its path: `log`, `codec`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        path.strip_suffix(".rs").unwrap_or(path).split('/').collect()
    }

    fn is_test(&self) -> bool {
        self.module().contains(&"tests")
    }

    /// The lines of its program: without comments, literals and tests.
    fn program(&self) -> String {
        let plain = plain(&self.text);
        match plain.find("#[cfg(test)]\nmod ") {
            Some(tests) if !self.is_test() => plain[..tests].into(),
            _ => plain,
        }
    }
}

/// Source text with its comments and what is inside of its literals blanked out; lines stay lines.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kept, end) = match first {
            '/' if rest.starts_with("//") => ("", rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => ("", rest.find("*/").map_or(rest.len(), |at| at + 2)),
            '"' => ("\"\"", string_end(rest)),
            'r' if out.chars().next_back().is_none_or(|before| before == 'b' || !before.is_alphanumeric()) => {
                raw_string(rest)
            }
            '\'' => match char_end(rest) {
                Some(end) => ("' '", end),
                None => ("'", 1),
            },
            _ => (&rest[..first.len_utf8()], first.len_utf8()),
        };
        out.push_str(kept);
        out.extend(rest[..end].chars().filter(|c| *c == '\n' && kept != "\n"));
        rest = &rest[end..];
    }
    out
}

fn string_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// What is kept of a text that begins with `r`, and where a raw string ends, if it is one.
fn raw_string(text: &str) -> (&str, usize) {
    let hashes = text[1..].len() - text[1..].trim_start_matches('#').len();
    if !text[1 + hashes..].starts_with('"') {
        return ("r", 1);
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = hashes + 2;
    ("\"\"", text[body..].find(&close).map_or(text.len(), |at| body + at + close.len()))
}

/// Where a character literal ends; `None` for a lifetime.
fn char_end(text: &str) -> Option<usize> {
    let second = text[1..].chars().next()?;
    if second == '\\' {
        return text[3..].find('\'').map(|at| at + 4);
    }
    text[1 + second.len_utf8()..].starts_with('\'').then(|| second.len_utf8() + 2)
}

/// Every path from the crate's root that a program names, as far as it is written out: `domain::time::Timestamp`.
fn references(program: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in program.match_indices("crate::") {
        let named_before =
            program[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        // `$crate::` and `some_crate::` are not the root.
        if !named_before {
            expand("", &program[at + "crate::".len()..], &mut found);
        }
    }
    found
}

/// Reads one path or a group of paths. Gives where it ends.
fn expand<'a>(prefix: &str, text: &'a str, found: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            match rest.strip_prefix('}') {
                Some(rest) => return rest,
                None if rest.is_empty() => return rest,
                None => {
                    let after = expand(prefix, rest, found);
                    // Whatever this is, it is no path: it must not keep us here.
                    rest = if after.len() == rest.len() { &rest[rest.len().min(1)..] } else { after };
                }
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
    if let Some(deeper) = rest.strip_prefix("::") {
        return expand(&path, deeper, found);
    }
    if let Some(renamed) = rest.strip_prefix(" as ") {
        rest = renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    }
    if !path.is_empty() {
        found.insert(path);
    }
    rest
}

/// Paths that climb out of their module with `super`, resolved from the root: in `log::codec`, `super::super::x` is `x`.
fn climbs(source: &Source) -> BTreeSet<String> {
    let program = source.program();
    let module = source.module();
    let mut found = BTreeSet::new();
    for (at, _) in program.match_indices("super::") {
        if program[..at].ends_with("super::") || program[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let mut rest = &program[at..];
        let mut up = 0;
        while let Some(further) = rest.strip_prefix("super::") {
            (rest, up) = (further, up + 1);
        }
        // An inline module only makes the climb shorter, so this finds too much rather than too little.
        let parent = module[..module.len().saturating_sub(up)].join("::");
        expand(&parent, rest, &mut found);
    }
    found
}

fn check_imports(sources: &[Source]) -> Vec<String> {
    let table: BTreeMap<_, _> = IMPORTS.into_iter().collect();
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let top = source.module()[0];
        if SHELLS.contains(&top) {
            continue;
        }
        let Some(allowed) = table.get(top) else {
            faults.push(format!("{}: the module {top} is not in the table", source.path));
            continue;
        };
        for path in references(&source.program()).union(&climbs(source)) {
            let mut parts = path.split("::");
            let (imported, part) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let clock_only = top == "clock" && imported == "domain" && part != OF_DOMAIN_FOR_THE_CLOCK;
            if imported != top && (!allowed.contains(&imported) || clock_only) {
                faults.push(format!("{}: {top} must not import {path}", source.path));
            }
        }
    }
    faults
}

fn check_words(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let program = if source.is_test() { plain(&source.text) } else { source.program() };
        for (word, home) in CONFINED {
            if source.path != home && program.contains(word) {
                faults.push(format!("{}: {word} belongs into {home} alone", source.path));
            }
        }
        let words = |c: char| !c.is_alphanumeric() && c != '_';
        if plain(&source.text).split(words).any(|word| word == "unsafe") {
            faults.push(format!("{}: unsafe", source.path));
        }
    }
    faults
}

fn check_names(sources: &[Source]) -> Vec<String> {
    let bad = ["mod", "utils", "util", "common", "helpers", "misc"];
    let named = sources.iter().filter(|source| source.module().iter().any(|part| bad.contains(part)));
    named.map(|source| format!("{}: a file's name is the noun that it holds", source.path)).collect()
}

fn check_lengths(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let program = source.program();
        let lines = program.lines().count();
        if lines > FILE_LINES {
            faults.push(format!("{}: {lines} lines", source.path));
        }
        for (name, lines) in functions(&program).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES) {
            faults.push(format!("{}: {name} has {lines} lines", source.path));
        }
    }
    faults
}

/// Every function and the number of its lines, from its signature to its closing brace.
fn functions(program: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = program.lines().collect();
    let starts = lines.iter().enumerate().filter_map(|(at, line)| {
        let declared = line.trim_start();
        let (before, after) = declared.split_once("fn ")?;
        let qualifiers = ["pub", "pub(super)", "pub(crate)", "const", "async", "extern", "\"\""];
        let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        let is_declaration = before.split_whitespace().all(|word| qualifiers.contains(&word)) && !name.is_empty();
        is_declaration.then_some((at, name))
    });
    starts
        .filter_map(|(start, name)| {
            let mut depth = 0_usize;
            for (at, line) in lines.iter().enumerate().skip(start) {
                let opened = line.matches('{').count();
                depth = (depth + opened).checked_sub(line.matches('}').count())?;
                let ends = depth == 0 && (opened > 0 || line.contains('}') || line.trim_end().ends_with(';'));
                if ends {
                    return Some((name.to_owned(), at - start + 1));
                }
            }
            None
        })
        .collect()
}

fn sources() -> Vec<Source> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join("src"), &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        Source::new(&path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"), &text)
    };
    let sources: Vec<_> = paths.iter().map(read).collect();
    assert!(sources.len() > 30, "these are all of them");
    sources
}

#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn imports_point_one_way() {
    assert_none(&check_imports(&sources()));
}

#[test]
fn the_table_itself_has_no_cycle() {
    let mut done = BTreeSet::new();
    while done.len() < IMPORTS.len() {
        let next =
            IMPORTS.iter().find(|(name, imports)| !done.contains(name) && imports.iter().all(|i| done.contains(i)));
        done.insert(next.unwrap_or_else(|| panic!("a cycle beyond {done:?}")).0);
    }
    let imports = |of: &str| IMPORTS.iter().find(|(name, _)| *name == of).unwrap().1;
    assert!(!imports("engine").contains(&"dispatch") && !imports("dispatch").contains(&"engine"), "they never meet");
}

#[test]
fn time_storage_formats_and_unsafe_are_where_they_belong() {
    assert_none(&check_words(&sources()));
}

#[test]
fn files_are_named_after_what_they_hold() {
    assert_none(&check_names(&sources()));
}

#[test]
fn files_and_functions_are_short() {
    assert_none(&check_lengths(&sources()));
}

mod the_checker {
    use super::*;

    fn imports(path: &str, text: &str) -> Vec<String> {
        check_imports(&[Source::new(path, text)])
    }

    #[test]
    fn sees_every_form_of_an_import() {
        let paths = |text: &str| references(&plain(text)).into_iter().collect::<Vec<_>>();
        assert_eq!(paths("use crate::log::codec;"), ["log::codec"]);
        assert_eq!(
            paths("use crate::{log, views::{self, Views as V},\n  runtime::*};"),
            ["log", "runtime::*", "views::Views", "views::self"]
        );
        assert_eq!(paths("fn f() -> crate::engine::Engine { crate::views::x() }"), ["engine::Engine", "views::x"]);
        assert_eq!(paths("use $crate::a; use my_crate::b; // use crate::c;\nlet d = \"crate::d\";"), ["a"]);
    }

    #[test]
    fn finds_an_import_against_the_table() {
        for (path, text) in [
            ("src/domain/job.rs", "use crate::log::codec;"),
            ("src/domain.rs", "pub use crate::{\n    clock::Clock,\n};"),
            ("src/engine/ids.rs", "fn f() { crate::dispatch::go() }"),
            ("src/dispatch.rs", "use crate::engine::Engine;"),
            ("src/clock.rs", "use crate::domain::state::State;"),
            ("src/api/batches.rs", "use crate::engine::Engine;"),
            ("src/verify.rs", "use super::log::LogError;"),
            ("src/log/sled.rs", "use super::super::views;"),
            ("src/novelty.rs", ""),
        ] {
            assert_eq!(imports(path, text).len(), 1, "{path}: {text}");
        }
        for (path, text) in [
            ("src/engine/ids.rs", "use crate::engine::EngineError; use super::super::domain::id::Seq;"),
            ("src/clock.rs", "use crate::domain::time::Timestamp;"),
            ("src/domain/job.rs", "use super::id::JobId;\n#[cfg(test)]\nmod tests { use crate::log; }"),
            ("src/schedule/tests.rs", "use crate::runtime;"),
            ("src/cli/serve.rs", "use crate::api; use crate::engine;"),
        ] {
            assert_none(&imports(path, text));
        }
    }

    #[test]
    fn finds_words_outside_of_their_file() {
        let words = |path: &str, text: &str| check_words(&[Source::new(path, text)]).len();
        assert_eq!(words("src/runtime.rs", "let now = std::time::Instant::now();"), 1);
        assert_eq!(words("src/transport/ureq/tests.rs", "std::thread::sleep(pause);"), 1);
        assert_eq!(words("src/views.rs", "bincode::serde::encode_to_vec(x)"), 1);
        assert_eq!(words("src/views.rs", "unsafe { x() }"), 1);
        assert_eq!(words("src/clock.rs", "Instant::now()"), 0);
        assert_eq!(
            words("src/views.rs", "// Instant::now() is unsafe\n#![forbid(unsafe_code)]\nlet x = \"unsafe\";"),
            0
        );
    }

    #[test]
    fn finds_names_that_say_nothing() {
        for path in ["src/log/mod.rs", "src/utils.rs", "src/common/x.rs"] {
            assert_eq!(check_names(&[Source::new(path, "")]).len(), 1, "{path}");
        }
    }

    #[test]
    fn counts_lines_of_files_and_functions() {
        let body = |lines: usize| "    let c = ['{', \"}\"];\n".repeat(lines);
        let short = format!("fn short(x: &'static str) {{\n{}}}\n", body(68));
        let long = format!("impl X {{\n    pub const fn long(\n        &self,\n    ) {{\n{}    }}\n}}\n", body(70));
        assert_eq!(functions(&plain(&short)), [("short".into(), 70)]);
        assert_eq!(functions(&plain(&long)), [("long".into(), 74)]);
        assert_eq!(functions("trait T {\n    fn a(&self);\n    fn b(&self) {}\n}"), [("a".into(), 1), ("b".into(), 1)]);
        let lengths = |path: &str, text: &str| check_lengths(&[Source::new(path, text)]).len();
        assert_eq!((lengths("src/x.rs", &short), lengths("src/x.rs", &long)), (0, 1));
        assert_eq!(lengths("src/x.rs", &"\n".repeat(501)), 1);
        assert_eq!(lengths("src/x.rs", &"\n".repeat(500)), 0);
        let tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{}\n{long}}}\n", "\n".repeat(600));
        assert_eq!(lengths("src/x.rs", &tests) + lengths("src/x/tests.rs", &long), 0, "tests are exempt");
    }

    #[test]
    fn reads_source_as_a_compiler_would() {
        assert_eq!(plain("a // b\nc /* d\n */ e"), "a \nc \n e");
        assert_eq!(plain(r#"f("\"{", r"\", 'x', '\'', '\u{1f}', &'a str)"#), "f(\"\", \"\", ' ', ' ', ' ', &'a str)");
        assert_eq!(plain("r##\"crate::\"# {\"##;"), "\"\";");
        assert_eq!(plain("\"\n\n\"x"), "\"\"\n\nx");
    }
}
