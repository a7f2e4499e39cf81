//! LINE itself, where it is asked for: which bot the token is of, and what is left of the month.

use std::sync::Arc;

use super::super::line_api;
use super::{ClockKind, Doctor, Mark, Report};
use crate::clock::SystemClock;
use crate::config::{Account, Configuration};
use crate::line::{Api as _, Quota};

impl Doctor<'_> {
    pub(super) async fn line(&self, configuration: Option<&Configuration>, report: &mut Report) {
        for account in configuration.into_iter().flat_map(|all| all.accounts.values()) {
            let name = format!("line {}", account.slug);
            // A rehearsal speaks to nobody outside.
            if self.kind() != ClockKind::Machine && !account.is_loopback() {
                continue;
            }
            (self.busy)(
                &self.lang.pick(
                    format!("LINE に接続中… {}", account.slug),
                    format!("asking LINE… {}", account.slug),
                ),
            );
            match self.ask_line(account).await {
                Ok(what) => report.add(&name, Mark::Good, what, None),
                Err(why) => {
                    let next = self.lang.pick(
                        "接続と認証情報（channel_id、channel_secret、access_token）を確かめてください",
                        "look at the connection and at the credentials: channel_id, channel_secret, access_token",
                    );
                    report.add(&name, Mark::Fail, why, Some(next));
                }
            }
        }
    }

    async fn ask_line(&self, account: &Account) -> Result<String, String> {
        let lang = self.lang;
        let line = line_api(account, &self.paths.config, Arc::new(SystemClock::new()))
            .map_err(|error| super::super::causes(&error, lang))?;
        let told = |error: crate::line::CallError| error.to_string();
        let bot = line.bot_info().await.map_err(told)?;
        let (quota, used) = (line.quota().await.map_err(told)?, line.consumption().await.map_err(told)?);
        let limit = match quota {
            Quota::Limited(limit) => limit.to_string(),
            Quota::Unlimited => lang.pick("上限なし", "no limit").to_owned(),
        };
        let name = &bot.display_name;
        Ok(lang.pick(
            format!("「{name}」 今月 {used}通（上限 {limit}）"),
            format!("\"{name}\", {used} messages this month (limit {limit})"),
        ))
    }
}
