//! The boundaries that `ARCHITECTURE.md` draws, held against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A source file and every path its code names, groups of `use` expanded.
struct Source {
    /// Relative to `src`.
    file: String,
    paths: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    files(&root().join("src"), &mut found);
    let read = |path: PathBuf| {
        let file = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned();
        Source { file, paths: paths(&std::fs::read_to_string(path).unwrap()) }
    };
    found.into_iter().map(read).collect()
}

/// Every `a::b::c` of a text without its comments; `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let mut found = BTreeSet::new();
    let mut rest = code.as_str();
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        rest = named(&rest[start..], "", &mut found);
    }
    found
}

/// Reads one path at the beginning of `text` and gives back what follows it.
fn named<'t>(text: &'t str, prefix: &str, found: &mut BTreeSet<String>) -> &'t str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let path = match prefix {
        "" => text[..end].to_owned(),
        _ => format!("{prefix}::{}", &text[..end]),
    };
    let rest = &text[end..];
    let Some(after) = rest.trim_start().strip_prefix("::") else {
        found.insert(path);
        return rest;
    };
    let after = after.trim_start();
    if let Some(mut group) = after.strip_prefix('{') {
        loop {
            group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            match group.chars().next() {
                Some(c) if c.is_ascii_alphabetic() || c == '_' => group = named(group, &path, found),
                Some('}') | None => return group.strip_prefix('}').unwrap_or(group),
                Some(c) => group = &group[c.len_utf8()..],
            }
        }
    }
    if after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return named(after, &path, found);
    }
    found.insert(path);
    after
}

fn within(path: &str, module: &str) -> bool {
    path == module || path.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"))
}

#[test]
fn paths_are_read_out_of_groups_and_expressions_and_not_out_of_comments() {
    let text = "use std::{fs, net::{TcpStream, *}}; // sqlx::query\n let x = crate::a::b(std::time::Instant::now());";
    let read = paths(text);
    for path in ["std::fs", "std::net::TcpStream", "crate::a::b", "std::time::Instant::now"] {
        assert!(read.contains(path), "{path} in {read:?}");
    }
    assert!(!read.iter().any(|path| path.contains("sqlx")), "{read:?}");
}

/// No I/O, no runtime, no clock: the core is a function of what it is given.
#[test]
fn the_domain_touches_nothing_outside_itself() {
    let outside = [
        "sqlx",
        "tokio",
        "axum",
        "reqwest",
        "hyper",
        "rustix",
        "tracing",
        "metrics",
        "std::fs",
        "std::net",
        "std::io",
        "std::env",
        "std::process",
        "std::thread",
        "std::time::SystemTime",
        "std::time::Instant",
    ];
    let mut wrong = Vec::new();
    let domain = sources().into_iter().filter(|source| source.file.starts_with("domain/"));
    let mut seen = 0;
    for source in domain {
        seen += 1;
        for path in &source.paths {
            let foreign = path.strip_prefix("crate::").is_some_and(|path| !within(path, "domain"));
            if foreign || outside.iter().any(|name| within(path, name)) {
                wrong.push(format!("{}: {path}", source.file));
            }
        }
    }
    assert!(seen > 20, "the domain has moved");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Callers know the interface. Which database answers is the composition root's business.
#[test]
fn the_databases_are_named_by_the_store_and_the_composition_root_alone() {
    let mut wrong = Vec::new();
    for source in sources() {
        if source.file.starts_with("store/") || source.file.starts_with("app/") {
            continue;
        }
        let named = |path: &&String| {
            within(path, "sqlx")
                || within(path, "crate::store::sqlite")
                || within(path, "crate::store::postgres")
                || path.split("::").any(|part| matches!(part, "SqliteStore" | "PgStore"))
        };
        wrong.extend(source.paths.iter().filter(named).map(|path| format!("{}: {path}", source.file)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The table of `ARCHITECTURE.md`: module to the modules it may name, from the core outwards.
fn drawn() -> Vec<(String, BTreeSet<String>)> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split("| module | what it is | names |").nth(1).expect("the table of modules");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let module = words(cells[0]).into_iter().next().expect(row);
        (module, words(cells.last().unwrap()).into_iter().collect())
    })
    .collect()
}

/// The row a path of the crate belongs to: the one with the longest name.
fn row_of(path: &str, rows: &[(String, BTreeSet<String>)]) -> Option<String> {
    let of = rows.iter().map(|(module, _)| module).filter(|module| within(path, module));
    of.max_by_key(|module| module.len()).cloned()
}

fn module_of(file: &str) -> String {
    file.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::")
}

#[test]
fn the_map_of_modules_names_only_what_stands_above_in_it() {
    let rows = drawn();
    for (n, (module, names)) in rows.iter().enumerate() {
        for name in names {
            let above = rows[..n].iter().any(|(other, _)| other == name);
            assert!(above, "`{module}` names `{name}`, which does not stand above it");
        }
    }
}

#[test]
fn modules_name_what_the_map_says() {
    let rows = drawn();
    let map: BTreeMap<_, _> = rows.iter().cloned().collect();
    let mut wrong = BTreeSet::new();
    for source in sources() {
        let module = module_of(&source.file);
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let Some(row) = row_of(&module, &rows) else {
            wrong.insert(format!("`{module}` is not in the table"));
            continue;
        };
        for path in source.paths.iter().filter_map(|path| path.strip_prefix("crate::")) {
            match row_of(path, &rows) {
                Some(other) if other == row || map[&row].contains(&other) => {}
                Some(other) => {
                    wrong.insert(format!("`{row}` names `{other}`: {path} in {}", source.file));
                }
                // A macro of the crate.
                None => assert!(!path.contains("::"), "{path} in {} has no row", source.file),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
