//! Which file is what: a slug is a file's name without `.toml`, folders are only for order.

use std::collections::BTreeMap;

use super::diagnostic::Sink;
use super::problem::Problem;
use super::suggest;
use super::syntax::Parsed;
use super::{ATTRIBUTES_FILE, MAIN_FILE};
use crate::domain::id::{CampaignSlug, SegmentSlug};

/// The files by slug.
#[derive(Default)]
pub(super) struct Slugs<'p, 'a> {
    pub segments: BTreeMap<SegmentSlug, &'p Parsed<'a>>,
    /// Campaigns and drips, told apart by their folder: history names either by its slug alone.
    pub sends: BTreeMap<CampaignSlug, &'p Parsed<'a>>,
}

const FOLDERS: [&str; 3] = ["segments", "campaigns", DRIPS];
/// The folder of drips.
const DRIPS: &str = "drips";

/// Whether a file describes a drip.
pub(super) fn is_drip(file: &Parsed<'_>) -> bool {
    file.path.split('/').next() == Some(DRIPS)
}

/// Sorts the files; two of one slug and strays are reported.
pub(super) fn slugs<'p, 'a>(parsed: &'p [Parsed<'a>], sink: &Sink) -> Slugs<'p, 'a> {
    let mut slugs = Slugs::default();
    for file in parsed {
        match file.path.split_once('/') {
            Some(("segments", rest)) => add(&mut slugs.segments, file, stem(rest), sink, SegmentSlug::parse),
            Some(("campaigns" | DRIPS, rest)) => {
                add(&mut slugs.sends, file, stem(rest), sink, CampaignSlug::parse)
            }
            None if matches!(file.path, MAIN_FILE | ATTRIBUTES_FILE) => {}
            _ => sink.report(file.path, None, Problem::StrayFile { suggestion: near(file.path) }),
        }
    }
    slugs
}

fn stem(rest: &str) -> &str {
    let name = rest.rsplit('/').next().unwrap_or(rest);
    name.strip_suffix(".toml").unwrap_or(name)
}

fn near(path: &str) -> Option<String> {
    match path.split_once('/') {
        Some((folder, rest)) => {
            let folder = suggest::nearest(folder, FOLDERS.into_iter())?;
            Some(format!("{folder}/{rest}"))
        }
        None => suggest::nearest(path, [MAIN_FILE, ATTRIBUTES_FILE].into_iter()),
    }
}

fn add<'p, 'a, S: Ord, E>(
    slugs: &mut BTreeMap<S, &'p Parsed<'a>>,
    file: &'p Parsed<'a>,
    stem: &str,
    sink: &Sink,
    parse: impl Fn(&str) -> Result<S, E>,
) {
    let Ok(slug) = parse(stem) else {
        sink.report(file.path, None, Problem::BadSlug { slug: stem.to_owned() });
        return;
    };
    if let Some(other) = slugs.get(&slug) {
        let problem = Problem::DuplicateSlug { slug: stem.to_owned(), other: other.path.to_owned() };
        sink.report(file.path, None, problem);
        return;
    }
    slugs.insert(slug, file);
}
