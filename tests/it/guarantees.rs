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

/// The text of every source file.
fn sources(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => std::fs::read_to_string(path).unwrap(),
    };
    entries.map(text).collect()
}

/// A mutant that no longer fits the source proves nothing.
#[test]
fn every_mutant_takes_out_what_is_there_and_names_tests_that_exist() {
    let mut names = std::collections::BTreeSet::new();
    let sources = sources(&root().join("src"));
    let unit = |path: &str| {
        let name = path.trim_end_matches("::").rsplit("::").next().unwrap();
        sources.contains(&format!("fn {name}(")) || sources.contains(&format!("mod {name}"))
    };
    for list in std::fs::read_dir(root().join("tests/mutants")).unwrap() {
        let list = list.unwrap().path();
        if list.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let read: toml::Table = std::fs::read_to_string(&list).unwrap().parse().unwrap();
        for mutant in read["mutant"].as_array().unwrap() {
            let text = |key: &str| mutant[key].as_str().unwrap();
            let name = text("name");
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            let source = std::fs::read_to_string(root().join(text("file"))).unwrap();
            assert_eq!(source.matches(text("from")).count(), 1, "{name}: {} has its text once", text("file"));
            assert!(text("from") != text("to") && !text("rule").is_empty(), "{name}");
            let tests = mutant["fails"].as_array().unwrap();
            assert!(!tests.is_empty(), "{name} names no test");
            for test in tests.iter().filter_map(toml::Value::as_str) {
                let there = match test.strip_prefix("lib:") {
                    Some(path) => unit(path),
                    None => exists(test.trim_end_matches("::")),
                };
                assert!(there, "{name} names a test that is not there: {test}");
            }
        }
    }
    assert!(names.len() > 300, "{}", names.len());
}
