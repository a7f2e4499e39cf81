//! CSV import: what goes in comes out, nothing stops it, and people can act on what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use haishin::domain::attribute::{AttributeType, Value};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::{AttributeName, UserId};
use haishin::domain::time::{Instant, Tz};
use haishin::import::{
    AttributeTypes, CHUNK_INTAKES_MAX, COLUMNS_MAX, Encoding, Kind, Lines, Mapping, OpenError, Position,
    Progress, RECORD_BYTES_MAX, Reader, Reject, RejectsFile, Report, RowError, RunError, Silent, Sink, run,
    texts,
};
use haishin::lang::Lang;
use insta::assert_snapshot;
use proptest::prelude::*;

const TOKYO: Tz = chrono_tz::Asia::Tokyo;
/// 2026-02-01T00:00:00Z: the import's own instant in all these tests.
const NOW: Instant = Instant::from_millis(1_769_904_000_000);
const ANN: &str = "U0123456789abcdef0123456789abcdef";
const BOB: &str = "Ufedcba9876543210fedcba9876543210";

fn declared(types: &[(&str, AttributeType)]) -> AttributeTypes {
    types.iter().map(|(name, kind)| (AttributeName::parse(name).unwrap(), *kind)).collect()
}

fn shop() -> AttributeTypes {
    declared(&[
        ("prefecture", AttributeType::Text),
        ("points", AttributeType::Integer),
        ("birthday", AttributeType::Date),
        ("member_since", AttributeType::Instant),
    ])
}

fn mapping(kind: Kind, toml: &str) -> Mapping {
    Mapping::from_toml(toml, kind).unwrap_or_else(|problems| panic!("{}", texts(&problems, Lang::En)))
}

/// All rows: what each said, or why it said nothing.
fn read(input: impl Read, mapping: &Mapping, types: &AttributeTypes) -> Vec<Result<Vec<Intake>, Reject>> {
    let reader = Reader::open(input, mapping, types, TOKYO, NOW).unwrap();
    reader
        .map(|row| match row {
            Ok(intakes) => Ok(intakes),
            Err(RowError::Reject(reject)) => Err(reject),
            Err(RowError::Io(error)) => panic!("{error}"),
        })
        .collect()
}

fn problems(input: &[u8], mapping: &Mapping, types: &AttributeTypes) -> String {
    match Reader::open(input, mapping, types, TOKYO, NOW) {
        Err(OpenError::Problems(problems)) => {
            format!("{}\n{}", texts(&problems, Lang::En), texts(&problems, Lang::Ja))
        }
        Err(OpenError::Io(error)) => panic!("{error}"),
        Ok(_) => panic!("opened"),
    }
}

/// One line an intake, readable: instants in UTC.
fn shown(rows: &[Result<Vec<Intake>, Reject>]) -> String {
    let mut text = String::new();
    for row in rows {
        match row {
            Ok(intakes) => {
                for Intake { user, at, effect, dedupe } in intakes {
                    let effect = serde_json::to_string(effect).unwrap();
                    let user = &user.to_string()[..3];
                    text += &format!("{user} {at} {effect}{}\n", if dedupe.is_some() { " once" } else { "" });
                }
            }
            Err(reject) => text += &format!("line {}: {}\n", reject.line, reject.text(Lang::En)),
        }
    }
    text
}

#[test]
fn friends_say_status_id_and_typed_attributes() {
    let file = format!(
        "user,status,followed_at,external_id,points,prefecture,birthday,member_since,memo\n\
         {ANN},following,2025-04-01 10:00,007,12,東京都,1990/1/2,2024-12-01T00:00:00+09:00,x\n\
         {BOB},ブロック中,,,,,,,\n"
    );
    let rows = read(file.as_bytes(), &Mapping::new(Kind::Friends), &shop());
    assert_snapshot!(shown(&rows), @r#"
    U01 2025-04-01T01:00:00.000Z {"kind":"status","status":"following","followed_at":"2025-04-01T01:00:00.000Z"}
    U01 2026-02-01T00:00:00.000Z {"kind":"external_id","external_id":"007"}
    U01 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"birthday","value":{"date":"1990-01-02"}}
    U01 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"member_since","value":{"instant":"2024-11-30T15:00:00.000Z"}}
    U01 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"points","value":12}
    U01 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"prefecture","value":"東京都"}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"status","status":"blocked","followed_at":null}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"external_id","external_id":null}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"birthday","value":null}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"member_since","value":null}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"points","value":null}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"prefecture","value":null}
    "#);
}

