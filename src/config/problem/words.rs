//! The texts of every problem, Japanese and English side by side so that they cannot drift apart.

use super::{Expected, LengthUnit, Problem};
use crate::domain::attribute::AttributeType;
use crate::domain::schedule::{CronError, CronField};
use crate::domain::time::Span;
use crate::lang::Lang;
use crate::text::one_line;

/// Of one text. Ours are shorter; a key or a file can be called anything.
const CHARS_MAX: usize = 2_000;

/// What is said about a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// What is wrong.
    pub title: String,
    /// Stands beside the caret; may be empty.
    pub label: String,
    /// What to do; may be empty.
    pub help: String,
}

macro_rules! say {
    ($lang:expr, [$ja_title:literal, $ja_label:literal, $ja_help:expr], [$title:literal, $label:literal, $help:expr]) => {
        match $lang {
            Lang::Ja => Words { title: format!($ja_title), label: format!($ja_label), help: $ja_help.into() },
            Lang::En => Words { title: format!($title), label: format!($label), help: $help.into() },
        }
    };
}

fn did_you_mean(lang: Lang, suggestion: &Option<String>) -> Option<String> {
    suggestion
        .as_ref()
        .map(|it| lang.pick(format!("`{it}` ではありませんか?"), format!("did you mean `{it}`?")))
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// "did you mean", else all there is where that is short enough to read, else the remedy.
fn help(lang: Lang, suggestion: &Option<String>, known: &[String], remedy: &str) -> String {
    if let Some(text) = did_you_mean(lang, suggestion) {
        return text;
    }
    match known.len() {
        1..=24 => lang.pick(format!("使えるのは {} です", list(known)), format!("there are {}", list(known))),
        _ => remedy.to_owned(),
    }
}

fn type_name(lang: Lang, declared: AttributeType) -> &'static str {
    match declared {
        AttributeType::Text => lang.pick("文字列(text)", "a text"),
        AttributeType::Integer => lang.pick("整数(integer)", "an integer"),
        AttributeType::Number => lang.pick("数(number)", "a number"),
        AttributeType::Boolean => lang.pick("真偽(boolean)", "a boolean"),
        AttributeType::Date => lang.pick("日付(date)", "a date"),
        AttributeType::Instant => lang.pick("日時(instant)", "an instant"),
    }
}

fn type_tests(declared: AttributeType) -> &'static str {
    match declared {
        AttributeType::Text => "eq ne in not_in gt gte lt lte contains starts_with is_set",
        AttributeType::Integer | AttributeType::Number => "eq ne in not_in gt gte lt lte is_set",
        AttributeType::Boolean => "eq ne is_set",
        AttributeType::Date => {
            "eq ne in not_in gt gte lt lte age month day past ahead ago_at_least on_day is_set"
        }
        AttributeType::Instant => "eq ne in not_in gt gte lt lte past ahead ago_at_least is_set",
    }
}

impl Problem {
    /// What to say about it in a language: each text is one line, whatever keys and files are called.
    pub fn words(&self, lang: Lang) -> Words {
        let said = self.said(lang);
        let shown = |text: &str| one_line(text, CHARS_MAX);
        Words { title: shown(&said.title), label: shown(&said.label), help: shown(&said.help) }
    }
}

