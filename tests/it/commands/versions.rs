//! What runs was applied: files on disk never go live by themselves, a bad one never at all.

use haishin::config::Source;
use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::service::{Line, request};
use super::{stocked, without_now};
use crate::support::shop::Shop;

fn running(shop: &Shop) -> i64 {
    let status = shop.json(&["status"]);
    status["config_version"].as_i64().unwrap()
}

#[test]
fn plan_and_apply_show_and_activate_exactly_the_difference() {
    let shop = stocked();
    shop.edit("segments/members.toml", "会員", "全会員");
    shop.remove("segments/tokyo-regulars.toml");
    shop.remove("campaigns/winter-coupon.toml");
    shop.write("segments/staff.toml", "title = \"スタッフ\"\ntag = \"staff\"\n");
    let mut text = String::new();
    for words in [
        &["--lang", "ja", "plan"][..],
        &["--lang", "en", "plan"],
        &["--json", "plan"],
        // There is nobody to ask.
        &["--lang", "ja", "apply"],
        &["--lang", "en", "apply"],
        &["--lang", "en", "apply", "--yes"],
        &["--lang", "en", "plan"],
        &["--lang", "en", "segment", "list"],
        &["--lang", "en", "segment", "count", "tokyo-regulars"],
    ] {
        let said = shop.run(words);
        text += &format!("$ haishin {}\n{}{}[{}]\n\n", words.join(" "), said.out, said.err, said.code);
    }
    assert_snapshot!("plan_and_apply", text);
}

/// A file saved as Shift_JIS is not left out of what goes live: nothing of it goes live.
#[test]
fn a_file_that_is_not_utf_8_is_no_missing_file() {
    let shop = stocked();
    let mut daemon = shop.daemon(&[]);
    let campaign = shop.config().join("campaigns/birthday.toml");
    std::fs::write(&campaign, b"title = \"\x92a\x90\xb6\x93\xfa\"\n").unwrap();
    for words in [&["plan"][..], &["apply", "--yes"]] {
        let said = shop.run(words);
        assert!(said.code == 1 && said.err.contains("birthday.toml` is not UTF-8 (byte 9)"), "{said:?}");
    }
    daemon.signal(Signal::HUP);
    daemon.wait_for("birthday.toml` is not UTF-8");
    assert!(shop.ok(&["campaign", "list"]).contains("birthday"));
    assert_eq!((running(&shop), daemon.terminate().0), (1, 0));
    std::fs::remove_dir_all(shop.state()).unwrap();
    let said = shop.run(&["status"]);
    assert!(
        said.code == 1 && said.err.contains("is not UTF-8"),
        "an empty database takes no part either: {said:?}"
    );
}

#[test]
fn a_bad_file_changes_nothing_and_a_file_on_disk_runs_only_once_applied() {
    let shop = stocked();
    let daemon = shop.daemon(&[]);
    let titles = || shop.ok(&["segment", "list"]);
    let before = titles();
    shop.edit("segments/members.toml", "title = \"会員\"", "title = \"改名\"");
    shop.edit("segments/members.toml", "tag = \"staff\"", "tga = \"staff\"");
    assert_eq!(shop.run(&["plan"]).code, 1);
    let said = shop.run(&["apply", "--yes"]);
    assert_eq!((said.code, running(&shop), titles()), (1, 1, before.clone()));
    // Mended, but not applied: a daemon that starts anew runs what was applied, and says so.
    shop.edit("segments/members.toml", "tga", "tag");
    assert_eq!(titles(), before);
    daemon.terminate();
    let daemon = shop.daemon(&[]);
    assert!(daemon.log().contains("the files differ from the version that runs"), "{}", daemon.log());
    assert_eq!((titles(), running(&shop)), (before.clone(), 1));
    shop.ok(&["apply", "--yes"]);
    assert!(titles().contains("改名"));
    assert_eq!(running(&shop), 2);
    daemon.terminate();
    assert_eq!(running(&shop), 2);
    let daemon = shop.daemon(&[]);
    assert!(!daemon.log().contains("differ"), "{}", daemon.log());
}

#[test]
fn a_hangup_activates_good_files_and_keeps_what_runs_for_bad_ones() {
    let shop = stocked();
    let mut daemon = shop.daemon(&[]);
    shop.edit("segments/members.toml", "title = \"会員\"", "title = \"改名\"");
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration activated");
    assert!(shop.ok(&["segment", "list"]).contains("改名"));
    shop.edit("segments/members.toml", "tag = \"staff\"", "tga = \"staff\"");
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for("were not activated");
    assert!(line.contains("ERROR"), "{line}");
    assert_eq!(running(&shop), 2);
    assert!(daemon.log().contains("tga"), "the log names the place: {}", daemon.log());
    assert_eq!(daemon.terminate().0, 0);
}

