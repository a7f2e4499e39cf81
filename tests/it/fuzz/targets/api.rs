//! Bodies of the API: `POST …/friends` and `POST …/events`.

use haishin::control::api::{self, INTAKES_MAX, ITEMS_MAX, Kind};
use haishin::lang::Lang;
use haishin::protocol::Terms;

fn terms() -> Terms {
    Terms { zone: chrono_tz::Asia::Tokyo, attributes: super::attributes(), rehearsal: false, now: super::NOW }
}

pub fn run(bytes: &[u8]) -> bool {
    let terms = terms();
    let mut good = false;
    for kind in [Kind::Friends, Kind::Events] {
        let said = [Lang::En, Lang::Ja].map(|lang| api::said(kind, bytes, &terms, lang));
        let [english, japanese] = &said;
        match (english, japanese) {
            (Ok(english), Ok(japanese)) => {
                assert!(english.len() == japanese.len() && (1..=ITEMS_MAX).contains(&english.len()));
                // What is taken does not depend on the reader's language.
                let taken =
                    |items: &[api::Said]| -> Vec<_> { items.iter().map(|one| one.clone().ok()).collect() };
                assert_eq!(taken(english), taken(japanese));
            }
            (Err(english), Err(japanese)) => assert_eq!(english.code, japanese.code),
            _ => panic!("taken in one language only"),
        }
        for (said, lang) in said.into_iter().zip([Lang::En, Lang::Ja]) {
            match said {
                Ok(items) => good |= judge(kind, &items, bytes, lang),
                Err(problem) => assert_problem(&problem, lang),
            }
        }
    }
    good
}

fn judge(kind: Kind, items: &[api::Said], bytes: &[u8], lang: Lang) -> bool {
    // Each item has one result, in order.
    let json: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    if let Some(list) = json.as_array() {
        assert_eq!(list.len(), items.len());
    }
    let mut intakes = 0;
    for (n, item) in items.iter().enumerate() {
        match item {
            Ok(said) => {
                assert!(!said.is_empty() && (kind == Kind::Friends || said.len() == 1), "{said:?}");
                // An item is about one friend.
                assert!(said.iter().all(|intake| intake.friend == said[0].friend), "{said:?}");
                super::assert_same_json(said);
                intakes += said.len();
            }
            Err(problem) => {
                assert_problem(problem, lang);
                let pointer = problem.pointer.as_deref().unwrap_or_default();
                let is_batch = bytes.trim_ascii_start().first() == Some(&b'[');
                assert!(!is_batch || pointer.starts_with(&format!("/{n}")), "{pointer}");
            }
        }
    }
    assert!(intakes <= INTAKES_MAX);
    intakes > 0
}

fn assert_problem(problem: &api::Problem, lang: Lang) {
    super::assert_readable(&problem.detail);
    let json = problem.json(lang);
    assert_eq!(json["status"], problem.code.status());
    assert!((400..=503).contains(&problem.code.status()));
}