// One row a language, so that a reader compares them; rustfmt would break each into many lines.
#[rustfmt::skip]
impl Problem {
    fn said(&self, lang: Lang) -> Words {
        match self {
            Problem::NotUtf8 { offset } => say!(lang,
                ["UTF-8ではないファイルです({offset}バイト目から読めません)", "", "文字コードをUTF-8にして保存し直してください"],
                ["this file is not UTF-8 (from byte {offset} on)", "", "save it again as UTF-8"]),
            Problem::NoMainFile => say!(lang,
                ["haishin.toml がありません", "", "このフォルダに haishin.toml を作り、[accounts.名前] を書いてください"],
                ["there is no haishin.toml", "", "create haishin.toml in this folder with an [accounts.NAME] table"]),
            Problem::Syntax { detail } => syntax(lang, detail),
            Problem::FullWidth { found, instead } if instead.trim().is_empty() => say!(lang,
                ["全角の空白「{found}」があります", "半角の空白にします", "全角の空白が使えるのは \"…\" の中と # の後だけです"],
                ["a full-width space", "type a plain space here", "full-width spaces may stand inside \"…\" and after # only"]),
            Problem::FullWidth { found, instead } => say!(lang,
                ["全角の「{found}」があります", "半角の {instead} にします", "日本語入力をオフにして打ち直してください(全角でよいのは \"…\" の中と # の後だけです)"],
                ["a full-width `{found}`", "type {instead} here", "full-width characters may stand inside \"…\" and after # only"]),
            Problem::ForeignKey { key } => say!(lang,
                ["`{key}` という項目はありません", "項目名は半角の英字です", "title や segment のような半角の名前を使います"],
                ["there is no key `{key}`", "keys are plain letters a-z", "use the keys' own names, such as title or segment"]),
            Problem::StrayFile { suggestion } => say!(lang,
                ["読まれないファイルです", "", suggestion.as_ref().map_or_else(|| "読まれるのは haishin.toml、attributes.toml、segments/、campaigns/、drips/ です".to_owned(), |it| format!("`{it}` のつもりではありませんか?"))],
                ["this file is not read", "", suggestion.as_ref().map_or_else(|| "haishin.toml, attributes.toml, segments/, campaigns/ and drips/ are".to_owned(), |it| format!("did you mean `{it}`?"))]),
            Problem::BadSlug { slug } => say!(lang,
                ["`{slug}` は名前に使えません", "", "1〜64文字の文字・数字・`-`・`_` にしてください"],
                ["`{slug}` cannot be a name here", "", "use 1 to 64 letters, digits, `-` or `_`"]),
            Problem::DuplicateSlug { slug, other } => say!(lang,
                ["`{slug}` が二つあります", "", format!("もう一つは {other} です。どちらかのファイル名を変えてください")],
                ["there are two of `{slug}`", "", format!("the other is {other}; rename one of the files")]),
            Problem::UnknownKey { key, suggestion, known } => say!(lang,
                ["`{key}` という項目はありません", "ここでは使えません", help(lang, suggestion, known, "")],
                ["unknown key `{key}`", "not a key here", help(lang, suggestion, known, "")]),
            Problem::WrongPlace { key, home } if home.is_empty() => say!(lang,
                ["`{key}` の場所が違います", "ここではありません", "ファイルの先頭、最初の [見出し] より上に書いてください"],
                ["`{key}` is in the wrong place", "not here", "it belongs at the top of the file, above the first [header]"]),
            Problem::WrongPlace { key, home } => say!(lang,
                ["`{key}` の場所が違います", "ここではありません", format!("{home} の下に書いてください")],
                ["`{key}` is in the wrong place", "not here", format!("it belongs under {home}")]),
            Problem::OtherFolder { key, folder } => say!(lang,
                ["`{key}` は {folder} のファイルの項目です", "このファイルでは使えません", format!("ファイルを {folder} に置いてください")],
                ["`{key}` is a key of files in {folder}", "not in this file", format!("a file with it belongs in {folder}")]),
            Problem::OnlyIn { key, of } if of == "start" => say!(lang,
                ["`{key}` が使えるのは {of} だけです", "ここでは使えません", "stop_on と goal に書けるのは event tag_added tag_removed unfollowed です"],
                ["only `{of}` takes `{key}`", "not here", "`stop_on` and `goal` take `event`, `tag_added`, `tag_removed` or `unfollowed`"]),
            Problem::OnlyIn { key, of } => say!(lang,
                ["`{key}` が使えるのは {of} と goal だけです", "ここでは使えません", "ブロックした人には何も送れません"],
                ["only `{of}` and `goal` take `{key}`", "not here", "nothing can be sent to who has blocked the account"]),
            Problem::MissingKey { key } => say!(lang,
                ["`{key}` がありません", "ここに必要です", ""],
                ["`{key}` is missing", "needed here", ""]),
            Problem::MissingOneOf { keys } => say!(lang,
                ["必要な項目がありません", "ここに必要です", format!("{} のどれか一つを書いてください", list(keys))],
                ["a key is missing", "needed here", format!("write one of {}", list(keys))]),
            Problem::WrongType { expected, found } => {
                let (expected, found) = (expected.text(lang), found.text(lang));
                say!(lang,
                    ["値の種類が違います", "{found}です", format!("{expected}を書きます")],
                    ["a value of another kind", "this is {found}", format!("expected {expected}")])
            }
            Problem::BadValue { expected, found, suggestion } => {
                let expected = expected.text(lang);
                say!(lang,
                    ["`{found}` は使えません", "{expected}を書きます", did_you_mean(lang, suggestion).unwrap_or_default()],
                    ["`{found}` does not fit here", "expected {expected}", did_you_mean(lang, suggestion).unwrap_or_default()])
            }
            Problem::BadCron { error } => {
                let expected = Expected::Cron.text(lang);
                say!(lang,
                    ["cronとして読めません", "{expected}を書きます", cron(lang, error)],
                    ["this is no cron expression", "expected {expected}", cron(lang, error)])
            }
            Problem::ZoneNeeded => say!(lang,
                ["どの地域の「今日」か分かりません", "ここに zone が必要です", "アカウントによってタイムゾーンが違います。zone = \"Asia/Tokyo\" のように書いてください"],
                ["whose today is this?", "needs a zone", "the accounts have several time zones; write one, such as zone = \"Asia/Tokyo\""]),
            Problem::AmbiguousMinute { number } => say!(lang,
                ["単位 `m` は分とも月とも読めます", "どちらですか?", format!("分なら `{number}min`、日数なら `{number}d` のように書きます")],
                ["the unit `m` could be minutes or months", "which one?", format!("write `{number}min` for minutes, or days such as `{number}d`")]),
            Problem::Unknown { noun, name, suggestion, known } => {
                let (word, remedy) = (noun.text(lang), noun.remedy(lang));
                say!(lang,
                    ["{word} `{name}` はありません", "見つかりません", help(lang, suggestion, known, remedy)],
                    ["there is no {word} `{name}`", "not found", help(lang, suggestion, known, remedy)])
            }
            Problem::Conflict { key, other } => say!(lang,
                ["`{key}` と `{other}` は一緒に書けません", "どちらか一つにします", ""],
                ["`{key}` and `{other}` exclude each other", "keep one of them", ""]),
            Problem::Later { feature } => say!(lang,
                ["`{feature}` はまだ使えません", "今後のバージョンで使えるようになります", "今は消してください"],
                ["`{feature}` comes in a later version", "not available yet", "remove it for now"]),
            Problem::EmptyList { everybody: true } => say!(lang,
                ["条件のない `all` は全員を選びます", "空です", "本当に全員なら { status = \"following\" } と書くと読む人に伝わります"],
                ["an empty `all` selects everybody", "empty", "if you mean everybody, { status = \"following\" } says so"]),
            Problem::EmptyList { everybody: false } => say!(lang,
                ["空の一覧は誰も選びません", "空です", "条件や値を書いてください"],
                ["an empty list selects nobody", "empty", "put a condition or a value in"]),
            Problem::AtLeastTooMany { k, of } => say!(lang,
                ["{of}個の条件のうち{k}個は成り立ちません", "誰も選ばれません", "数を減らすか、条件を足してください"],
                ["{k} of {of} conditions can never hold", "selects nobody", "lower the number or add conditions"]),
            Problem::TypeMismatch { attribute, declared, found } => {
                let (name, tests) = (type_name(lang, *declared), type_tests(*declared));
                say!(lang,
                    ["属性 `{attribute}` は{name}です", "`{found}` は使えません", format!("使えるのは {tests} です(型は attributes.toml で決まります)")],
                    ["attribute `{attribute}` is {name}", "`{found}` does not fit", format!("it takes {tests} (attributes.toml declares the type)")])
            }
            Problem::Cycle { path } => say!(lang,
                ["セグメントが自分自身を含んでいます", "ここで一回りします", path.join(" → ")],
                ["a segment contains itself", "closes the circle", path.join(" → ")]),
            Problem::TooDeep { max } => say!(lang,
                ["条件の入れ子が深すぎます({max}段まで)", "", "名前で呼んでいるセグメントの中も数えます。条件をまとめてください"],
                ["the rule nests too deep (at most {max} levels)", "", "segments by name are counted in; flatten it"]),
            Problem::NearTag { tag, other } => say!(lang,
                ["タグ `{tag}` は `{other}` の書き間違いではありませんか?", "他では `{other}` と書かれています", "別のタグならこのままで構いません"],
                ["tag `{tag}`: did you mean `{other}`?", "elsewhere it is `{other}`", "if they are two tags, leave it"]),
            Problem::UnknownCampaign { slug, suggestion } => say!(lang,
                ["配信 `{slug}` のファイルがありません", "過去の配信なら問題ありません", did_you_mean(lang, suggestion).unwrap_or_default()],
                ["no file describes the campaign `{slug}`", "fine if it was sent in the past", did_you_mean(lang, suggestion).unwrap_or_default()]),
            Problem::TwoOfOneName { name } => say!(lang,
                ["`{name}` が二つあります", "二つ目です", "別の名前にしてください"],
                ["there are two of `{name}`", "the second", "give it another name"]),
            Problem::SharesSum { sum } => say!(lang,
                ["share の合計が {sum} です", "合計をちょうど 100% にします", "全部省くと同じ割合になります"],
                ["the shares sum to {sum}", "must be exactly 100 %", "leave all of them out for equal shares"]),
            Problem::SharesPartly => say!(lang,
                ["share のある案とない案があります", "この案にはありません", "全部に書くか、全部省いてください"],
                ["some arms have a share and some have none", "none here", "give every arm a share, or none"]),
            Problem::AccountNeeded { known } => say!(lang,
                ["どのアカウントの配信か分かりません", "", format!("account = \"…\" を書いてください。アカウントは {} です", list(known))],
                ["whose campaign is this?", "", format!("write account = \"…\"; there are {}", list(known))]),
            Problem::NoAccount => say!(lang,
                ["アカウントがありません", "", "haishin.toml に [accounts.名前] を書いてください"],
                ["there is no account", "", "write an [accounts.NAME] table in haishin.toml"]),
            Problem::TwoAccountsOneChannel { other } => say!(lang,
                ["チャネルIDが `{other}` と同じです", "一つのチャネルは一つのアカウントです", "LINE Developersでチャネルごとの番号を確かめてください"],
                ["the same channel id as `{other}`", "one channel is one account", "look the id of each channel up in the LINE Developers console"]),
            Problem::LiteralSecret { key } => say!(lang,
                ["`{key}` をファイルに直接書かないでください", "秘密の値です", "{ file = \"…\" }、{ env = \"…\" }、{ credential = \"…\" } のどれかで場所を書きます。この値はもう秘密ではないので、新しいものに替えてください"],
                ["`{key}` must not stand in the file itself", "a secret", "say where it is: { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }; this one is no secret any more: replace it by a new one"]),
            Problem::PlainHttp => say!(lang,
                ["暗号化されない http は自分のコンピュータ宛てだけです", "https ではありません", "https:// で始めるか、127.0.0.1 にしてください"],
                ["plain http goes to this machine only", "not https", "begin it with https://, or use 127.0.0.1"]),
            Problem::RateOff => say!(lang,
                ["rate = \"off\" は自分のコンピュータ宛てだけです", "LINEには上限があります", "1秒あたりの回数を書いてください(LINEのmulticastは200まで)"],
                ["rate = \"off\" is for this machine only", "LINE has a limit", "write requests per second (LINE takes 200 multicasts)"]),
            Problem::NotImmediate { category } => say!(lang,
                ["カテゴリ `{category}` では immediate を使えません", "静かな時間帯には送れません", "haishin.toml の [categories] で may_be_immediate = true にしたカテゴリだけです"],
                ["category `{category}` does not allow immediate", "quiet hours hold", "only categories with may_be_immediate = true in haishin.toml"]),
            Problem::AlreadyPast { local, .. } => say!(lang,
                ["予定の時刻は過ぎています", "{local} は過去です", "まだ送っていない配信なら、これからの日時にしてください"],
                ["this time has passed", "{local} lies in the past", "if it has not been sent yet, choose a time to come"]),
            Problem::EndBeforeStart { start } => say!(lang,
                ["終わりが始まりより前です", "`{start}` より後にします", ""],
                ["it ends before it starts", "must be after `{start}`", ""]),
            Problem::NeverFires => say!(lang,
                ["一度も配信されない予定です", "当てはまる日時がありません", "日付と曜日、from / until / except を見直してください"],
                ["this schedule never fires", "no date fits", "look at its days, and at from, until and except"]),
            Problem::RepeatsTooSoon { gap, window } => say!(lang,
                ["同じ内容を{gap}おきに送る予定です", "{window}以内に同じ内容は届きません", format!("間を空けるか、repeat_after = \"{gap}\" と書いてください")],
                ["the same content would be due every {gap}", "not twice to a friend within {window}", format!("leave more time between, or write repeat_after = \"{gap}\"")]),
            Problem::NeverStarts => say!(lang,
                ["誰も始まらないシナリオです", "当てはまることがありません", "回数や値の条件を見直してください"],
                ["this drip can never start", "nothing fits this", "look at its numbers and values"]),
            Problem::CannotEnroll => say!(lang,
                ["この始まり方では existing = \"enroll\" を使えません", "前に誰に起きたかは分かりません", "\"enroll\" が使えるのは tag_added event followed attr です"],
                ["existing = \"enroll\" does not go with this start", "whom it happened to before is not known", "it goes with `tag_added`, `event`, `followed` and `attr`"]),
            Problem::YearlyOnce => say!(lang,
                ["毎年の日付なのに、一人一度しか始まりません", "again が \"never\" です", "毎年始めるなら again = \"300d\" と書いてください"],
                ["every year, but each friend starts once only", "`again` is \"never\"", "write again = \"300d\" to start every year"]),
            Problem::RestNotLast => say!(lang,
                ["条件のない分岐は最後にだけ置けます", "segment か audience が必要です", "条件のない分岐は「それ以外の全員」です"],
                ["only the last branch may have no rule", "needs `segment` or `audience`", "a branch without a rule is for everybody else"]),
            Problem::StepNeverDue => say!(lang,
                ["このステップの予定は一度も来ません", "当てはまる日がありません", "on と except を見直してください"],
                ["this step is never due", "no day fits", "look at `on` and `except`"]),
            Problem::OutOfOrder { step, before } => say!(lang,
                ["`{step}` の予定が `{before}` より後になりません", "`{before}` のすぐ後になります", "after と day は前のステップからではなく、開始から数えます"],
                ["`{step}` is due no later than `{before}`", "comes right behind `{before}`", "`after` and `day` count from the start, not from the step before"]),
            Problem::SameContent { step, other, gap: Span::ZERO, window } => say!(lang,
                ["`{step}` は `{other}` と同じ内容で、同時になることがあります", "{window}以内に同じ内容は届きません", "間を空けるか、内容を変えてください"],
                ["`{step}` has the content of `{other}` and may be due at the same time", "not twice to a friend within {window}", "leave time between, or change the content"]),
            Problem::SameContent { step, other, gap, window } => say!(lang,
                ["`{step}` は `{other}` と同じ内容で、{gap}後になることがあります", "{window}以内に同じ内容は届きません", format!("間を空けるか、内容を変えるか、repeat_after = \"{gap}\" と書いてください")],
                ["`{step}` has the content of `{other}` and may be due {gap} after it", "not twice to a friend within {window}", format!("leave more time between, change the content, or write repeat_after = \"{gap}\"")]),
            Problem::OffsetWins { local, zone } => say!(lang,
                ["時差の指定を優先します", "{zone} では {local} です", ""],
                ["the offset is taken", "{local} in {zone}", ""]),
            Problem::SkippedTime { taken } => say!(lang,
                ["この時刻は時計に現れません", "{taken} に配信します", "夏時間が始まる日です"],
                ["the clock never shows this time", "taken as {taken}", "daylight saving begins that day"]),
            Problem::RepeatedTime { taken } => say!(lang,
                ["この時刻は二度あります", "一度目の {taken} に配信します", "夏時間が終わる日です。二度目なら時差を付けてください"],
                ["the clock shows this time twice", "taken as the first, {taken}", "daylight saving ends that day; write an offset for the second"]),
            Problem::DueInQuietHours { ends } => say!(lang,
                ["静かな時間帯の予定です", "届くのは {ends} です", "時刻を変えるか、そのままでよければこのままで構いません"],
                ["due in the quiet hours", "goes out at {ends}", "change the time, or leave it if that is meant"]),
            Problem::DeadlineInQuietHours { ends } => say!(lang,
                ["静かな時間帯が終わる前に締め切られます", "{ends} まで送れません", "deadline を後にするか、時刻を変えてください"],
                ["the deadline passes within the quiet hours", "nothing goes out before {ends}", "move the deadline or the time"]),
            Problem::BadTemplate { expression } => say!(lang,
                ["`{{{{ {expression} }}}}` は分かりません", "この文章の中", "使えるのは {{ link('https://…') }} です"],
                ["cannot read `{{{{ {expression} }}}}`", "in this text", "there is {{ link('https://…') }}"]),
            Problem::TooLong { max, is, unit } => too_long(lang, *max, *is, *unit),
            Problem::WrongCount { min, max, is } if min == max => say!(lang,
                ["ちょうど{max}個必要です", "{is}個あります", ""],
                ["exactly {max} are needed", "there are {is}", ""]),
            Problem::WrongCount { min, max, is } => say!(lang,
                ["{min}〜{max}個にしてください", "{is}個あります", ""],
                ["from {min} to {max} are allowed", "there are {is}", ""]),
            Problem::BadJson { line, column, detail } => say!(lang,
                ["JSONとして読めません", "この中の{line}行目{column}文字目", detail.clone()],
                ["this is not JSON", "line {line}, column {column} of this text", detail.clone()]),
            Problem::Message { rule } => {
                let [title, label, help] = rule.texts(lang);
                Words { title, label, help }
            }
        }
    }
}

