//! Every reason in both languages: what happened, and what to do next.

use std::collections::BTreeSet;

use haishin::domain::delivery::Outcome;
use haishin::domain::id::{CampaignSlug, OccurrenceId};
use haishin::domain::outbox::{Failure, Lane};
use haishin::domain::plan::{Budget, Reach, Refusal};
use haishin::domain::policy::Share;
use haishin::domain::reason::{Reason, Said};
use haishin::domain::time::Instant;
use haishin::engine::words::{Subject, Words};
use haishin::lang::Lang;
use haishin::store::OutboxLane;
use insta::assert_snapshot;

fn said() -> Said {
    Said { status: 400, message: "Failed to send messages".into() }
}

/// What a backup is as of.
fn backup() -> Instant {
    Instant::try_from("2026-12-04T09:00:00Z".to_owned()).unwrap()
}

/// Who stands for a whole account.
fn of_accounts() -> Vec<Reason> {
    vec![
        Reason::Words { words: "wrong coupon".into() },
        Reason::Words { words: String::new() },
        Reason::DatabaseWentBack,
        Reason::Restored { as_of: Some(backup()) },
        Reason::Restored { as_of: None },
        Reason::TokenRefused,
        Reason::AccountForbidden,
    ]
}

fn of_campaigns() -> Vec<Reason> {
    let reach = Reach { matched: 300, reachable: 400, share: Share::parse("50%").unwrap() };
    vec![
        Reason::PausedByPerson,
        Reason::BatchRefused(said()),
        Reason::RejectedInARow { batches: 3, said: Said { status: 413, message: String::new() } },
        Reason::ManyQuarantined { friends: 20 },
        // As a preview tells it.
        Refusal::Blanket(reach).into(),
    ]
}

fn of_occurrences() -> Vec<Reason> {
    let deadline = Instant::try_from("2026-12-04T12:00:00Z".to_owned()).unwrap();
    let reach = Reach { matched: 300, reachable: 400, share: Share::parse("50%").unwrap() };
    let budget = Budget { recipients: 347, available: 190, limit: 200, kept: 10 };
    vec![
        Reason::DatabaseWentBack,
        Reason::Restored { as_of: Some(backup()) },
        Reason::PausedByPerson,
        Reason::MonthlyLimit { limit: 200 },
        Reason::CancelledByPerson { by: "hana".into() },
        Reason::SkippedByPerson { by: "hana".into() },
        Reason::NotCaughtUp,
        Refusal::DeadlinePassed { deadline }.into(),
        Refusal::MaxRecipients { recipients: 408, max: 300 }.into(),
        Refusal::Blanket(reach).into(),
        Refusal::Quota(budget).into(),
        Refusal::QuotaUnreadable.into(),
    ]
}

fn of_batches() -> Vec<(Outcome, Reason)> {
    let deadline = Instant::try_from("2026-12-04T12:00:00Z".to_owned()).unwrap();
    vec![
        (Outcome::Rejected, Reason::LineRefused(said())),
        (Outcome::Rejected, Reason::RecipientRefused(said())),
        (Outcome::Unknown, Reason::RefusedAfterDoubt(said())),
        (Outcome::Unknown, Reason::KeyExpired),
        (Outcome::Unknown, Reason::BodyChanged),
        (Outcome::Unknown, Reason::Expired { deadline }),
        (Outcome::Unknown, Reason::CancelledByPerson { by: "hana".into() }),
        (Outcome::Rejected, Reason::ResolvedByPerson { by: "hana".into() }),
    ]
}

fn told(lang: Lang) -> Vec<String> {
    let words = Words { lang, zone: chrono_tz::Asia::Tokyo };
    let (slug, id) = (CampaignSlug::parse("gift").unwrap(), OccurrenceId(12));
    let occurrence = Subject::Occurrence(&slug, id);
    let accounts = of_accounts().into_iter().map(|reason| words.reason(&reason, Subject::Account));
    let campaigns = of_campaigns().into_iter().map(|reason| words.reason(&reason, Subject::Campaign(&slug)));
    let occurrences = of_occurrences().into_iter().map(|reason| words.reason(&reason, occurrence));
    let batches = of_batches().into_iter().map(|(outcome, why)| words.batch(outcome, &why, occurrence));
    accounts.chain(campaigns).chain(occurrences).chain(batches).collect()
}

#[test]
fn every_reason_says_what_happened_and_what_to_do_next_in_both_languages() {
    let (ja, en) = (told(Lang::Ja), told(Lang::En));
    let japanese =
        |text: &str| text.chars().any(|c| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}'));
    let mut text = String::new();
    for (ja, en) in ja.iter().zip(&en) {
        assert!(japanese(ja) && !japanese(en), "{ja}\n{en}");
        // Nothing is to be done about what a person has settled.
        let settled = en.starts_with("resolved by");
        assert_eq!((ja.contains(" → "), en.contains(" → ")), (!settled, !settled), "{ja}\n{en}");
        text += &format!("{en}\n{ja}\n\n");
    }
    assert_snapshot!("reasons", text);
}

#[test]
fn what_waits_is_told_in_both_languages() {
    let answered = |status, message: &str| Failure::Answered(Said { status, message: message.into() });
    let failures = [
        answered(503, ""),
        answered(400, "richmenu not found"),
        Failure::Unauthorized,
        Failure::Timeout,
        Failure::ConnectionLost,
        Failure::Unreachable,
        Failure::NotConfigured,
        Failure::NoSecret,
    ];
    let lanes = [Lane::RichMenus, Lane::System("crm".parse().unwrap())];
    let oldest = Instant::try_from("2026-12-04T12:00:00Z".to_owned()).unwrap();
    let failed = failures.iter().map(Some).chain([None]);
    let text: String = failed
        .zip(lanes.iter().cycle())
        .map(|(last, lane)| {
            let waits = OutboxLane { lane: lane.clone(), open: 3, oldest };
            let told = |lang| Words { lang, zone: chrono_tz::Asia::Tokyo }.waits(&waits, last);
            format!("{}\n{}\n\n", told(Lang::En), told(Lang::Ja))
        })
        .collect();
    assert_snapshot!("waits", text);
}

/// The code a reason has for programs.
fn code(reason: &Reason) -> String {
    serde_json::to_value(reason).unwrap()["code"].as_str().unwrap().to_owned()
}

#[test]
fn the_page_of_commands_has_every_code_and_no_other() {
    let batches = of_batches().into_iter().map(|(_, reason)| reason);
    let all = of_accounts().into_iter().chain(of_campaigns()).chain(of_occurrences()).chain(batches);
    let mut codes: BTreeSet<String> = all.map(|reason| code(&reason)).collect();
    // No reason, but what an occurrence waits for.
    codes.insert("quiet_hours".into());
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = page.split_once("| `code` | of | parameters |").unwrap().1;
    let rows = table.trim_start().lines().take_while(|line| line.starts_with('|')).skip(1);
    let cells = rows.map(|row| row.trim_start_matches('|').split('|').next().unwrap());
    let documented =
        cells.flat_map(|cell| cell.split(',')).map(|code| code.trim().trim_matches('`').to_owned());
    assert_eq!(documented.collect::<BTreeSet<_>>(), codes);
}
