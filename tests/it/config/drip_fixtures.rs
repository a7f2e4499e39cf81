//! Drip files with problems, by topic.

use haishin::config::Source;

use super::{HELLO, MAIN, campaign, drip, shop};

/// A shop with these texts as drips `a`, `b`, ….
fn drips<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, others: &[(&str, &str)]) -> Source {
    let texts = texts.into_iter().zip('a'..='z');
    let named = texts.map(|(text, letter)| (format!("drips/{letter}.toml"), text.as_ref().to_owned()));
    let mut source = shop(others);
    source.files.extend(named);
    source
}

pub fn keys() -> Source {
    let texts = [
        "titel = \"t\"\n\
         category = \"followup\"\n\
         after = \"24h\"\n\
         tag_added = \"体験\"\n\
         schedule = { at = \"2026-12-04 18:00\" }\n\
         once = \"30d\"\n\
         segmnet = \"members\"\n\
         message = [{ type = \"text\", text = \"x\" }]\n\
         \n\
         [[step]]\n\
         nmae = \"a\"\n\
         repeat_after = \"1h\"\n\
         tag_removed = \"体験\"\n\
         text = \"x\"\n\
         [[step.message]]\n\
         type = \"text\"\n\
         text = \"x\"\n\
         at = \"10:00\"\n\
         when_capped = \"skip\"\n"
            .to_owned(),
        "title = \"t\"\n[[step]]\n".to_owned(),
        drip(
            "start ＝ { tag_added = “体験” }\nagain = \"３０d\"\nstop = 「購入済み」",
            "after = \"２４h\"\nat = \"１０：００\"",
        ),
        drip(
            "account = \"kohaku\"\ncategory = \"folowup\"\nsegment = \"member\"\nzone = \"Asia/Tokio\"\n\
             again = \"30 days\"\nif_missed = \"lastest\"\ngrace = \"2\"\nmigrate = \"yes\"\n\
             delivery = \"push\"\nimmediate = true",
            "",
        ),
        drip(
            "segment = \"members\"\naudience = { tag = \"member\" }\nagain = false\nstop = \"購入済み\"",
            "",
        ),
        drip(
            "stop = { tag = \"購入済\" }\ngoal = { tag_added = \"購入済み\" }\nstop_on = { tag_added = \"購入済み\" }",
            "",
        ),
        drip("start = { tag_added = \"体験\", after = \"24h\", at = \"10:00\" }", ""),
    ];
    drips(texts, &[("campaigns/winter.toml", &campaign("start = { tag_added = \"体験\" }\nagain = \"30d\""))])
}

pub fn starts() -> Source {
    let starts = [
        "\"体験\"",
        "{}",
        "{ existing = \"ignore\" }",
        "{ tag_added = \"\", existing = \"enrol\" }",
        "{ tag_added = \"体験\", event = \"cart\" }",
        "{ follow = true }",
        "{ followed = false }",
        "{ followed = { within = \"7d\" } }",
        "{ unfollowed = true }",
        "{ event = \"cart\", within = \"7d\" }",
        "{ event = \"cart\", count = 0, where = { amount = {} } }",
        "{ event = \"cart\", count = { gte = 5, lt = 3 } }",
        "{ event = \"cart\", never = true }",
        "{ attr = \"rank\", eq = \"gold\" }",
        "{ attr = \"points\", eq = \"gold\" }",
        "{ attr = \"points\", gte = 5, lt = 3 }",
        "{ attr = \"birthday\", month = \"this\" }",
        "{ date = \"points\", at = \"10:00\" }",
        "{ date = \"birthday\", every = \"month\", before = \"7d\", after = \"7d\" }",
        "{ date = \"last_login\", after = \"36h\", at = \"10時\" }",
        "{ date = \"birthday\", every = \"year\", at = \"10:00\", existing = \"enroll\" }",
        "{ date = \"birthday\", every = \"year\", at = \"10:00\" }",
        "{ tag_removed = \"会員\", existing = \"enroll\" }",
    ];
    drips(starts.iter().map(|start| drip(&format!("start = {start}"), "")), &[])
}

pub fn endings() -> Source {
    let endings = [
        "\"purchase\"",
        "{}",
        "{ event = \"purchase\", count = 2, within = \"7d\" }",
        "{ event = \"\", where = \"amount\" }",
        "{ followed = true }",
        "{ attr = \"points\", gte = 100 }",
        "{ unfollowed = false }",
        "{ tag_added = \"会員\", tag_removed = \"体験\" }",
    ];
    let lines = endings.iter().zip(["stop_on", "goal"].into_iter().cycle());
    drips(lines.map(|(ending, key)| drip(&format!("{key} = {ending}"), "")), &[])
}