/// What is wrong with a cron expression; the parser itself speaks English.
fn cron(lang: Lang, error: &CronError) -> String {
    if lang == Lang::En {
        return error.to_string();
    }
    match error {
        CronError::Fields { found } => format!("項目が{found}個あります。分 時 日 月 曜日 の5個を書きます"),
        CronError::Nickname(name) => format!("`{name}` は使えません。毎日10時なら `0 10 * * *` です"),
        CronError::Field { field, part, .. } => {
            let name = match field {
                CronField::Minute => "分",
                CronField::Hour => "時",
                CronField::MonthDay => "日",
                CronField::Month => "月",
                CronField::Weekday => "曜日",
            };
            format!("{name}の `{part}` が使えません。{name}に書けるのは {} です", field.expected())
        }
    }
}

#[rustfmt::skip]
fn too_long(lang: Lang, max: usize, is: usize, unit: LengthUnit) -> Words {
    match unit {
        LengthUnit::Utf16 => say!(lang,
            ["長すぎます({max}文字まで)", "{is}文字あります", "LINEの数え方では、ほとんどの絵文字は2文字です"],
            ["too long (at most {max})", "{is} UTF-16 units", "LINE counts UTF-16 units: most emoji are two"]),
        LengthUnit::Graphemes => say!(lang,
            ["長すぎます({max}文字まで)", "{is}文字あります", ""],
            ["too long (at most {max})", "{is} characters", ""]),
        LengthUnit::Bytes => say!(lang,
            ["大きすぎます({max}バイトまで)", "JSONにすると{is}バイトです", "内容を分けるか減らしてください"],
            ["too large (at most {max} bytes)", "{is} bytes as JSON", "split it or leave something out"]),
    }
}