#[test]
fn a_row_with_an_instant_of_follow_alone_is_a_follow_then() {
    let file = format!("user,followed_at\n{ANN},2025-04-01\n{BOB},\n");
    let rows = read(file.as_bytes(), &Mapping::new(Kind::Friends), &shop());
    assert_snapshot!(shown(&rows), @r#"U01 2025-03-31T15:00:00.000Z {"kind":"status","status":"following","followed_at":"2025-03-31T15:00:00.000Z"}"#);
}

#[test]
fn tags_and_events_have_instants() {
    let file = format!("user,tag,at\n{ANN},体験,2026-01-02T03:04:05.678Z\n{BOB}, 体験 ,\n{BOB},,\n");
    let rows = read(file.as_bytes(), &Mapping::new(Kind::Tags), &shop());
    assert_snapshot!(shown(&rows), @r#"
    U01 2026-01-02T03:04:05.678Z {"kind":"tag_added","tag":"体験"}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"tag_added","tag":" 体験 "}
    line 4: column `tag`: the cell is empty, but a value is needed
    "#);

    let mut map = mapping(
        Kind::Events,
        r#"
        at = "日時"
        name = { value = "purchase" }
        properties.amount = { column = "金額", type = "number" }
        properties.shop = { column = "店", type = "text" }
        properties.first = { value = "true", type = "boolean" }
        "#,
    );
    map.column("event_id=注文").unwrap();
    let file = format!(
        "user,日時,金額,店,注文\n{ANN},2026/1/2 10:00,1980,渋谷,A-1\n{ANN},2026-01-02,,,\n{BOB},,1,,A-2\n{BOB},2026-01-02,1千,,A-3\n"
    );
    assert_snapshot!(shown(&read(file.as_bytes(), &map, &shop())), @r#"
    U01 2026-01-02T01:00:00.000Z {"kind":"event","name":"purchase","event_id":"A-1","properties":{"amount":1980.0,"first":true,"shop":"渋谷"}} once
    U01 2026-01-01T15:00:00.000Z {"kind":"event","name":"purchase","event_id":null,"properties":{"first":true}} once
    line 4: column `日時`: the cell is empty, but a value is needed
    line 5: column `金額`: `1千` is not a number (such as 1234.5, without separators)
    "#);
}

#[test]
fn a_column_becomes_a_tag_or_an_event() {
    let map = mapping(
        Kind::Friends,
        r#"
        user = { md5 = "shop-{id}-{row}" }
        [[to_tag]]
        tag = "mens"
        column = "mens"
        equals = "1"
        [[to_event]]
        name = "purchase"
        column = "last"
        at = "last"
        "#,
    );
    assert!(map.derives_users());
    let file = "id,mens,last\na,1,2026-01-02\nb,0,\n\nc,01,2026-01-03\n";
    let rows = read(file.as_bytes(), &map, &shop());
    assert_snapshot!(shown(&rows), @r#"
    U48 2026-02-01T00:00:00.000Z {"kind":"tag_added","tag":"mens"}
    U48 2026-01-01T15:00:00.000Z {"kind":"event","name":"purchase","event_id":null,"properties":{}} once
    U1d 2026-01-02T15:00:00.000Z {"kind":"event","name":"purchase","event_id":null,"properties":{}} once
    "#);
    assert_eq!(rows[1], Ok(vec![]), "a row that says nothing is no fault");
    let user = |text: &str| UserId::parse(text).unwrap();
    // printf 'shop-a-0' | md5sum; printf 'shop-c-2' | md5sum: empty lines are no rows.
    assert_eq!(rows[0].as_ref().unwrap()[0].user, user("U487c403f02a7abb631bb7153083d59aa"));
    assert_eq!(rows[2].as_ref().unwrap()[0].user, user("U1de43f71a7186cf203f234499a7c7a22"));
}

/// Two equal rows are two events; the same file again, or one that overlaps it, adds none of them again.
#[test]
fn an_event_is_known_again_by_its_id_or_its_content() {
    let map = mapping(Kind::Events, "properties.amount = { column = \"amount\", type = \"number\" }");
    let ids = |rows: &[&str]| {
        let file = format!("user,name,at,event_id,amount\n{}\n", rows.join("\n"));
        let rows = read(file.as_bytes(), &map, &shop());
        rows.into_iter().map(|row| row.unwrap()[0].dedupe.unwrap()).collect::<Vec<_>>()
    };
    let coffee = &format!("{ANN},purchase,2026-01-02,,480");
    let cake = &format!("{ANN},purchase,2026-01-02,,520");
    let of_bob = &format!("{BOB},purchase,2026-01-02,,480");
    let order = &format!("{ANN},purchase,2026-01-02,A-1,480");
    let order_again = &format!("{BOB},refund,2026-01-03,A-1,1");
    let all = ids(&[coffee, coffee, cake, of_bob, order]);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 5);
    assert_eq!(all, ids(&[coffee, coffee, cake, of_bob, order]));
    assert_eq!(ids(&[cake, order_again, coffee]), [all[2], all[4], all[0]]);
    // Pinned: with another formula the next import of an old file would add its events again.
    assert_eq!(String::from(all[0]), "2f00a061e42e4f1a894e9a24fced07a6");
    assert_eq!(String::from(all[1]), "9ebf1f9d5a92cccd7ae801090a8d70a1");
    assert_eq!(String::from(all[4]), "cdfa6605c7cbaf7d180e40d5ffbc96f5");
}

#[test]
fn a_rejected_row_takes_no_ordinal() {
    let map = mapping(
        Kind::Friends,
        r#"
        [[to_event]]
        name = "visit"
        column = "a"
        at = "a"
        [[to_event]]
        name = "visit"
        column = "b"
        at = "b"
        "#,
    );
    let bad_first = format!("user,a,b\n{ANN},2026-01-02,bad\n{ANN},2026-01-02,\n");
    let good = format!("user,a,b\n{ANN},2026-01-02,\n");
    let (bad_first, good) = (read(bad_first.as_bytes(), &map, &shop()), read(good.as_bytes(), &map, &shop()));
    assert!(bad_first[0].is_err());
    assert_eq!(bad_first[1], good[0]);
}

#[test]
fn encodings_are_found_out_or_named() {
    let file = format!("user,prefecture\n{ANN},東京都①\n{BOB},ｱｲｳ\n");
    let plain = read(file.as_bytes(), &Mapping::new(Kind::Friends), &shop());
    assert_eq!(plain[0].as_ref().unwrap()[0].effect, attribute("prefecture", "東京都①"));

    let marked = format!("\u{feff}{file}");
    assert_eq!(read(marked.as_bytes(), &Mapping::new(Kind::Friends), &shop()), plain);

    let (sjis, _, unmappable) = encoding_rs::SHIFT_JIS.encode(&file);
    assert!(!unmappable);
    assert_eq!(read(&*sjis, &Mapping::new(Kind::Friends), &shop()), plain);

    // The first text beyond ASCII may come after any number of ASCII rows.
    let mut late = format!("user,prefecture\n{}", format!("{ANN},Tokyo\n").repeat(200_000)).into_bytes();
    late.extend(sjis.splitn(2, |b| *b == b'\n').nth(1).unwrap());
    let rows = read(late.as_slice(), &Mapping::new(Kind::Friends), &shop());
    assert_eq!(rows.len(), 200_002);
    assert_eq!(rows[200_000..], plain);

    let mut named = Mapping::new(Kind::Friends);
    named.encoding = Some(Encoding::Utf8);
    let rows = read(&*sjis, &named, &shop());
    assert_eq!(rows[1].as_ref().unwrap_err().row, [format!("{BOB},\u{fffd}\u{fffd}\u{fffd}")]);
    assert_snapshot!(shown(&rows), @r#"
    line 2: not readable as utf-8; save the file as UTF-8 or name its encoding with --encoding
    line 3: not readable as utf-8; save the file as UTF-8 or name its encoding with --encoding
    "#);
}

fn attribute(name: &str, text: &str) -> Effect {
    Effect::Attribute { name: AttributeName::parse(name).unwrap(), value: Some(Value::Text(text.into())) }
}

#[test]
fn each_limit_is_reached_once() {
    let map = mapping(Kind::Friends, "user = { md5 = \"{row}\" }");
    let types = declared(&[("memo", AttributeType::Text)]);
    let longest = "x".repeat(RECORD_BYTES_MAX);
    let quoted = format!("\"{}\"", "\n".repeat(RECORD_BYTES_MAX - 2));
    let file = format!(
        "memo\n{longest}\r\n{longest}y\n{quoted}\nafter\n\"{}\nlast\n\"open\nend",
        "z".repeat(9 * RECORD_BYTES_MAX)
    );
    let rows = read(file.as_bytes(), &map, &types);
    let texts: Vec<String> = rows
        .iter()
        .map(|row| match row {
            Ok(intakes) => match &intakes[0].effect {
                Effect::Attribute { value: Some(Value::Text(text)), .. } => format!("{} bytes", text.len()),
                other => panic!("{other:?}"),
            },
            Err(reject) => {
                format!("line {}: {} ({} kept)", reject.line, reject.text(Lang::En), reject.row[0].len())
            }
        })
        .collect();
    assert_snapshot!(texts.join("\n"), @r#"
    1048576 bytes
    line 3: the row is longer than 1048576 bytes; shorten it (4096 kept)
    1048574 bytes
    5 bytes
    line 1048580: a quote " is not closed; close it, or double it if it is part of the text (4096 kept)
    4 bytes
    line 1048582: a quote " is not closed; close it, or double it if it is part of the text (5 kept)
    3 bytes
    "#);

    let columns = |n: usize| (0..n).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",");
    let types = declared(&[("c7", AttributeType::Text)]);
    let file = format!("{}\n{}\n{}\n", columns(COLUMNS_MAX), columns(COLUMNS_MAX), columns(COLUMNS_MAX + 1));
    let rows = read(file.as_bytes(), &map, &types);
    assert!(rows[0].is_ok());
    assert_snapshot!(rows[1].as_ref().unwrap_err().text(Lang::En), @"the row has more than 2000 columns; leave out what is not needed");
    assert_snapshot!(problems(columns(COLUMNS_MAX + 1).as_bytes(), &map, &types), @r#"
    line 1 (the header): the row has more than 2000 columns; leave out what is not needed
    1行目(列名): 列が多すぎます(上限 2000 列)
    "#);
}

#[test]
fn each_reason_names_the_column_and_the_remedy() {
    let map = mapping(
        Kind::Friends,
        "user = \"id\"\n[[to_event]]\nname = \"visit\"\ncolumn = \"flag\"\nequals = \"1\"\nat = \"at\"\nevent_id = \"event\"",
    );
    let types = declared(&[
        ("points", AttributeType::Integer),
        ("spend", AttributeType::Number),
        ("vip", AttributeType::Boolean),
        ("birthday", AttributeType::Date),
        ("seen", AttributeType::Instant),
    ]);
    let long = "x".repeat(201);
    let rows = [
        "user-1,,,,,,,,,,".to_owned(),
        ",,,,,,,,,,".to_owned(),
        format!("{ANN},友達,,,,,,,,,"),
        format!("{ANN},,１２,,,,,,,,"),
        format!("{ANN},,,\"1,234\",,,,,,,"),
        format!("{ANN},,,,はい,,,,,,"),
        format!("{ANN},,,,,2026-02-30,,,,,"),
        format!("{ANN},,,,,,yesterday,,,,"),
        format!("{ANN},,,,,,,{long},,,"),
        format!("{ANN},,,,,,,,1,,"),
        format!("{ANN},,,,,,,,1,soon,"),
        format!("{ANN},,,,,,,,1,2026-01-01,{long}"),
        format!("{ANN},,,"),
        format!("{ANN},,,,,,,\"a\"b,,,"),
        format!("{ANN},,,,,,,a\0b,,,"),
        format!("{ANN},,1,,,,,\"open,,,"),
    ];
    let file =
        format!("id,status,points,spend,vip,birthday,seen,external_id,flag,at,event\n{}\n", rows.join("\n"));
    let rejects = read(file.as_bytes(), &map, &types);
    let mut text = String::new();
    for reject in rejects.iter().map(|row| row.as_ref().unwrap_err()) {
        text += &format!("{}\n{}\n", reject.text(Lang::En), reject.text(Lang::Ja));
    }
    assert_snapshot!(text, @r#"
    column `id`: `user-1` is not a LINE user id (U and 32 lower-case hexadecimal digits)
    列「id」: 「user-1」は LINE のユーザー ID ではありません(U と小文字の16進数32桁)
    column `id`: the cell is empty, but a value is needed
    列「id」: 空欄ですが、値が必要です
    column `status`: `友達` is not a status; write following or blocked
    列「status」: 「友達」は状態ではありません。following(友だち)か blocked(ブロック中)と書いてください
    column `points`: `１２` is not a whole number (such as 1234, without separators)
    列「points」: 「１２」は整数ではありません(例 1234。桁区切り・小数点・全角数字は使えません)
    column `spend`: `1,234` is not a number (such as 1234.5, without separators)
    列「spend」: 「1,234」は数値ではありません(例 1234.5。桁区切り・全角数字は使えません)
    column `vip`: `はい` is not true, false, 1 or 0
    列「vip」: 「はい」は真偽値ではありません(true, false, 1, 0 のいずれか)
    column `birthday`: `2026-02-30` is not a date (such as 2026-01-31)
    列「birthday」: 「2026-02-30」は日付ではありません(例 2026-01-31)
    column `seen`: `yesterday` is not an instant (such as 2026-01-31 18:00 or 2026-01-31T18:00:00+09:00)
    列「seen」: 「yesterday」は日時ではありません(例 2026-01-31 18:00、2026-01-31T18:00:00+09:00)
    column `external_id`: `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` is not an id (at most 200 characters, no control characters)
    列「external_id」: 「xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…」は ID にできません(200文字まで、制御文字なし)
    column `at`: the cell is empty, but a value is needed
    列「at」: 空欄ですが、値が必要です
    column `at`: `soon` is not an instant (such as 2026-01-31 18:00 or 2026-01-31T18:00:00+09:00)
    列「at」: 「soon」は日時ではありません(例 2026-01-31 18:00、2026-01-31T18:00:00+09:00)
    column `event`: `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` is not an id (at most 200 characters, no control characters)
    列「event」: 「xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…」は ID にできません(200文字まで、制御文字なし)
    the header has 11 columns, this row 4; quote values that contain a comma
    列数が見出しと違います(見出し 11 列、この行 4 列)。カンマを含む値は " で囲んでください
    text follows a closing quote; write a quote that is part of the text as ""
    閉じ引用符の後に文字があります。文字としての " は "" と書いてください
    the row contains a NUL character; remove it
    NUL 文字が含まれています。取り除いてください
    a quote " is not closed; close it, or double it if it is part of the text
    引用符 " が閉じていません。行末までに " を補ってください
    "#);
}

#[test]
fn nothing_begins_with_a_bad_header_or_mapping() {
    let friends = Mapping::new(Kind::Friends);
    let all = [
        problems(b"", &friends, &shop()),
        problems(b"\n\r\n", &friends, &shop()),
        problems(b"\xff\xfeu\0", &friends, &shop()),
        problems(b"user,status,user,x,status\n", &friends, &shop()),
        problems(b"user_id,status\n", &friends, &shop()),
        problems(b"user,memo\n", &friends, &shop()),
        problems(b"user,\"st\n", &friends, &shop()),
        problems(b"user,tag\n", &Mapping::new(Kind::Events), &shop()),
        problems(
            b"user,birthdate\n",
            &mapping(
                Kind::Friends,
                r#"
                user = { md5 = "same" }
                status = { value = "here" }
                followed_at = "joined"
                external_id = { value = "x" }
                [attributes]
                birthday = "birthday"
                prefectur = "x"
                points = { value = "many" }
                [[to_tag]]
                tag = "x"
                column = "X"
                "#,
            ),
            &shop(),
        ),
        problems(b"user,x\n", &mapping(Kind::Friends, "user = { md5 = \"a{row\" }"), &shop()),
    ];
    assert_snapshot!(all.join("\n\n"), @r#"
    the file is empty; its first line must name the columns
    ファイルが空です。1行目に列名が必要です

    the file is empty; its first line must name the columns
    ファイルが空です。1行目に列名が必要です

    the file is in UTF-16; save it as "CSV UTF-8"
    ファイルが UTF-16 です。「CSV UTF-8」で保存し直してください

    two columns are called `user` (columns 1 and 3); rename one of them
    two columns are called `status` (columns 2 and 5); rename one of them
    列「user」が2つあります(1列目と3列目)。片方の名前を変えてください
    列「status」が2つあります(2列目と5列目)。片方の名前を変えてください

    no column for user; name it with --column user=HEADER (the columns are: user_id, status)
    user の列がわかりません。--column user=列名 で指定してください(列: user_id, status)

    no column but the user is mapped; map status, followed_at, external_id or an attribute
    user のほかに取り込む列がありません。status, followed_at, external_id, 属性のいずれかを対応させてください

    line 1 (the header): a quote " is not closed; close it, or double it if it is part of the text
    1行目(列名): 引用符 " が閉じていません。行末までに " を補ってください

    no column for name; name it with --column name=HEADER (the columns are: user, tag)
    no column for at; name it with --column at=HEADER (the columns are: user, tag)
    name の列がわかりません。--column name=列名 で指定してください(列: user, tag)
    at の列がわかりません。--column at=列名 で指定してください(列: user, tag)

    md5 `same`: put {row} or {header} into it, with both braces
    to_tag.column: the file has no column `X`
    status: `here` is not a status; write following or blocked
    followed_at: the file has no column `joined`
    the attribute `prefectur` is not declared in config/attributes.toml; did you mean `prefecture`?
    attributes.birthday: the file has no column `birthday`; did you mean `birthdate`?
    attributes.points: `many` is not a whole number (such as 1234, without separators)
    md5「same」: {row} か {列名} を入れてください
    to_tag.column: 列「X」がありません
    status: 「here」は状態ではありません。following(友だち)か blocked(ブロック中)と書いてください
    followed_at: 列「joined」がありません
    属性「prefectur」は config/attributes.toml で宣言されていません(もしかして「prefecture」)
    attributes.birthday: 列「birthday」がありません(もしかして「birthdate」)
    attributes.points: 「many」は整数ではありません(例 1234。桁区切り・小数点・全角数字は使えません)

    md5 `a{row`: put {row} or {header} into it, with both braces
    md5「a{row」: {row} か {列名} を入れてください
    "#);
}

#[test]
fn a_bad_mapping_says_where_and_what() {
    let toml = |kind, text: &str| {
        let problems = Mapping::from_toml(text, kind).unwrap_err();
        format!("{}\n{}", texts(&problems, Lang::En), texts(&problems, Lang::Ja))
    };
    let assign = |kind, text: &str| {
        let problem = Mapping::new(kind).column(text).unwrap_err();
        format!("{}\n{}", problem.text(Lang::En), problem.text(Lang::Ja))
    };
    let all = [
        toml(Kind::Friends, "user = 1"),
        toml(Kind::Friends, "usr = \"x\""),
        toml(Kind::Friends, "user = { col = \"x\" }"),
        toml(Kind::Friends, "encoding = \"sjis\""),
        toml(Kind::Friends, "user = \"a\"\nuser = \"b\""),
        toml(Kind::Friends, "[[to_event]]\nname = \"x\"\ncolumn = \"x\""),
        toml(
            Kind::Tags,
            "kind = \"events\"\nzone = \"Tokyo\"\nstatus = \"x\"\ntag = { md5 = \"{row}\" }\nat = { column = \"a\", value = \"b\" }\n[attributes]\nx = \"x\"\n[properties]\ny = { type = \"text\" }",
        ),
        assign(Kind::Friends, "user"),
        assign(Kind::Friends, "staus=x"),
        assign(Kind::Tags, "attribute.x=y"),
        assign(Kind::Events, "property.amount=y"),
        assign(Kind::Events, "property.amount:money=y"),
        assign(Kind::Friends, "attribute.=y"),
    ];
    assert_snapshot!(all.join("\n\n"), @r#"
    cannot read the mapping:
    TOML parse error at line 1, column 8
      |
    1 | user = 1
      |        ^
    invalid type: integer `1`, expected the header of a column, { value = "…" } or { md5 = "…{row}" }
    対応表を読めません:
    TOML parse error at line 1, column 8
      |
    1 | user = 1
      |        ^
    invalid type: integer `1`, expected the header of a column, { value = "…" } or { md5 = "…{row}" }

    cannot read the mapping:
    TOML parse error at line 1, column 1
      |
    1 | usr = "x"
      | ^^^
    unknown field `usr`, expected one of `kind`, `encoding`, `zone`, `user`, `status`, `followed_at`, `external_id`, `tag`, `name`, `at`, `event_id`, `attributes`, `properties`, `to_tag`, `to_event`
    対応表を読めません:
    TOML parse error at line 1, column 1
      |
    1 | usr = "x"
      | ^^^
    unknown field `usr`, expected one of `kind`, `encoding`, `zone`, `user`, `status`, `followed_at`, `external_id`, `tag`, `name`, `at`, `event_id`, `attributes`, `properties`, `to_tag`, `to_event`

    cannot read the mapping:
    TOML parse error at line 1, column 10
      |
    1 | user = { col = "x" }
      |          ^^^
    unknown field `col`, expected one of `column`, `value`, `md5`
    対応表を読めません:
    TOML parse error at line 1, column 10
      |
    1 | user = { col = "x" }
      |          ^^^
    unknown field `col`, expected one of `column`, `value`, `md5`

    cannot read the mapping:
    TOML parse error at line 1, column 12
      |
    1 | encoding = "sjis"
      |            ^^^^^^
    unknown variant `sjis`, expected `utf-8` or `shift_jis`
    対応表を読めません:
    TOML parse error at line 1, column 12
      |
    1 | encoding = "sjis"
      |            ^^^^^^
    unknown variant `sjis`, expected `utf-8` or `shift_jis`

    cannot read the mapping:
    TOML parse error at line 2, column 1
      |
    2 | user = "b"
      | ^^^^
    duplicate key
    対応表を読めません:
    TOML parse error at line 2, column 1
      |
    2 | user = "b"
      | ^^^^
    duplicate key

    cannot read the mapping:
    TOML parse error at line 1, column 1
      |
    1 | [[to_event]]
      | ^^^^^^^^^^^^
    missing field `at`
    対応表を読めません:
    TOML parse error at line 1, column 1
      |
    1 | [[to_event]]
      | ^^^^^^^^^^^^
    missing field `at`

    this mapping is for events; run `import events`, or give a mapping for tags
    there is no time zone `Tokyo`; write one such as Asia/Tokyo
    `status` is no field of tags (the fields are: user, tag, at)
    tag: md5 is for `user` only
    at: write exactly one of column, value and md5
    `attributes` is no field of tags (the fields are: user, tag, at)
    `properties` is no field of tags (the fields are: user, tag, at)
    properties.y: write exactly one of column, value and md5
    この対応表は events 用です。import events を使うか、tags 用の対応表を指定してください
    タイムゾーン「Tokyo」はありません(例 Asia/Tokyo)
    「status」は tags の項目ではありません(項目: user, tag, at)
    tag: md5 は user にだけ使えます
    at: column, value, md5 のうち1つだけを書いてください
    「attributes」は tags の項目ではありません(項目: user, tag, at)
    「properties」は tags の項目ではありません(項目: user, tag, at)
    properties.y: column, value, md5 のうち1つだけを書いてください

    `user` has no `=`; write FIELD=HEADER, such as user=user_id
    「user」に = がありません。項目=列名 の形で書いてください(例 user=user_id)

    `staus` is no field of friends; did you mean `status`? (the fields are: user, status, followed_at, external_id, attribute.NAME)
    「staus」は friends の項目ではありません(もしかして「status」)(項目: user, status, followed_at, external_id, attribute.NAME)

    `attribute.x` is no field of tags (the fields are: user, tag, at)
    「attribute.x」は tags の項目ではありません(項目: user, tag, at)

    `property.amount` has no type; write property.NAME:TYPE with one of text, integer, number, boolean, date, instant
    「property.amount」に型がありません。property.名前:型 と書いてください(型: text, integer, number, boolean, date, instant)

    `property.amount:money` has no type; write property.NAME:TYPE with one of text, integer, number, boolean, date, instant
    「property.amount:money」に型がありません。property.名前:型 と書いてください(型: text, integer, number, boolean, date, instant)

    --column: `` is not a name (1 to 200 characters, no control characters)
    --column: 「」は名前にできません(1〜200文字、制御文字なし)
    "#);
}

#[test]
fn the_command_line_beats_the_mapping() {
    let mut map =
        mapping(Kind::Events, "name = \"what\"\nproperties.amount = { column = \"yen\", type = \"number\" }");
    map.value("name=purchase").unwrap();
    map.column("property.amount:integer=yen").unwrap();
    map.column("at=when=then").unwrap();
    let file = format!("user,yen,when=then\n{ANN},480,2026-01-02\n");
    assert_snapshot!(shown(&read(file.as_bytes(), &map, &shop())), @r#"U01 2026-01-01T15:00:00.000Z {"kind":"event","name":"purchase","event_id":null,"properties":{"amount":480}} once"#);
}

/// Keeps what it gets; fails once `fail_after` chunks are in.
#[derive(Default)]
struct Inbox {
    chunks: Vec<Vec<Intake>>,
    fail_after: Option<usize>,
}

#[async_trait]
impl Sink for Inbox {
    type Error = std::io::Error;
    async fn append(&mut self, intakes: Vec<Intake>) -> Result<(), Self::Error> {
        if self.fail_after == Some(self.chunks.len()) {
            return Err(std::io::Error::other("the daemon is gone"));
        }
        self.chunks.push(intakes);
        Ok(())
    }
}

fn rejects_in(folder: &Path) -> RejectsFile {
    RejectsFile::new(RejectsFile::path_for(&folder.join("friends.csv")), Lang::En)
}

async fn import(
    file: Vec<u8>,
    map: &Mapping,
    types: &AttributeTypes,
    folder: &Path,
    inbox: &mut Inbox,
) -> Result<Report, RunError<std::io::Error>> {
    let total = Some(file.len() as u64);
    let reader = Reader::open(std::io::Cursor::new(file), map, types, TOKYO, NOW).unwrap();
    run(map.kind, reader, total, rejects_in(folder), inbox, &mut Silent).await
}

#[tokio::test]
async fn chunks_are_bounded_and_whole_rows() {
    let folder = tempfile::tempdir().unwrap();
    let map = mapping(Kind::Friends, "user = { md5 = \"{row}\" }\nstatus = { value = \"following\" }");
    let types = declared(&[("a", AttributeType::Text), ("b", AttributeType::Text)]);
    let file = format!("a,b\n{}", "x,y\n".repeat(10_000)).into_bytes();
    let mut inbox = Inbox::default();
    let report = import(file, &map, &types, folder.path(), &mut inbox).await.unwrap();
    assert_eq!((report.rows, report.accepted, report.rejected), (10_000, 10_000, 0));
    assert_eq!((report.intakes.statuses, report.intakes.attributes), (10_000, 20_000));
    assert_eq!(inbox.chunks.iter().map(Vec::len).sum::<usize>(), 30_000);
    for chunk in &inbox.chunks {
        assert!(chunk.len() <= CHUNK_INTAKES_MAX && chunk.len() % 3 == 0, "{}", chunk.len());
    }
    // Long texts end a chunk by their bytes.
    let file = format!("a,b\n{}", format!("{},y\n", "x".repeat(1_000_000)).repeat(12)).into_bytes();
    let mut inbox = Inbox::default();
    import(file, &map, &types, folder.path(), &mut inbox).await.unwrap();
    assert_eq!(inbox.chunks.iter().map(Vec::len).collect::<Vec<_>>(), [15, 15, 6]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no reject, no rejects file");
}

#[tokio::test]
async fn an_inbox_that_fails_ends_the_import_and_says_what_is_in() {
    let folder = tempfile::tempdir().unwrap();
    let map = mapping(Kind::Friends, "user = { md5 = \"{row}\" }\nstatus = { value = \"following\" }");
    let file = format!("a\n{}", "x\n".repeat(100_000)).into_bytes();
    let mut inbox = Inbox { fail_after: Some(2), ..Inbox::default() };
    let error = import(file, &map, &shop(), folder.path(), &mut inbox).await.unwrap_err();
    assert_snapshot!(error, @"cannot append after 10000 rows; run the same import again, what is in already is not added twice");
}

#[tokio::test]
async fn rejects_go_to_a_file_that_can_be_corrected_and_imported() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!(
        "user,prefecture,points\n{ANN},東京都,1\nbob,\"大阪府, 北\",2\n{BOB},京都府\n{BOB},\"開く,3\n{BOB},奈良県,x\n"
    );
    let (sjis, _, _) = encoding_rs::SHIFT_JIS.encode(&file);
    let map = Mapping::new(Kind::Friends);
    let mut inbox = Inbox::default();
    let report = import(sjis.into_owned(), &map, &shop(), folder.path(), &mut inbox).await.unwrap();
    let path = report.rejects_file.clone().unwrap();
    assert_eq!(path, folder.path().join("friends.rejects.csv"));
    let rejects = std::fs::read_to_string(&path).unwrap();
    assert_snapshot!(rejects, @r#"
    ﻿line,reason,user,prefecture,points
    3,column `user`: `bob` is not a LINE user id (U and 32 lower-case hexadecimal digits),bob,"大阪府, 北",2
    4,"the header has 3 columns, this row 2; quote values that contain a comma",Ufedcba9876543210fedcba9876543210,京都府
    5,"a quote "" is not closed; close it, or double it if it is part of the text","Ufedcba9876543210fedcba9876543210,""開く,3"
    6,"column `points`: `x` is not a whole number (such as 1234, without separators)",Ufedcba9876543210fedcba9876543210,奈良県,x
    "#);

    let relative = Report { duration_ms: 1_250, rejects_file: Some("friends.rejects.csv".into()), ..report };
    let file = Path::new("friends.csv");
    assert_snapshot!(format!("{}{}", relative.text(file, Lang::En), relative.text(file, Lang::Ja)), @r#"
    friends.csv: 5 rows in 1.2 s (4 rows/s, shift_jis)
      accepted 1
      rejected 4 → friends.rejects.csv (correct it and import it with the same mapping)
        first: line 3: column `user`: `bob` is not a LINE user id (U and 32 lower-case hexadecimal digits)
      attributes 2
    friends.csv: 5行 1.2秒(毎秒4行、shift_jis)
      取り込み 1行
      取り込めない 4行 → friends.rejects.csv(直して同じ指定で取り込めます)
        最初: 3行目 column `user`: `bob` is not a LINE user id (U and 32 lower-case hexadecimal digits)
      属性 2
    "#);
    assert_snapshot!(serde_json::to_string_pretty(&relative).unwrap(), @r#"
    {
      "kind": "friends",
      "rows": 5,
      "accepted": 1,
      "rejected": 4,
      "rejects_file": "friends.rejects.csv",
      "first_reject": {
        "line": 3,
        "reason": "column `user`: `bob` is not a LINE user id (U and 32 lower-case hexadecimal digits)"
      },
      "intakes": {
        "statuses": 0,
        "external_ids": 0,
        "attributes": 2,
        "tags": 0,
        "events": 0
      },
      "encoding": "shift_jis",
      "ignored_columns": [],
      "duration_ms": 1250
    }
    "#);

    let corrected = rejects.replace(",bob,", &format!(",{BOB},")).replace("奈良県,x", "奈良県,");
    let mut inbox = Inbox::default();
    let report = import(corrected.into_bytes(), &map, &shop(), folder.path(), &mut inbox).await.unwrap();
    assert_eq!((report.accepted, report.rejected), (2, 2));
    assert_eq!(report.ignored_columns, ["line", "reason"]);
    assert_eq!(inbox.chunks[0][1].effect, attribute("prefecture", "大阪府, 北"));
    let again = std::fs::read_to_string(&path).unwrap();
    assert_eq!(again.lines().next().unwrap(), "\u{feff}line,reason,user,prefecture,points");
}

#[test]
fn progress_lines_come_now_and_then_with_rate_and_time_left() {
    let mut out = Vec::new();
    let position = |secs, bytes, total| Position {
        bytes,
        total,
        rows: 100_000 * secs,
        rejected: 3,
        elapsed: std::time::Duration::from_secs(secs),
    };
    let mut lines = Lines::new(&mut out, Lang::En, std::time::Duration::from_secs(5));
    for secs in 0..=12 {
        lines.at(&position(secs, secs * 1_000, Some(100_000)));
    }
    Lines::new(&mut out, Lang::Ja, std::time::Duration::ZERO).at(&position(0, 0, Some(100_000)));
    Lines::new(&mut out, Lang::Ja, std::time::Duration::ZERO).at(&position(4, 4_000, Some(400_000)));
    Lines::new(&mut out, Lang::En, std::time::Duration::ZERO).at(&position(7, 7, None));
    assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
    500,000 rows (3 rejected), 100,000 rows/s, 1:35 left
    1,000,000 rows (3 rejected), 100,000 rows/s, 1:30 left
    0行(取り込めない 3)、毎秒0行
    400,000行(取り込めない 3)、毎秒100,000行、残り 6:36
    700,000 rows (3 rejected), 100,000 rows/s
    "#);
}

/// Gives what it has in pieces of drawn lengths, as pipes do.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(buffer.len()).min(self.0.len());
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

/// A table, written by the `csv` crate in one of the ways people's programs write it.
fn written(rows: &[Vec<String>], crlf: bool, always: bool) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new();
    writer.terminator(if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') });
    if always {
        writer.quote_style(csv::QuoteStyle::Always);
    }
    let mut writer = writer.from_writer(Vec::new());
    writer.write_record((0..rows.first().map_or(1, Vec::len)).map(|i| format!("列{i}"))).unwrap();
    for row in rows {
        writer.write_record(row).unwrap();
    }
    writer.into_inner().unwrap()
}

fn table(cell: &'static str) -> impl Strategy<Value = Vec<Vec<String>>> {
    (1..5_usize)
        .prop_flat_map(move |width| proptest::collection::vec(proptest::collection::vec(cell, width), 0..12))
}

/// Each column an attribute of type text, ids made up.
fn as_texts(bytes: impl Read, width: usize, encoding: Option<Encoding>) -> Vec<Vec<String>> {
    let types: AttributeTypes =
        (0..width).map(|i| (AttributeName::parse(&format!("列{i}")).unwrap(), AttributeType::Text)).collect();
    let mut map = mapping(Kind::Friends, "user = { md5 = \"{row}\" }");
    map.encoding = encoding;
    let rows = read(bytes, &map, &types);
    rows.into_iter()
        .map(|row| {
            let texts: BTreeMap<String, String> = row
                .unwrap()
                .into_iter()
                .map(|intake| match intake.effect {
                    Effect::Attribute { name, value: Some(Value::Text(text)) } => {
                        (name.to_string(), text.to_string())
                    }
                    Effect::Attribute { name, value: None } => (name.to_string(), String::new()),
                    other => panic!("{other:?}"),
                })
                .collect();
            (0..width).map(|i| texts[&format!("列{i}")].clone()).collect()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What any program wrote is read as it was, from whole files and from pieces; nothing is trimmed or folded.
    #[test]
    fn reading_gives_back_what_was_written(
        rows in table("[ -~\r\n\u{80}-\u{d7ff}\u{1f300}-\u{1f6ff}\",]{0,6}"),
        crlf: bool, always: bool, mark: bool, piece in 1..9_usize,
    ) {
        let mut bytes = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
        bytes.extend(written(&rows, crlf, always));
        let width = rows.first().map_or(1, Vec::len);
        prop_assert_eq!(&as_texts(bytes.as_slice(), width, None), &rows);
        prop_assert_eq!(&as_texts(Pieces(&bytes, piece), width, None), &rows);
    }

    /// Also in Shift_JIS, whose second bytes reach into ASCII.
    #[test]
    fn shift_jis_gives_back_what_was_written(
        rows in table("[ -~ァ-ヶぁ-ん｡-ﾟ表能ソ①～髙\",\n]{0,8}"), crlf: bool, always: bool,
    ) {
        let text = String::from_utf8(written(&rows, crlf, always)).unwrap();
        let (bytes, _, unmappable) = encoding_rs::SHIFT_JIS.encode(&text);
        prop_assume!(!unmappable);
        let width = rows.first().map_or(1, Vec::len);
        prop_assert_eq!(&as_texts(&*bytes, width, Some(Encoding::ShiftJis)), &rows);
    }

    /// Whatever stands in one line, the lines around it are read as if it were not there.
    #[test]
    fn a_broken_line_stops_nothing_else(
        before in 0..4_usize, after in 0..4_usize,
        garbage in proptest::collection::vec(any::<u8>().prop_filter("a line", |b| !b"\r\n".contains(b)), 1..40),
        quotes in 0..4_usize,
    ) {
        let row = |i: usize| format!("{ANN},\"大阪府, {i}\",{i}\n");
        let mut garbage = garbage;
        for i in 0..quotes {
            garbage.insert((i * 7) % garbage.len(), b'"');
        }
        let header = "user,prefecture,points\n".to_owned();
        let good: String = (0..before + after).map(row).collect();
        let mut bad = header.clone().into_bytes();
        bad.extend((0..before).flat_map(|i| row(i).into_bytes()));
        bad.extend(&garbage);
        bad.push(b'\n');
        bad.extend((before..before + after).flat_map(|i| row(i).into_bytes()));
        let mut map = Mapping::new(Kind::Friends);
        map.encoding = Some(Encoding::Utf8);
        let mut rows = read(bad.as_slice(), &map, &shop());
        prop_assert_eq!(rows.len(), before + after + 1);
        let reject = rows.remove(before).expect_err("garbage names no user");
        prop_assert_eq!(reject.line, 2 + before as u64);
        prop_assert_eq!(rows, read((header + &good).as_bytes(), &map, &shop()));
    }

    /// Any damage gives a clear error or rejects, never a panic; each row is accounted for.
    #[test]
    fn damage_never_panics(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(), kind in 0..3_usize,
    ) {
        let kind = [Kind::Friends, Kind::Tags, Kind::Events][kind];
        let mut bytes = format!(
            "user,status,followed_at,external_id,points,birthday,tag,name,at,event_id\n\
             {ANN},following,2026-01-01,c1,1,1990-01-01,\"体,験\",visit,2026-01-01T00:00:00Z,e1\n\
             {BOB},blocked,2026-01-01 10:00,c2,2,1990/1/1,\"a\"\"b\",購入,2026/1/1,\n"
        ).into_bytes();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(1 + cut.index(bytes.len()));
        match Reader::open(bytes.as_slice(), &Mapping::new(kind), &shop(), TOKYO, NOW) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(mut reader) => {
                let mut rows = 0;
                for row in reader.by_ref() {
                    rows += 1;
                    if let Err(error) = row {
                        prop_assert!(!error.to_string().is_empty());
                    }
                }
                prop_assert_eq!(rows, reader.rows());
                prop_assert_eq!(reader.bytes(), bytes.len() as u64);
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = Mapping::from_toml(&text, kind);
    }

    /// The mapping's own file, damaged: an error that says something, or a mapping.
    #[test]
    fn a_damaged_mapping_never_panics(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..6),
    ) {
        let mut text: Vec<char> = include_str!("../fixtures/hillstrom.map.toml").chars().collect();
        for (at, character) in flips {
            let at = at.index(text.len());
            text[at] = character;
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = Mapping::from_toml(&text, Kind::Friends) {
            prop_assert!(!texts(&problems, Lang::Ja).is_empty());
        }
    }
}

/// Lines are counted over the edges of the buffer, whatever ends them.
#[test]
fn line_numbers_hold_in_long_files() {
    let types = declared(&[("memo", AttributeType::Text)]);
    let map = mapping(Kind::Friends, "user = \"user\"");
    let mut file = String::from("user,memo\r\n");
    let ends = ["\r\n", "\n", "\r"];
    for i in 0..9_000 {
        file += &format!("{ANN},\"{}\n\"{}", "x".repeat(i % 1_999), ends[i % 3]);
    }
    file += "bad,1\n";
    let rows = read(Pieces(file.as_bytes(), 65_537), &map, &types);
    assert_eq!(rows.len(), 9_001);
    assert_eq!(rows.iter().filter(|row| row.is_err()).count(), 1);
    assert_eq!(rows[9_000].as_ref().unwrap_err().line, 2 + 2 * 9_000);
}

fn hillstrom() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/hillstrom.csv");
    if path.exists() {
        return Some(path);
    }
    println!("left out: {} is not there", path.display());
    None
}

/// A real file goes in as it is: 64,000 customers, counted by a plain loop over the same file.
#[tokio::test]
async fn hillstrom_goes_in_as_it_is() {
    let Some(path) = hillstrom() else { return };
    let types = declared(&[
        ("recency", AttributeType::Integer),
        ("history", AttributeType::Number),
        ("zip_code", AttributeType::Text),
        ("newbie", AttributeType::Boolean),
        ("channel", AttributeType::Text),
        ("treatment", AttributeType::Text),
    ]);
    let map = mapping(Kind::Friends, include_str!("../fixtures/hillstrom.map.toml"));
    let folder = tempfile::tempdir().unwrap();
    let mut inbox = Inbox::default();
    let bytes = std::fs::read(&path).unwrap();
    let report = import(bytes.clone(), &map, &types, folder.path(), &mut inbox).await.unwrap();
    assert_eq!((report.rows, report.accepted, report.rejected), (64_000, 64_000, 0));
    assert_eq!(report.ignored_columns, ["history_segment"]);
    let intakes: Vec<Intake> = inbox.chunks.into_iter().flatten().collect();
    assert_eq!(intakes[0].user.to_string(), "U06c73bc46e2992b35102904eab5a6c7c");
    let users: BTreeSet<UserId> = intakes.iter().map(|intake| intake.user).collect();
    assert_eq!(users.len(), 64_000);
    let ids: BTreeSet<_> = intakes.iter().filter_map(|intake| intake.dedupe).collect();

    let mut plain = csv::Reader::from_reader(bytes.as_slice());
    let headers = plain.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let [mens, womens, visit, conversion, spend, channel] =
        ["mens", "womens", "visit", "conversion", "spend", "channel"].map(column);
    let (mut tags, mut events, mut cents, mut web) = (0, 0, 0_i64, 0);
    for row in plain.records() {
        let row = row.unwrap();
        tags += u64::from(&row[mens] == "1") + u64::from(&row[womens] == "1");
        events += u64::from(&row[visit] == "1") + u64::from(&row[conversion] == "1");
        cents += (row[spend].parse::<f64>().unwrap() * 100.0).round() as i64;
        web += usize::from(&row[channel] == "Web");
    }
    assert_eq!((report.intakes.tags, report.intakes.events), (tags, events));
    assert_eq!((report.intakes.statuses, report.intakes.attributes), (64_000, 6 * 64_000));
    assert_eq!(ids.len() as u64, events);
    let imported: i64 = intakes.iter().filter_map(amount).map(|yen| (yen * 100.0).round() as i64).sum();
    assert_eq!(imported, cents);
    assert_eq!(intakes.iter().filter(|intake| intake.effect == attribute("channel", "Web")).count(), web);
    let following = Effect::Status {
        status: Status::Following,
        followed_at: Some(Instant::start_of_day(chrono::NaiveDate::from_ymd_opt(2025, 1, 1).unwrap(), TOKYO)),
    };
    assert_eq!(intakes[0].effect, following);
}

fn amount(intake: &Intake) -> Option<f64> {
    let Effect::Event { properties, .. } = &intake.effect else { return None };
    match properties.get("amount") {
        Some(Value::Number(amount)) => Some(*amount),
        _ => None,
    }
}
