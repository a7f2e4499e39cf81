//! Any bytes at every border: the kept corpus of each fuzz target and seeded mutations of it. `tests/fuzz/run` looks for more
//! with the same targets, guided by coverage.

mod corpus;
mod mutate;
mod targets;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rstest::rstest;

use crate::segments_oracle::{draw, naive};
use corpus::Corpus;
use targets::TARGETS;

const SEED: u64 = 0x66_75_7a_7a;

/// The mutations are as many as a second or two takes.
#[rstest]
#[case("api", 4_000)]
#[case("config", 500)]
#[case("csv", 3_000)]
#[case("line_answer", 4_000)]
#[case("protocol", 6_000)]
#[case("rule", 2_000)]
#[case("webhook", 4_000)]
fn nothing_kept_or_mutated_breaks_a_promise(#[case] name: &str, #[case] mutations: u64) {
    let corpus = Corpus::of(name);
    for (file, bytes) in &corpus.files {
        told(&format!("tests/fuzz/corpus/{name}/{file}"), || targets::run(name, bytes));
    }
    let (mut good, mut bad) = (0, 0);
    for seed in SEED..SEED + mutations {
        let bytes = mutate::mutated(&mut StdRng::seed_from_u64(seed), &corpus);
        let is_good = told(&format!("seed {seed}: {:?}", String::from_utf8_lossy(&bytes)), || {
            targets::run(name, &bytes)
        });
        if is_good { good += 1 } else { bad += 1 }
    }
    // Both happen, or the mutations test nothing.
    assert!(good > mutations / 100 && bad > mutations / 100, "{good} good, {bad} bad");
}

/// Says what it was that panicked.
fn told<T>(what: &str, run: impl FnOnce() -> T) -> T {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        eprintln!("broken by {what}");
        std::panic::resume_unwind(panic)
    })
}

/// One input again, such as the fuzzer's finding: `HAISHIN_FUZZ_TARGET=csv HAISHIN_FUZZ_INPUT=path`.
#[test]
fn one() {
    if let (Ok(target), Ok(path)) =
        (std::env::var("HAISHIN_FUZZ_TARGET"), std::env::var("HAISHIN_FUZZ_INPUT"))
    {
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        println!("{target} takes {} bytes: {}", bytes.len(), targets::run(&target, &bytes));
    }
}

#[test]
fn every_target_is_fuzzed_and_has_a_small_corpus() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(corpus::names("corpus", ""), names);
    assert_eq!(corpus::names("targets", ".rs"), names);
    assert_eq!(corpus::names("dictionaries", ".dict"), names);
    for name in names {
        let Corpus { files, .. } = Corpus::of(name);
        assert!((5..=60).contains(&files.len()), "{name}: {} files", files.len());
        for (file, bytes) in files {
            assert!(bytes.len() <= 4_096, "{name}/{file}: {} bytes", bytes.len());
        }
    }
}
