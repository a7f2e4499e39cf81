//! The documentation, held against the program: commands exist, examples parse, links lead somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Command;
use haishin::cli;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every page in the repository.
fn pages() -> Vec<PathBuf> {
    let markdown = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
    };
    [markdown(root()), markdown(&root().join("docs"))].concat()
}

/// The commands that do something, as `campaign next`.
fn commands(command: &Command, above: &str, found: &mut Vec<(String, Command)>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let name = format!("{above} {}", sub.get_name()).trim().to_owned();
        if sub.has_subcommands() {
            commands(sub, &name, found);
        } else {
            found.push((name, sub.clone()));
        }
    }
}

fn all_commands() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    commands(&cli::command(), "", &mut found);
    found
}

/// Lines between ``` fences, without the fences.
fn blocks(page: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            lines.push(line);
        }
    }
    lines
}

/// The words of a line as a shell reads them, up to a comment, a pipe, a redirection or the next command.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);

    for c in line.chars() {
        match (c, quote) {
            ('"' | '\'', None) => (quote, begun) = (Some(c), true),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            (' ', None) if begun => {
                words.push(std::mem::take(&mut word));
                begun = false;
            }
            (' ', None) => {}
            ('#' | '|' | '>' | '&' | ';', None) if !begun => return words,
            ('&' | ';', None) => break,
            (c, None) => {
                begun = true;
                word.push(c);
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// The `haishin …` lines of a page's blocks.
fn invocations(page: &str) -> Vec<Vec<String>> {
    let lines = blocks(page).into_iter().map(|line| line.trim_start().trim_start_matches("$ "));
    lines.filter(|line| line.starts_with("haishin ")).map(words).collect()
}

fn assert_parses(place: &str, words: &[String]) {
    if let Err(error) = cli::command().try_get_matches_from(words) {
        // Help and version are no mistakes.
        assert!(!error.use_stderr(), "{place}: {}\n{error}", words.join(" "));
    }
}

#[test]
fn a_line_is_read_as_a_shell_reads_it() {
    let read = |line: &str| words(line).join("|");
    assert_eq!(
        read("haishin stop --reason \"wrong coupon\"   # a comment"),
        "haishin|stop|--reason|wrong coupon"
    );
    assert_eq!(read("haishin segment export a > a.csv"), "haishin|segment|export|a");
    assert_eq!(
        read("haishin run --clock 2030-12-04T17:59:00+09:00 &"),
        "haishin|run|--clock|2030-12-04T17:59:00+09:00"
    );
}

#[test]
fn every_command_is_in_the_page_of_commands() {
    let page = text("docs/cli.md");
    let headings: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let names: Vec<String> = all_commands().into_iter().map(|(name, _)| format!("haishin {name}")).collect();
    for name in &names {
        assert!(headings.contains(name.as_str()), "docs/cli.md has no heading `### {name}`");
    }
    for heading in headings.iter().filter(|heading| heading.starts_with("haishin ")) {
        assert!(
            names.iter().any(|name| name == heading),
            "docs/cli.md describes `{heading}`, which is not there"
        );
    }
}

#[test]
fn every_option_of_a_command_stands_in_its_section() {
    let page = text("docs/cli.md");
    for (name, command) in all_commands() {
        let section = page.split(&format!("### haishin {name}\n")).nth(1).expect(&name);
        let section = section.split("\n### ").next().unwrap_or(section);
        let section = section.split("\n## ").next().unwrap_or(section);
        let own = command.get_arguments().filter(|argument| !argument.is_hide_set());
        for long in own.filter_map(|argument| argument.get_long()).filter(|long| *long != "help") {
            assert!(section.contains(&format!("--{long}")), "docs/cli.md: `haishin {name}` lacks --{long}");
        }
        assert!(section.contains(&format!("haishin {name}")), "docs/cli.md: `haishin {name}` has no example");
    }
}

#[test]
fn every_command_shows_examples_that_parse() {
    let all = cli::command();
    let groups = all.get_subcommands().filter(|group| group.has_subcommands());
    let groups = groups.map(|group| (group.get_name().to_owned(), group.clone()));
    for (name, command) in all_commands().into_iter().chain(groups) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> =
            help.lines().map(str::trim).filter(|line| line.starts_with("haishin ")).collect();
        assert!(!examples.is_empty(), "`haishin {name} --help` shows no example");
        for example in examples {
            // What an example is for stands behind it, after at least three blanks.
            let line = example.split("   ").next().unwrap_or(example);
            assert!(line.starts_with(&format!("haishin {name}")), "{name}: {line}");
            assert_parses(&format!("help of {name}"), &words(line));
        }
    }
}

#[test]
fn commands_in_the_pages_parse() {
    let mut seen = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        for words in invocations(&page) {
            assert_parses(&path.display().to_string(), &words);
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} commands were found");
}

/// Both READMEs show the same commands, files and figures; only the words around them differ.
#[test]
fn both_readmes_tell_to_run_the_same() {
    let commands = |file: &str| invocations(&text(file));
    assert_eq!(commands("README.md"), commands("README.ja.md"));
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        for target in links(&page).into_iter().filter(|target| !target.contains("://")) {
            seen += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let there = file.exists()
                && (anchor.is_empty() || anchors(&std::fs::read_to_string(&file).unwrap()).contains(anchor));
            if !there {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(seen > 20, "only {seen} links were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The targets of `[…](…)`, outside of blocks.
fn links(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for part in page.split("](").skip(1) {
        found.extend(part.split(')').next());
    }
    found
}

/// What headings are called in links.
pub(crate) fn anchors(page: &str) -> BTreeSet<String> {
    page.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// What one heading is called.
pub(crate) fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
