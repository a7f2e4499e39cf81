//! Answers are the same whether a daemon gives them or the command itself.

use insta::assert_snapshot;

use super::{NOW, stocked, without_now};
use crate::support::shop::{Shop, user};

/// Every command that reads.
fn questions() -> Vec<Vec<String>> {
    let yesterday = "2090-12-01T00:00:00+09:00";
    let one = user(1);
    let questions: [&[&str]; 18] = [
        &["status"],
        &["segment", "count", "--now", NOW],
        &["segment", "count", "members", "tokyo-regulars", "--now", yesterday],
        &["segment", "list"],
        &["segment", "list", "members", "--now", NOW],
        &["segment", "export", "tokyo-regulars", "--now", NOW],
        &["segment", "export", "members", "--now", NOW],
        &["friend", "show", &one],
        &["friend", "show", "K,002"],
        &["friend", "show", "K-005"],
        &["campaign", "list"],
        &["campaign", "next", "birthday", "--from", yesterday, "--until", "2091-03-01T00:00:00+09:00"],
        &["campaign", "next", "winter-coupon", "--from", yesterday],
        &["campaign", "preview", "winter-coupon", "--now", NOW],
        &["campaign", "preview", "winter-coupon", "gift-fair", "--now", NOW],
        &["occurrence", "list"],
        &["occurrence", "show", "1"],
        &["plan"],
    ];
    questions.iter().map(|words| words.iter().map(|&word| word.to_owned()).collect()).collect()
}

/// `status` says who answers, and how much room there is: neither is what was asked.
fn whoever(text: &str) -> String {
    let daemon = ["a daemon runs here and answers.", "デーモンの返事です。", "\"daemon\":true"];
    let itself = [
        "no daemon runs here: this command answers by itself, and nothing is sent.",
        "デーモンは動いていません。このコマンド自身が答えています。今は何も送信されません。",
        "\"daemon\":false",
    ];
    let known = daemon.into_iter().chain(itself);
    let text = known.fold(text.to_owned(), |text, one| text.replace(one, "(WHO ANSWERS)"));
    let Some((before, after)) = text.split_once("\"free_bytes\":") else { return text };
    format!("{before}\"free_bytes\":N{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// What each question is answered, in this form, as one text.
fn answers(shop: &Shop, form: &[&str]) -> String {
    let mut text = String::new();
    for question in questions() {
        let words: Vec<&str> = question.iter().map(String::as_str).collect();
        let said = shop.run(&[form, &words].concat());
        let out = whoever(&without_now(&said.out));
        text += &format!("$ haishin {}\n{out}{}[{}]\n\n", words.join(" "), without_now(&said.err), said.code);
    }
    text
}

#[test]
fn answers_are_the_same_with_and_without_a_daemon_in_both_languages() {
    let shop = stocked();
    let forms: [&[&str]; 4] =
        [&["--lang", "ja"], &["--lang", "en"], &["--json", "--lang", "ja"], &["--json", "--lang", "en"]];
    let without: Vec<String> = forms.iter().map(|form| answers(&shop, form)).collect();
    let daemon = shop.daemon(&[]);
    let with: Vec<String> = forms.iter().map(|form| answers(&shop, form)).collect();
    assert_eq!(daemon.terminate().0, 0);
    let again: Vec<String> = forms.iter().map(|form| answers(&shop, form)).collect();
    for n in 0..forms.len() {
        similar(&without[n], &with[n]);
        similar(&without[n], &again[n]);
    }
    assert_snapshot!("answers_ja", without[0]);
    assert_snapshot!("answers_en", without[1]);
    assert_snapshot!("answers_json", without[3]);
}

/// Equal, or the first line that is not.
fn similar(one: &str, other: &str) {
    for (one, other) in one.lines().zip(other.lines()) {
        assert_eq!(one, other);
    }
    assert_eq!(one, other);
}

#[test]
fn an_empty_database_answers_too() {
    let shop = Shop::new();
    assert_snapshot!("answers_of_an_empty_shop", answers(&shop, &["--lang", "en"]));
}
