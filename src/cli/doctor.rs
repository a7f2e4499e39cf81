//! `haishin doctor`.

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

use super::args::Args;
use super::request::{show, user};
use crate::app::doctor::{Asked, Daemon, Doctor, Mark, Report};
use crate::app::{self, Paths};
use crate::config::Source;
use crate::control::client::{self, Conversation};
use crate::lang::Lang;
use crate::protocol::{Command, Reply, Request};

/// Looks at everything and prints it.
pub(super) async fn doctor(args: &Args, asked: Asked, lang: Lang) -> anyhow::Result<u8> {
    let shown = !args.json && std::io::stderr().is_terminal();
    let busy = |what: &str| {
        if shown {
            // Nobody to read it is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{what}\x1b[K");
        }
    };
    let report = match app::settings(&args.config, args.state.as_deref(), lang) {
        Ok((paths, settings)) => {
            let daemon = ask(&paths, lang).await;
            let (paths, settings) = (&paths, &settings);
            Doctor { paths, settings, daemon, asked, lang, busy: &busy }.look().await
        }
        // Without it nobody knows where anything is.
        Err(error) => {
            let mut report = Report::new(false, lang);
            report.add("configuration", Mark::Fail, app::causes(&error, lang), Some("haishin check"));
            report
        }
    };
    busy("");
    if shown {
        let _ = write!(std::io::stderr(), "\r");
    }
    let answer = report.answer();
    show(args, &answer);
    Ok(answer.exit)
}

/// What the daemon says of itself; none where none listens, or it ends just now.
async fn ask(paths: &Paths, lang: Lang) -> Option<Daemon> {
    let socket = paths.socket();
    let process = client::peer(&socket).await?;
    let status = said(paths, lang, Command::Status).await?;
    let files = Source::read_texts(&paths.config).unwrap_or_default();
    let plan = said(paths, lang, Command::Plan { files }).await.unwrap_or_default();
    Some(Daemon { process, status, plan })
}

async fn said(paths: &Paths, lang: Lang, command: Command) -> Option<Value> {
    let request = Request { lang, by: user(), account: None, command };
    let mut conversation = Conversation::with_daemon(&paths.socket(), &request).await.ok()??;
    while let Some(reply) = conversation.next().await {
        match reply {
            Reply::Done(answer) => return Some(answer.json),
            Reply::Error(_) => return None,
            Reply::Rows(_) | Reply::Terms(_) | Reply::Taken(_) | Reply::Progress(_) => {}
        }
    }
    None
}
