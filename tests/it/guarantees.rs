//! The page of guarantees names tests that exist.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The file of a module below `tests/it`.
fn file_of(modules: &[&str]) -> Option<PathBuf> {
    let path = modules.iter().fold(root().join("tests/it"), |path, module| path.join(module));
    [path.with_extension("rs"), path.join("mod.rs")].into_iter().find(|file| file.exists())
}

/// Whether a path, as the test runner knows it, is a test's or a module's.
fn exists(path: &str) -> bool {
    let parts: Vec<&str> = path.split("::").collect();
    let Some((test, modules)) = parts.split_last() else { return false };
    let within = file_of(modules).and_then(|file| std::fs::read_to_string(file).ok());
    within.is_some_and(|text| text.contains(&format!("fn {test}("))) || file_of(&parts).is_some()
}

#[test]
fn every_guarantee_is_held_by_a_test_that_exists() {
    let page = std::fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').nth(1));
    let named: Vec<&str> = rows.filter_map(|cell| cell.trim().strip_prefix('`')?.strip_suffix('`')).collect();
    assert!(named.len() > 20, "{named:?}");
    let gone: Vec<&&str> = named.iter().filter(|path| !exists(path)).collect();
    assert!(gone.is_empty(), "docs/guarantees.md names tests that are not there: {gone:?}");
    assert!(!exists("kill::nobody") && !exists("nowhere::at_all"));
    let numbered: std::collections::BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.split([' ', '|']).next()).collect();
    for promise in 1..=9 {
        assert!(numbered.contains(promise.to_string().as_str()), "promise {promise} has no test");
    }
}
