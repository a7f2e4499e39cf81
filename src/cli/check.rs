//! `haishin check`: all problems of all files at once, without a database.

use super::args::Args;
use super::print;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Source};
use crate::lang::Lang;

/// Prints the report; exit 1 when there are errors.
pub(super) fn check(args: &Args, lang: Lang) -> anyhow::Result<u8> {
    let source = Source::read_dir(&args.config)?;
    let checked = config::parse(&source, SystemClock::new().now());
    let report = config::check_report(&source, &checked, lang, std::io::IsTerminal::is_terminal(&std::io::stdout()));
    print(&if args.json { report.json.to_string() } else { report.text });
    Ok(report.exit)
}
