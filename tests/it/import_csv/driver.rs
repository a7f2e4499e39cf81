//! A whole import: chunks, rejects, the report, progress.

use std::path::Path;

use haishin::domain::attribute::AttributeType;
use haishin::import::{CHUNK_INTAKES_MAX, Kind, Lines, Mapping, Position, Progress, Report};
use haishin::lang::Lang;
use insta::assert_snapshot;

use super::{ANN, BOB, Inbox, attribute, declared, import, mapping, shop};

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