/// Eight people who were all shown version 1 make theirs live at once: the first one's does, and each of the others is
/// told to look again.
#[test]
fn of_many_who_apply_at_once_all_but_one_look_again() {
    let shop = stocked();
    let daemon = shop.daemon(&[]);
    assert_eq!(running(&shop), 1);
    let files = Source::read_dir(&shop.config()).unwrap().files;
    let people = (0..8).map(|n| {
        let mut files = files.clone();
        let members = files.get_mut("segments/members.toml").unwrap();
        *members = members.replace("title = \"会員\"", &format!("title = \"案{n}\""));
        let command = json!({ "name": "apply", "files": files, "expected": 1 });
        Line::to(&shop).say(&request(command))
    });
    let people: Vec<Line> = people.collect();
    let answers: Vec<Value> =
        people.into_iter().map(|line| serde_json::from_str(&line.end()).unwrap()).collect();
    let (done, refused): (Vec<_>, Vec<_>) =
        answers.iter().zip(0..).partition(|(one, _)| one.get("done").is_some());
    assert_eq!((done.len(), refused.len()), (1, 7), "{answers:?}");
    for (answer, _) in refused {
        let told = "another version went live meanwhile: look at `haishin plan` again";
        assert_eq!(answer["error"]["message"], told, "{answer}");
    }
    assert_eq!(running(&shop), 2);
    let (_, winner) = done[0];
    let titles = shop.ok(&["segment", "list"]);
    for n in 0..8 {
        assert_eq!(titles.contains(&format!("案{n}")), n == winner, "{titles}");
    }
    assert_eq!(daemon.terminate().0, 0);
}

const ONCE: &str = "title = \"一回\"\naudience = { tag = \"member\" }\nschedule = { at = \"2090-12-04 18:00\" }\n\
                    message = [{ type = \"text\", text = \"x\" }]\n";

#[test]
fn a_one_shot_of_the_past_is_refused_and_one_that_ran_needs_a_rerun() {
    let shop = stocked();
    let past = ONCE.replace("2090", "2000");
    shop.write("campaigns/once.toml", &past);
    let check = shop.run(&["check"]);
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.out.contains("warning"), "{check:?}");
    let mut text = String::new();
    let mut note = |what: &str, said: crate::support::shop::Said| {
        text += &format!("# {what}\n{}{}[{}]\n\n", said.out, said.err, said.code);
    };
    note("past", shop.run(&["apply", "--yes"]));
    assert_eq!(running(&shop), 1);
    shop.write("campaigns/once.toml", ONCE);
    note("to come", shop.run(&["apply", "--yes"]));
    let mut daemon = shop.daemon(&["--clock", "2090-12-04T17:59:59+09:00"]);
    while !daemon.wait_for("occurrence ended").contains("once") {}
    shop.write("campaigns/once.toml", &ONCE.replace("18:00", "19:00"));
    note("it ran, and at changed", shop.run(&["apply", "--yes"]));
    note("the same in Japanese", shop.run(&["--lang", "ja", "apply", "--yes"]));
    shop.write("campaigns/once.toml", &ONCE.replace("18:00\"", "19:00\", rerun = 1"));
    note("with rerun", shop.run(&["apply", "--yes"]));
    assert_snapshot!("one_shots", without_now(&text));
    daemon.terminate();
}

#[test]
fn a_set_clock_never_meets_the_real_line() {
    let shop = stocked();
    let real = shop.read("haishin.toml").replace(&format!("http://{}", shop.line), "https://line.invalid");
    // Beside the clock, what is applied later must not lead out either.
    let daemon = shop.daemon(&["--clock", "2090-01-01T00:00:00+09:00"]);
    shop.write("haishin.toml", &real);
    let mut text = String::new();
    for lang in ["ja", "en"] {
        let said = shop.run(&["--lang", lang, "apply", "--yes"]);
        assert_eq!(said.code, 1);
        text += &said.err;
    }
    // Nor may a system of the shop's be told what never happened.
    let crm = "\n[webhooks.crm]\nurl = \"https://crm.invalid/\"\nsecret = { file = \"secrets/crm\" }\n";
    shop.write(
        "haishin.toml",
        &(real.replace("https://line.invalid", &format!("http://{}", shop.line)) + crm),
    );
    for lang in ["ja", "en"] {
        let said = shop.run(&["--lang", lang, "apply", "--yes"]);
        assert_eq!(said.code, 1);
        text += &said.err;
    }
    assert_eq!(running(&shop), 1);
    daemon.terminate();
    let shop = Shop::new();
    let real = shop.read("haishin.toml").replace(&format!("http://{}", shop.line), "https://line.invalid");
    shop.write("haishin.toml", &real);
    for lang in ["ja", "en"] {
        let said = shop.run(&["--lang", lang, "run", "--clock", "2090-01-01T00:00:00+09:00"]);
        assert_eq!(said.code, 1);
        text += &said.err;
    }
    assert_snapshot!("set_clock", text);
}
