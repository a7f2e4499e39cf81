//! `haishin check` as a whole: output, JSON, exit code; and that no secret is ever in it.

use std::fs;
use std::path::Path;

use haishin::config::{Format, Source, Style, check_report, parse, render};
use haishin::lang::Lang;

use super::{MAIN, MEMBERS, campaign, drip, now};

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn report(files: &[(&str, &str)], lang: Lang, format: Format) -> (String, u8) {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), files);
    let report = check_report(directory.path(), now(), lang, format).unwrap();
    let shown = directory.path().display().to_string();
    (report.output.replace(&shown, "DIR"), report.exit_code)
}

#[test]
fn a_clean_directory_says_so() {
    let files =
        [("haishin.toml", MAIN), ("segments/members.toml", MEMBERS), ("campaigns/a.toml", &campaign(""))];
    let plain = Format::Text(Style::Plain);
    assert_eq!(report(&files, Lang::Ja, plain), ("3ファイルに問題はありません\n".to_owned(), 0));
    assert_eq!(report(&files, Lang::En, plain), ("3 files, no problems\n".to_owned(), 0));
    let (json, code) = report(&files, Lang::En, Format::Json);
    assert_eq!(code, 0);
    insta::assert_snapshot!(json, @r#"{"diagnostics":[],"errors":0,"hints":0,"ok":true,"steps":[],"warnings":0}"#);
}

/// Drips with every kind of wait for a local time.
fn drips() -> [(&'static str, String); 4] {
    let step =
        |name: &str, when: &str| format!("[[step]]\nname = \"{name}\"\n{when}\naction = {{ tag = \"x\" }}\n");
    let label = [
        step("at-once", ""),
        step("elapsed", "after = \"3h\""),
        step("coupon", "after = \"24h\"\nat = \"10:00\""),
        step("evening", "after = \"36h\"\nat = [\"18:00\", \"20:30\"]"),
        step("working-day", "day = 3\nat = \"10:00\"\non = [\"mon\", \"thu\", \"fri\"]"),
        step(
            "holidays",
            "day = 9\nat = \"9:05\"\nexcept = [\"2026-12-29..2027-01-03\", \"jp-holidays\", \"sun\", 2027-01-05]",
        ),
    ];
    let label = format!("title = \"体験のあと\"\nstart = {{ tag_added = \"体験\" }}\n{}", label.concat());
    let birthday = format!(
        "title = \"誕生日\"\nstart = {{ date = \"birthday\", every = \"year\", at = \"09:00\" }}\nagain = \"300d\"\n{}{}",
        step("same-day", "at = \"12:00\""),
        step("next-day", "day = 1\nat = \"12:00\"\non = \"sat\""),
    );
    let berlin = drip("zone = \"Europe/Berlin\"", "after = \"30min\"\nat = \"12:00\"");
    let moved_never = drip("", "after = \"90min\"\nat = \"12:10\"\nexcept = 2020-01-01");
    [
        ("drips/birthday.toml", birthday),
        ("drips/berlin.toml", berlin),
        ("drips/label.toml", label),
        ("drips/moved-never.toml", moved_never),
    ]
}

#[test]
fn check_says_what_local_times_of_steps_mean() {
    let drips = drips();
    let mut files = vec![("haishin.toml", MAIN), ("attributes.toml", super::ATTRIBUTES)];
    files.extend(drips.iter().map(|(path, text)| (*path, text.as_str())));
    let text = |lang| report(&files, lang, Format::Text(Style::Plain));
    let ((ja, code), (en, _)) = (text(Lang::Ja), text(Lang::En));
    assert_eq!(code, 0);
    insta::assert_snapshot!("check_meanings", format!("{ja}\n{}\n\n{en}", "=".repeat(100)));
    let (json, _) = report(&files, Lang::En, Format::Json);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    insta::assert_snapshot!(json["steps"][3], @r#"{"drip":"label","examples":[{"due":"2026-12-05T10:00:00+09:00","start":"2026-12-04T09:00:00+09:00"},{"due":"2026-12-06T10:00:00+09:00","start":"2026-12-04T11:00:00+09:00"}],"means":"the first 10:00 from 24 hours (1 d) after the start on","step":"coupon"}"#);
    let steps = json["steps"].as_array().unwrap().len();
    assert_eq!((&json["hints"], &json["warnings"], steps), (&0.into(), &0.into(), 8), "they are no problems");

    // What does not hold yet is not explained yet.
    let broken = drip("again = \"x\"", "");
    files.push(("drips/broken.toml", &broken));
    let (en, code) = report(&files, Lang::En, Format::Text(Style::Plain));
    assert_eq!(code, 1);
    assert!(!en.contains("what the times"), "{en}");
}

#[test]
fn problems_are_counted_and_end_with_one() {
    let late = campaign("onec = \"30d\"").replace("2026-12-04", "2026-12-01");
    let files =
        [("haishin.toml", MAIN), ("segments/members.toml", MEMBERS), ("campaigns/a.toml", late.as_str())];
    let (text, code) = report(&files, Lang::En, Format::Text(Style::Plain));
    assert_eq!(code, 1);
    insta::assert_snapshot!(text, @r#"
    error: unknown key `onec`
     --> DIR/campaigns/a.toml:3:1
      |
    3 | onec = "30d"
      | ^^^^ not a key here
      |
      = help: did you mean `once`?

    warning: this time has passed
     --> DIR/campaigns/a.toml:4:19
      |
    4 | schedule = { at = "2026-12-01 18:00" }
      |                   ^^^^^^^^^^^^^^^^^^ 2026-12-01 18:00 lies in the past
      |
      = help: if it has not been sent yet, choose a time to come

    3 files; errors: 1, warnings: 1, notes: 0
    "#);
    let (json, code) = report(&files, Lang::Ja, Format::Json);
    assert_eq!(code, 1);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let second = &json["diagnostics"][1];
    assert_eq!(second["problem"]["kind"], "already_past");
    assert_eq!(second["problem"]["at"], "2026-12-01T09:00:00.000Z");
    assert_eq!((&second["line"], &second["column"]), (&4.into(), &19.into()));
}

#[test]
fn a_warning_alone_ends_with_zero() {
    let late = campaign("").replace("2026-12-04", "2026-12-01");
    let files =
        [("haishin.toml", MAIN), ("segments/members.toml", MEMBERS), ("campaigns/a.toml", late.as_str())];
    assert_eq!(report(&files, Lang::En, Format::Text(Style::Colour)).1, 0);
}

/// However a secret is written into the file by mistake, no output repeats it.
#[test]
fn no_output_repeats_a_secret() {
    const SECRET: &str = "hunter2hunter2";
    let account = |line: &str| format!("[accounts.koharu]\nchannel_id = \"1\"\n{line}\nrate = \"of\"\n");
    let mains = [
        account(&format!("channel_secret = \"{SECRET}\"")),
        account(&format!("channel_secret = '''\n{SECRET}'''")),
        account(&format!("channel_secret = \"\"\"\\\n  {SECRET}\"\"\"")),
        account(&format!("channel_secret = “{SECRET}”")),
        account(&format!("channel_secret ＝ \"{SECRET}\"")),
        account(&format!("channel_secret = {SECRET}")),
        account(&format!("channel_secret \"{SECRET}\"")),
        account(&format!("channel_secrt = \"{SECRET}\"")),
        account(&format!("access_token = [\"{SECRET}\"]")),
        account(&format!("access_token = [\n  \"{SECRET}\",\n]")),
        account(&format!("access_token = {{ value = \"{SECRET}\" }}")),
        account(&format!("access_token = {{ file = \"a\", value = \"{SECRET}\" }}")),
        account(&format!("[accounts.koharu.access_token]\nvalue = \"{SECRET}\"")),
        account(&format!("[accounts.koharu.channel_secret]\nfile = 1\ntoken = \"{SECRET}\"")),
        format!("accounts.koharu = {{ channel_id = \"1\", channel_secret = \"{SECRET}\" }}\n"),
        format!("[database]\nurl = \"postgres://haishin:{SECRET}@db/x\"\n{MAIN}"),
        format!("[database]\nurl = \"postgres://db/x?password={SECRET}\"\n{MAIN}"),
        format!("[database]\nurl = \"postgrs://haishin:{SECRET}@db/x\"\n{MAIN}"),
        format!("[database]\npassword = \"{SECRET}\"\n{MAIN}"),
    ];
    for main in mains {
        let source = Source::from_iter([("haishin.toml", main.as_str())]);
        let checked = parse(&source, now());
        assert!(checked.configuration.is_none(), "{main}");
        for lang in [Lang::Ja, Lang::En] {
            let shown = render(&checked.diagnostics, &source, "", lang, Style::Plain);
            assert!(!shown.contains(SECRET), "{shown}");
            let (json, _) = report(&[("haishin.toml", &main)], lang, Format::Json);
            assert!(!json.contains(SECRET), "{json}");
        }
        assert!(!format!("{:?}", checked.diagnostics).contains(SECRET), "{main}");
    }
}