pub fn steps() -> Source {
    let steps = [
        "after = \"24h\"\nday = 1\nat = \"10:00\"",
        "after = \"1m\"",
        "after = \"翌日\"\nat = \"10時\"",
        "day = 0\nat = []",
        "day = 1\non = \"月曜\"\nexcept = \"正月\"",
        "at = \"10:00\"\non = [\"sat\", \"sun\"]\nexcept = [\"sat\", \"sun\"]",
        "when_capped = \"defer\"",
        "when_capped = { defer = \"5m\" }",
        "segment = \"member\"",
        "every = \"day\"\nat = \"22:30\"",
    ];
    let twice = format!("{}\n[[step]]\nname = \"a\"\nafter = \"7d\"\nmessage = []\n", drip("", ""));
    let none = "title = \"t\"\nstart = { tag_added = \"体験\" }\nstep = []\n".to_owned();
    drips(steps.iter().map(|step| drip("", step)).chain([twice, none]), &[])
}

pub fn contents() -> Source {
    let contents = [
        "message = [{ type = \"text\" }]\naction = [{ tag = \"x\" }]",
        "action = []",
        "when_capped = \"skip\"\naction = [{}, \"x\", { tag = \"x\", untag = \"y\" }, { tag = \"x\", for = \"1m\" }]",
        "action = [\n  { attr = \"rank\", value = \"gold\" },\n  { attr = \"points\", value = \"gold\" },\n  { attr = \"points\" },\n  \
         { attr = \"last_login\", value = 1 },\n  { unset = \"prefectur\" },\n  { unset = \"points\", value = 1 },\n]",
        "action = [{ rich_menu = \"menu-1\" }, { rich_menu = \"unlnk\" }, { webhook = \"crn\" }, { webhook = \"\" }]",
        "[[step.branch]]\nsegment = \"members\"\nmessage = [{ type = \"text\", text = \"a\" }]\n\
         [[step.branch]]\nmessage = [{ type = \"text\", text = \"b\" }]\n\
         [[step.branch]]\nname = \"a\"\nshare = \"50%\"\naudience = { tag = \"\" }\n",
        "branch = []",
        "[step.message]\ntype = \"text\"\ntext = \"x\"\n",
        "[step.variant]\nshare = \"50%\"\n",
        "[step.branch]\nsegment = \"members\"\n",
        "[[step.variant]]\nshare = \"50%\"\nmessage = [{ type = \"txt\" }]\n\
         [[step.variant]]\nshare = \"40%\"\nsegment = \"members\"\nmessage = [{ type = \"text\", text = \"b\" }]\n",
    ];
    let text = |content: &&str| drip("", content).replace(HELLO, "");
    let main = format!("[webhooks.crm]\nurl = \"https://crm.example\"\nsecret = {{ env = \"CRM\" }}\n{MAIN}");
    drips(contents.iter().map(text), &[("haishin.toml", &main)])
}

/// What only the whole drip shows.
pub fn whole() -> Source {
    let step = |name: &str, when: &str, text: &str| {
        format!("[[step]]\nname = \"{name}\"\n{when}\nmessage = [{{ type = \"text\", text = \"{text}\" }}]\n")
    };
    let steps = |lines: &str, steps: &[(&str, &str, &str)]| {
        let steps: String = steps.iter().map(|(name, when, text)| step(name, when, text)).collect();
        format!("title = \"t\"\nstart = {{ tag_added = \"体験\" }}\n{lines}\n{steps}")
    };
    let texts = [
        // As if `after` counted from the step before.
        steps("", &[("one", "after = \"24h\"", "1"), ("two", "after = \"24h\"", "2")]),
        steps("", &[("one", "after = \"24h\"\nat = \"10:00\"", "1"), ("two", "at = \"18:00\"", "2")]),
        // Right behind the step before: nothing to say.
        steps("", &[("one", "after = \"24h\"", "1"), ("two", "", "2")]),
        steps("", &[("one", "after = \"1h\"", "1"), ("two", "", "1"), ("three", "after = \"12h\"", "1")]),
        steps("", &[("one", "day = 1\nat = \"10:00\"", "1"), ("two", "day = 1\nat = \"16:00\"", "1")]),
        steps("repeat_after = \"6h\"", &[("one", "after = \"1h\"", "1"), ("two", "after = \"7h\"", "1")]),
        drip("again = \"6h\"", ""),
        drip("again = \"6h\"\nrepeat_after = \"6h\"", ""),
        drip("", "day = 1\nat = [\"10:00\", \"22:00\"]"),
        drip("category = \"service\"\nimmediate = true", "day = 1\nat = \"22:00\""),
        drip(
            "audience = { not = { received = \"winter-cupon\" } }\nstop = { segment = \"member\" }",
            "audience = { attr = \"points\", eq = \"x\" }",
        ),
    ];
    drips(texts, &[("campaigns/winter-coupon.toml", &campaign(""))])
}
