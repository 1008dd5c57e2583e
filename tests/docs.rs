//! The documents keep up with the code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

/// Every `code` that an answer can carry stands in the table of the API's page, and none stands there that doesn't exist.
#[test]
fn every_error_code_is_documented() {
    let mut used = BTreeSet::new();
    for file in ["src/api", "src/domain"] {
        collect(Path::new(file), &mut used);
    }
    assert!(used.len() > 30, "the codes are found: {used:?}");
    let page = std::fs::read_to_string("docs/api.md").unwrap();
    let (_, table) = page.split_once("| status | `code` |").unwrap();
    let documented: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.split('|').nth(2))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned))
        .collect();
    let missing: Vec<_> = used.difference(&documented).collect();
    let obsolete: Vec<_> = documented.difference(&used).collect();
    assert!(missing.is_empty() && obsolete.is_empty(), "not documented: {missing:?}; documented only: {obsolete:?}");
}

/// Every metric stands in the table of the metrics' page, and none stands there that doesn't exist.
#[test]
fn every_metric_is_documented() {
    let source = std::fs::read_to_string("src/meter.rs").unwrap();
    let source = source.split("#[cfg(test)]").next().unwrap();
    let made: BTreeSet<&str> = source.split('"').filter(|text| text.starts_with("hookledger_")).collect();
    let page = std::fs::read_to_string("docs/metrics.md").unwrap();
    let row = |line: &str| line.strip_prefix("| `")?.split(['`', '{']).next().map(ToOwned::to_owned);
    let documented: BTreeSet<String> = page.lines().filter_map(row).collect();
    assert!(made.len() > 10, "{made:?}");
    assert_eq!(made, documented.iter().map(String::as_str).collect());
}

/// A code is the string after the words that make a problem, an invalid field or a conflict.
fn collect(path: &Path, used: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), used);
        }
        return;
    }
    let source = std::fs::read_to_string(path).unwrap();
    let source = source.split("#[cfg(test)]").next().unwrap();
    if path.components().any(|part| part.as_os_str() == "tests") {
        return;
    }
    for maker in [
        "Invalid::new(",
        "Problem::invalid(",
        "Self::invalid(",
        "Problem::malformed(",
        "Self::new(",
        "Problem::new(",
        "code: \"",
        "=> (StatusCode::",
    ] {
        for (start, _) in source.match_indices(maker) {
            let rest = &source[start..];
            let call = &rest[..rest.find(';').unwrap_or(rest.len())];
            used.extend(call.split('"').skip(1).step_by(2).filter(|text| is_code(text)).take(1).map(ToOwned::to_owned));
        }
    }
}

fn is_code(text: &str) -> bool {
    const FIELDS: [&str; 17] = [
        "at",
        "batch_id",
        "event",
        "input_file_id",
        "output_file_id",
        "error_file_id",
        "output_expires_after",
        "completion_window",
        "metadata",
        "priority",
        "status",
        "errors",
        "endpoint",
        "id",
        "after",
        "limit",
        "webhook",
    ];
    let word = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !text.is_empty();
    word && !FIELDS.contains(&text)
}