/// The TOML parser speaks English only: what people really run into is said in both languages, and its own words
/// stand in the help for the rest.
#[rustfmt::skip]
fn syntax(lang: Lang, detail: &str) -> Words {
    if detail.starts_with("duplicate key") {
        return say!(lang,
            ["同じ項目が二度あります", "二つ目です", "どちらかを消してください"],
            ["the same key stands here twice", "the second", "remove one of them"]);
    }
    if detail.contains("must be quoted") || detail.starts_with("invalid value") {
        return say!(lang,
            ["値が読めません", "文字は \"…\" で囲みます", ""],
            ["cannot read this value", "a text needs quotes: \"…\"", ""]);
    }
    if detail.starts_with("missing assignment")
        || detail.starts_with("key with no value")
        || detail.starts_with("missing value")
    {
        return say!(lang,
            ["`名前 = 値` の形ではありません", "ここで途切れています", ""],
            ["not of the form `key = value`", "breaks off here", ""]);
    }
    if detail.contains("unclosed")
        || detail.contains("expected `\"`")
        || detail.contains("expected `'`")
        || detail.contains("expected `]`")
        || detail.contains("expected `}`")
        || detail.contains("missing comma")
    {
        return say!(lang,
            ["閉じ忘れか、コンマの抜けです", "この辺りです", format!("\" や] }} で閉じ、間は , で区切ります(TOML: {detail})")],
            ["something is not closed, or a comma is missing", "near here", format!("close it with \", ] or }}, and separate with , (TOML: {detail})")]);
    }
    say!(lang,
        ["TOMLとして読めません", "この辺りです", format!("TOML: {detail}")],
        ["this is not TOML", "near here", format!("TOML: {detail}")])
}
