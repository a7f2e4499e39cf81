//! What a row says: effects, instants, identities, encodings, limits.

use std::collections::BTreeSet;

use haishin::domain::attribute::{AttributeType, Value};
use haishin::domain::effect::Effect;
use haishin::domain::friend::FriendRef;
use haishin::domain::id::UserId;
use haishin::import::{COLUMNS_MAX, Encoding, Kind, Mapping, Problem, RECORD_BYTES_MAX};
use haishin::lang::Lang;
use insta::assert_snapshot;

use super::{ANN, BOB, Pieces, attribute, declared, mapping, problems, read, shop, shown};

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

/// Friends are named by LINE's id or by the shop's own; which of the two columns it is, the file or the mapping says.
#[test]
fn a_friend_is_named_by_user_or_by_external_id() {
    let tags = format!("external_id,tag,at\nc-1,体験,2026-01-02\n,体験,2026-01-02\n{ANN},体験,2026-01-02\n");
    let friends = "external_id,points,prefecture\n007,12,\n";
    let both = format!("user,external_id,points\n{ANN},007,12\n,008,12\n");
    let mut text = String::new();
    for (file, map) in [
        (tags.as_str(), Mapping::new(Kind::Tags)),
        (friends, Mapping::new(Kind::Friends)),
        (both.as_str(), Mapping::new(Kind::Friends)),
        // Where it says nothing of the friend, a column beside the user's is only ignored…
        (both.as_str(), mapping(Kind::Tags, "tag = { value = \"t\" }")),
        // … unless it is asked for.
        (both.as_str(), mapping(Kind::Tags, "tag = { value = \"t\" }\nexternal_id = \"external_id\"")),
        (both.as_str(), mapping(Kind::Friends, "external_id = \"points\"")),
    ] {
        text += &format!("{}\n", shown(&read(file.as_bytes(), &map, &shop())));
    }
    assert_snapshot!(text, @r#"
    #c-1 2026-01-01T15:00:00.000Z {"kind":"tag_added","tag":"体験"}
    line 3: column `external_id`: the cell is empty, but a value is needed
    #U0123456789abcdef0123456789abcdef 2026-01-01T15:00:00.000Z {"kind":"tag_added","tag":"体験"}

    #007 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"points","value":12}
    #007 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"prefecture","value":null}

    U01 2026-02-01T00:00:00.000Z {"kind":"external_id","external_id":"007"}
    U01 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"points","value":12}
    line 3: column `user`: the cell is empty, but a value is needed

    U01 2026-02-01T00:00:00.000Z {"kind":"tag_added","tag":"t"}
    line 3: column `user`: the cell is empty, but a value is needed

    #007 2026-02-01T00:00:00.000Z {"kind":"tag_added","tag":"t"}
    #008 2026-02-01T00:00:00.000Z {"kind":"tag_added","tag":"t"}

    U01 2026-02-01T00:00:00.000Z {"kind":"external_id","external_id":"12"}
    line 3: column `user`: the cell is empty, but a value is needed
    "#);

    // The shop's id is no user's, so the same content under the two names is two events.
    let event = |named: &str| {
        let file = format!("{named},name,at\n{ANN},visit,2026-01-02\n");
        read(file.as_bytes(), &Mapping::new(Kind::Events), &shop())
            .remove(0)
            .unwrap()
            .remove(0)
            .dedupe
            .unwrap()
    };
    assert_ne!(event("user"), event("external_id"));
    // Pinned, as those of users are.
    assert_eq!(String::from(event("external_id")), "bcb08ce532abb83feb4fc34f9e08e5cc");
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
        equals = 1
        [[to_event]]
        name = "purchase"
        column = "last"
        at = "last"
        "#,
    );
    assert_eq!(map.check_users(true), Ok(()));
    assert_eq!(map.check_users(false), Err(Problem::DerivedUsers));
    assert_eq!(Mapping::new(Kind::Friends).check_users(false), Ok(()));
    let file = "id,mens,last\na,1,2026-01-02\nb,0,\n\nc,01,2026-01-03\n";
    let rows = read(file.as_bytes(), &map, &shop());
    assert_snapshot!(shown(&rows), @r#"
    U48 2026-02-01T00:00:00.000Z {"kind":"tag_added","tag":"mens"}
    U48 2026-01-01T15:00:00.000Z {"kind":"event","name":"purchase","event_id":null,"properties":{}} once
    U1d 2026-01-02T15:00:00.000Z {"kind":"event","name":"purchase","event_id":null,"properties":{}} once
    "#);
    assert_eq!(rows[1], Ok(vec![]), "a row that says nothing is no fault");
    let user = |text: &str| FriendRef::User(UserId::parse(text).unwrap());
    // printf 'shop-a-0' | md5sum; printf 'shop-c-2' | md5sum: empty lines are no rows.
    assert_eq!(rows[0].as_ref().unwrap()[0].friend, user("U487c403f02a7abb631bb7153083d59aa"));
    assert_eq!(rows[2].as_ref().unwrap()[0].friend, user("U1de43f71a7186cf203f234499a7c7a22"));
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

/// TOML's own notations for dates, whole numbers and yes or no stand for the texts a cell would hold.
#[test]
fn native_values_of_a_mapping_are_texts() {
    let map = mapping(
        Kind::Friends,
        r#"
        followed_at = 2025-04-01
        [attributes]
        prefecture = { value = 13 }
        points = { value = 12 }
        birthday = { value = 1990-01-02 }
        member_since = { value = 2024-12-01T00:00:00+09:00 }
        [[to_tag]]
        tag = "vip"
        column = "vip"
        equals = true
        at = 2026-01-02 10:00:00
        [[to_event]]
        name = "signup"
        column = "n"
        equals = 7
        at = { value = 2026-01-02T10:00:00.5 }
        properties.first = { value = true, type = "boolean" }
        "#,
    );
    let file = format!("user,vip,n\n{ANN},true,7\n{BOB},TRUE,07\n");
    assert_snapshot!(shown(&read(file.as_bytes(), &map, &shop())), @r#"
    U01 2025-03-31T15:00:00.000Z {"kind":"status","status":"following","followed_at":"2025-03-31T15:00:00.000Z"}
    U01 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"birthday","value":{"date":"1990-01-02"}}
    U01 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"member_since","value":{"instant":"2024-11-30T15:00:00.000Z"}}
    U01 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"points","value":12}
    U01 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"prefecture","value":"13"}
    U01 2026-01-02T01:00:00.000Z {"kind":"tag_added","tag":"vip"}
    U01 2026-01-02T01:00:00.500Z {"kind":"event","name":"signup","event_id":null,"properties":{"first":true}} once
    Ufe 2025-03-31T15:00:00.000Z {"kind":"status","status":"following","followed_at":"2025-03-31T15:00:00.000Z"}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"birthday","value":{"date":"1990-01-02"}}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"member_since","value":{"instant":"2024-11-30T15:00:00.000Z"}}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"points","value":12}
    Ufe 2026-02-01T00:00:00.000Z {"kind":"attribute","name":"prefecture","value":"13"}
    "#);
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
    line 1048580: the row is longer than 1048576 bytes, or a quote " is not closed (4096 kept)
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
