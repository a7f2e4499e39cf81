//! Broken files never break the reader: seeded mutations of the shipped ones.

use std::path::Path;

use haishin::config::{Severity, Source, Style, parse, render};
use haishin::lang::Lang;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const PIECES: [&str; 36] = [
    "＝",
    "“",
    "」",
    "　",
    "５",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ",",
    "\n",
    "\r",
    "#",
    ".",
    "-1",
    "nan",
    "99999999999999999999",
    "2026-02-30",
    "{{",
    "}}",
    "{{ link('",
    "\\u",
    "\u{0}",
    "👨‍👩‍👧‍👦",
    "é",
    "true",
    "\"off\"",
    "[schedule]",
    "[[step]]",
    "[[step.message]]",
];

/// Cuts, doubles, swaps or inserts somewhere.
fn mutate(text: &str, rng: &mut StdRng) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..rng.random_range(1..4) {
        let (from, to) = (rng.random_range(0..=chars.len()), rng.random_range(0..=chars.len()));
        let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 40));
        match rng.random_range(0..4) {
            0 => drop(chars.drain(from..to)),
            1 => {
                let copy = chars[from..to].to_vec();
                let at = rng.random_range(0..=chars.len());
                chars.splice(at..at, copy);
            }
            2 => chars[from..to].reverse(),
            _ => {
                let piece = PIECES.choose(rng).copied().unwrap_or_default();
                chars.splice(from..from, piece.chars());
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn no_mutation_of_the_shipped_files_breaks_the_reader() {
    let shipped = Source::read_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap();
    let paths: Vec<String> = shipped.files.keys().cloned().collect();
    let (mut clean, mut broken) = (0, 0);
    for seed in 0..2_000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut source = shipped.clone();
        let path = paths.choose(&mut rng).unwrap();
        let text = mutate(&source.files[path], &mut rng);
        source.files.insert(path.clone(), text);
        let checked = parse(&source, super::now());
        let has_error = checked.diagnostics.iter().any(|one| one.severity() == Severity::Error);
        assert_eq!(
            checked.configuration.is_none(),
            has_error,
            "seed {seed}: {:?}\n{}",
            checked.diagnostics,
            source.files[path]
        );
        let lang = if seed % 2 == 0 { Lang::Ja } else { Lang::En };
        let shown = render(&checked.diagnostics, &source, "", lang, Style::Colour);
        assert_eq!(shown.is_empty(), checked.diagnostics.is_empty(), "seed {seed}");
        if has_error { broken += 1 } else { clean += 1 }
    }
    // Both happen, or the mutations test nothing.
    assert!(clean > 100 && broken > 1_000, "{clean} clean, {broken} broken");
}
