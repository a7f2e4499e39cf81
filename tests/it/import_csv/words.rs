//! What people are told, whole and in both languages.

use haishin::domain::attribute::AttributeType;
use haishin::import::{Kind, Mapping, Problem, texts};
use haishin::lang::Lang;
use insta::assert_snapshot;

use super::{ANN, declared, mapping, problems, read, shop};

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
        problems(b"PK\x03\x04\x14\0\x06\0", &friends, &shop()),
        problems(b"user,status,user,x,status\n", &friends, &shop()),
        problems(b"user_id,status\n", &friends, &shop()),
        problems(b"user,memo\n", &friends, &shop()),
        problems(b"user,\"st\n", &friends, &shop()),
        problems(b"user;status;points\n", &friends, &shop()),
        problems(b"user\ttag\n", &Mapping::new(Kind::Tags), &shop()),
        problems(b"external_id,memo\n", &friends, &shop()),
        problems(
            b"user,external_id,tag\n",
            &mapping(Kind::Tags, "user = \"user\"\nexternal_id = \"external_id\""),
            &shop(),
        ),
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

    this is a spreadsheet, not a CSV file; save it as "CSV UTF-8"
    これは CSV ではなく Excel のファイルです。「CSV UTF-8」で保存し直してください

    two columns are called `user` (columns 1 and 3); rename one of them
    two columns are called `status` (columns 2 and 5); rename one of them
    列「user」が2つあります(1列目と3列目)。片方の名前を変えてください
    列「status」が2つあります(2列目と5列目)。片方の名前を変えてください

    no column says which friend is meant; name it with --column user=HEADER or --column external_id=HEADER (the columns are: user_id, status)
    友だちを示す列がわかりません。--column user=列名 か --column external_id=列名 で指定してください(列: user_id, status)

    nothing but the friend's column is read; name what status, followed_at or an attribute is in with --column (the other columns are: memo)
    友だちを示す列のほかに取り込む列がありません。--column で status, followed_at, 属性などに対応させてください(ほかの列: memo)

    line 1 (the header): a quote " is not closed; close it, or double it if it is part of the text
    1行目(列名): 引用符 " が閉じていません。行末までに " を補ってください

    the columns are separated by semicolons; save the file as CSV with commas
    列がセミコロンで区切られています。カンマ区切りの CSV で保存し直してください

    the columns are separated by tabs; save the file as CSV with commas
    列がタブで区切られています。カンマ区切りの CSV で保存し直してください

    nothing but the friend's column is read; name what status, followed_at or an attribute is in with --column (the other columns are: memo)
    友だちを示す列のほかに取り込む列がありません。--column で status, followed_at, 属性などに対応させてください(ほかの列: memo)

    tags name friends by user or by external_id; map one of them
    tags では user と external_id のどちらか1つだけを指定してください

    no column for name; name it with --column name=HEADER (the columns are: user, tag)
    no column for at; name it with --column at=HEADER (the columns are: user, tag)
    name の列がわかりません。--column name=列名 で指定してください(列: user, tag)
    at の列がわかりません。--column at=列名 で指定してください(列: user, tag)

    md5 `same`: put {row} or {header} into it, with both braces
    to_tag.column: the file has no column `X`
    status: `here` is not a status; write following or blocked
    followed_at: the file has no column `joined`
    the attribute `prefectur` is not declared in the running configuration; did you mean `prefecture`? Else declare it in config/attributes.toml and run `haishin apply`
    attributes.birthday: the file has no column `birthday`; did you mean `birthdate`?
    attributes.points: `many` is not a whole number (such as 1234, without separators)
    md5「same」: {row} か {列名} を入れてください
    to_tag.column: 列「X」がありません
    status: 「here」は状態ではありません。following(友だち)か blocked(ブロック中)と書いてください
    followed_at: 列「joined」がありません
    属性「prefectur」は動いている設定で宣言されていません(もしかして「prefecture」)。新しい属性は config/attributes.toml に書き、haishin apply で有効にしてください
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
        toml(Kind::Friends, "status = { value = 1.50 }"),
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
        format!("{}\n{}", Problem::DerivedUsers.text(Lang::En), Problem::DerivedUsers.text(Lang::Ja)),
    ];
    assert_snapshot!(all.join("\n\n"), @r#"
    cannot read the mapping:
    TOML parse error at line 1, column 8
      |
    1 | user = 1
      |        ^
    this is a TOML integer; expected the header of a column, { value = "…" } or { md5 = "…{row}" }
    対応表を読めません:
    TOML parse error at line 1, column 8
      |
    1 | user = 1
      |        ^
    this is a TOML integer; expected the header of a column, { value = "…" } or { md5 = "…{row}" }

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
    TOML parse error at line 1, column 8
      |
    1 | user = { col = "x" }
      |        ^^^^^^^^^^^^^
    unknown field `col`, expected one of `column`, `value`, `md5`
    対応表を読めません:
    TOML parse error at line 1, column 8
      |
    1 | user = { col = "x" }
      |        ^^^^^^^^^^^^^
    unknown field `col`, expected one of `column`, `value`, `md5`

    cannot read the mapping:
    TOML parse error at line 1, column 10
      |
    1 | status = { value = 1.50 }
      |          ^^^^^^^^^^^^^^^^
    this is a TOML float; expected a text in quotes, a whole number, true, false or a date
    対応表を読めません:
    TOML parse error at line 1, column 10
      |
    1 | status = { value = 1.50 }
      |          ^^^^^^^^^^^^^^^^
    this is a TOML float; expected a text in quotes, a whole number, true, false or a date

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
    `status` is no field of tags (the fields are: user, external_id, tag, at)
    tag: md5 is for `user` only
    at: write exactly one of column, value and md5
    `attributes` is no field of tags (the fields are: user, external_id, tag, at)
    `properties` is no field of tags (the fields are: user, external_id, tag, at)
    properties.y: write exactly one of column, value and md5
    この対応表は events 用です。import events を使うか、tags 用の対応表を指定してください
    タイムゾーン「Tokyo」はありません(例 Asia/Tokyo)
    「status」は tags の項目ではありません(項目: user, external_id, tag, at)
    tag: md5 は user にだけ使えます
    at: column, value, md5 のうち1つだけを書いてください
    「attributes」は tags の項目ではありません(項目: user, external_id, tag, at)
    「properties」は tags の項目ではありません(項目: user, external_id, tag, at)
    properties.y: column, value, md5 のうち1つだけを書いてください

    `user` has no `=`; write FIELD=HEADER, such as user=user_id
    「user」に = がありません。項目=列名 の形で書いてください(例 user=user_id)

    `staus` is no field of friends; did you mean `status`? (the fields are: user, status, followed_at, external_id, attribute.NAME)
    「staus」は friends の項目ではありません(もしかして「status」)(項目: user, status, followed_at, external_id, attribute.NAME)

    `attribute.x` is no field of tags (the fields are: user, external_id, tag, at)
    「attribute.x」は tags の項目ではありません(項目: user, external_id, tag, at)

    `property.amount` has no type; write property.NAME:TYPE with one of text, integer, number, boolean, date, instant
    「property.amount」に型がありません。property.名前:型 と書いてください(型: text, integer, number, boolean, date, instant)

    `property.amount:money` has no type; write property.NAME:TYPE with one of text, integer, number, boolean, date, instant
    「property.amount:money」に型がありません。property.名前:型 と書いてください(型: text, integer, number, boolean, date, instant)

    --column: `` is not a name (1 to 200 characters, no control characters)
    --column: 「」は名前にできません(1〜200文字、制御文字なし)

    user ids made up with md5 are for rehearsal accounts only, whose api_base is on loopback
    md5 で作ったユーザー ID は、api_base がこのマシン(ループバック)を指すリハーサル用アカウントでだけ使えます
    "#);
}
