//! `haishin check`: all problems of all files at once, without a database.

use super::args::Args;
use super::print;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Format, Style};
use crate::lang::Lang;

/// Prints the report; exit 1 when there are errors.
pub(super) fn check(args: &Args, lang: Lang) -> anyhow::Result<u8> {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let style = if terminal { Style::Colour } else { Style::Plain };
    let format = if args.json { Format::Json } else { Format::Text(style) };
    let report = config::check_report(&args.config, SystemClock::new().now(), lang, format)?;
    print(&report.output);
    Ok(report.exit_code)
}
