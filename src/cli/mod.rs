//! The command line: arguments to requests, replies to terminals.
//!
//! Exit codes: 0 done · 1 it failed, and the message says what to do · 2 the command line is wrong ·
//! 3 done or shown, but something needs a person.

mod args;
mod backup;
mod check;
mod demo;
mod doctor;
mod import;
mod request;
mod run;
mod sandbox;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::app;
use crate::lang::Lang;
use args::{Action, Args};

/// Something failed.
const FAILED: u8 = 1;

/// Parses the arguments, runs the command, prints why it failed.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let lang = args.lang();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(
                lang,
                &anyhow::Error::new(error).context(lang.pick("起動できません", "cannot start")),
            );
        }
    };
    match runtime.block_on(dispatch(args, lang)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(lang, &error),
    }
}

/// The command line as clap knows it: what the documentation's examples are held against.
pub fn command() -> clap::Command {
    Args::command()
}

fn fail(lang: Lang, error: &anyhow::Error) -> ExitCode {
    // A closed standard error has nobody to tell.
    let _ = writeln!(std::io::stderr(), "{}: {}", lang.pick("エラー", "error"), app::causes(error, lang));
    ExitCode::from(FAILED)
}

async fn dispatch(args: Args, lang: Lang) -> anyhow::Result<u8> {
    match &args.action {
        Action::Check => check::check(&args, lang),
        Action::Run(options) => run::run(&args, options, lang).await,
        Action::Demo(options) => demo::demo(options, lang).await,
        Action::Sandbox(options) => sandbox::sandbox(options, lang).await,
        Action::Doctor { deep, online } => {
            doctor::doctor(&args, app::doctor::Asked { deep: *deep, online: *online }, lang).await
        }
        Action::Backup { to } => backup::backup(&args, to.as_deref(), lang).await,
        Action::Restore(options) => backup::restore(&args, options, lang).await,
        Action::Import(options) => import::import(&args, options, lang).await,
        _ => request::request(&args, lang).await,
    }
}

/// Prints to standard output; a reader that went away ends the command quietly.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let line = if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
