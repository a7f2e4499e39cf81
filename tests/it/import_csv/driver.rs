//! A whole import: chunks, rejects, the report, progress.

use std::collections::BTreeMap;
use std::path::Path;

use haishin::domain::attribute::AttributeType;
use haishin::domain::friend::Miss;
use haishin::import::{
    CHUNK_INTAKES_MAX, Kind, Lines, Mapping, Position, Progress, Reader, RejectsFile, Repeated, Report,
    Silent, run,
};
use haishin::lang::Lang;
use insta::assert_snapshot;

use super::{ANN, BOB, Inbox, NOW, TOKYO, attribute, declared, import, mapping, shop};

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
    assert_eq!(inbox.chunks.iter().map(Vec::len).collect::<Vec<_>>(), [6; 6]);
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
      "by_external_id": false,
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
      "repeated_event_ids": {
        "rows": 0,
        "first_line": null
      },
      "file_changed": false,
      "strays": 0,
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

/// Rows whose customer id is no one friend's go to the rejects file too, in the file's order; imported from there once
/// the friends are known, they are the same events.
#[tokio::test]
async fn rows_that_name_nobody_are_rejected_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut map = mapping(Kind::Events, "external_id = \"会員\"\nname = { value = \"visit\" }");
    map.column("property.amount:integer=amount").unwrap();
    let rows = ["c1,2026-01-01,1", "c9,2026-01-01,1", "c2,soon,1", "c8,2026-01-01,2", "c9,2026-01-01,1"];
    let file = format!("会員,at,amount\n{}\n", rows.join("\n")).into_bytes();
    let misses =
        || BTreeMap::from([("c9".into(), Miss::Unknown), ("c8".into(), Miss::Shared { friends: 2 })]);
    let mut inbox = Inbox { misses: misses(), ..Inbox::default() };
    let report = import(file.clone(), &map, &shop(), folder.path(), &mut inbox).await.unwrap();
    assert_eq!((report.rows, report.accepted, report.rejected), (5, 1, 4));
    assert_eq!((report.intakes.events, report.by_external_id), (1, true));
    let rejects = std::fs::read_to_string(report.rejects_file.as_ref().unwrap()).unwrap();
    assert_snapshot!(rejects, @r#"
    ﻿line,reason,会員,at,amount
    3,column `会員`: no friend has the external id `c9`; first import friends with user and external_id,c9,2026-01-01,1
    4,column `at`: `soon` is not an instant (such as 2026-01-31 18:00 or 2026-01-31T18:00:00+09:00),c2,soon,1
    5,column `会員`: 2 friends have the external id `c8`; name this one by user,c8,2026-01-01,2
    6,column `会員`: no friend has the external id `c9`; first import friends with user and external_id,c9,2026-01-01,1
    "#);
    let relative = Report { duration_ms: 0, rejects_file: Some("friends.rejects.csv".into()), ..report };
    let file_name = Path::new("friends.csv");
    assert_snapshot!(format!("{}{}", relative.text(file_name, Lang::En), relative.text(file_name, Lang::Ja)), @r#"
    friends.csv: 5 rows in 0.0 s (5,000 rows/s, utf-8)
      accepted 1
      rejected 4 → friends.rejects.csv (correct it and import it with the same mapping)
        first: line 3: column `会員`: no friend has the external id `c9`; first import friends with user and external_id
      events 1
    friends.csv: 5行 0.0秒(毎秒5,000行、utf-8)
      取り込み 1行
      取り込めない 4行 → friends.rejects.csv(直して同じ指定で取り込めます)
        最初: 3行目 column `会員`: no friend has the external id `c9`; first import friends with user and external_id
      イベント 1
    "#);

    let mut later = Inbox::default();
    let report = import(rejects.into_bytes(), &map, &shop(), folder.path(), &mut later).await.unwrap();
    assert_eq!((report.accepted, report.rejected), (3, 1));
    let mut all_known = Inbox::default();
    import(file, &map, &shop(), folder.path(), &mut all_known).await.unwrap();
    let known_later: Vec<_> = inbox.chunks.concat().into_iter().chain(later.chunks.concat()).collect();
    let mut at_once = all_known.chunks.concat();
    at_once.sort_by_key(|intake| known_later.iter().position(|later| later == intake));
    assert_eq!(known_later, at_once);
}

/// Many rows in many chunks, some of them rejected at once and some only when they were looked up.
#[tokio::test]
async fn rejects_keep_the_order_of_the_file_over_many_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let map = mapping(Kind::Tags, "tag = { value = \"t\" }");
    let row = |n: usize| match n % 1_000 {
        3 => "nobody,2026-01-01\n".to_owned(),
        7 => "c1,soon\n".to_owned(),
        _ => format!("c{n},2026-01-01\n"),
    };
    let file = format!("external_id,at\n{}", (0..20_000).map(row).collect::<String>()).into_bytes();
    let mut inbox = Inbox { misses: [("nobody".into(), Miss::Unknown)].into(), ..Inbox::default() };
    let report = import(file, &map, &shop(), folder.path(), &mut inbox).await.unwrap();
    assert_eq!((report.rows, report.accepted, report.rejected), (20_000, 19_960, 40));
    assert_eq!(report.intakes.tags, 19_960);
    assert!(inbox.chunks.len() > 3 && inbox.chunks.concat().len() == 19_960);
    let mut rejects = csv::Reader::from_path(report.rejects_file.unwrap()).unwrap();
    let lines: Vec<usize> = rejects.records().map(|row| row.unwrap()[0].parse().unwrap()).collect();
    let expected = (0..20_000).filter(|n| [3, 7].contains(&(n % 1_000))).map(|n| n + 2);
    assert_eq!(lines, expected.collect::<Vec<_>>());
}

/// A file of nothing but bad rows takes no more memory than another: chunks end by their bytes too.
#[tokio::test]
async fn bad_rows_alone_are_told_as_they_come() {
    struct Seen(Vec<Position>);
    impl Progress for Seen {
        fn at(&mut self, position: &Position) {
            self.0.push(*position);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = format!("user,status\n{}", "bob,following\n".repeat(300_000)).into_bytes();
    let (total, map) = (file.len() as u64, Mapping::new(Kind::Friends));
    let reader = Reader::open(std::io::Cursor::new(file), &map, &shop(), TOKYO, NOW).unwrap();
    let rejects = RejectsFile::new(folder.path().join("bad.csv"), Lang::En);
    let mut seen = Seen(Vec::new());
    let mut inbox = Inbox::default();
    let report = run(map.kind, reader, Some(total), rejects, &mut inbox, &mut seen).await.unwrap();
    assert_eq!((report.accepted, report.rejected), (0, 300_000));
    assert!(inbox.chunks.is_empty() && seen.0.len() >= 4, "{:?}", seen.0);
    assert!(seen.0.is_sorted_by(|a, b| a.bytes < b.bytes && a.rejected < b.rejected));
    assert_eq!(seen.0.last().unwrap().bytes, total);
}

#[tokio::test]
async fn rejects_that_cannot_be_written_stop_the_import_and_say_where_else() {
    let folder = tempfile::tempdir().unwrap();
    let map = Mapping::new(Kind::Friends);
    let reader = Reader::open(&b"user,status\nbob,following\n"[..], &map, &shop(), TOKYO, NOW).unwrap();
    let rejects = RejectsFile::new(folder.path().join("no/such/folder.csv"), Lang::En);
    let error = run(map.kind, reader, None, rejects, &mut Inbox::default(), &mut Silent).await.unwrap_err();
    let masked = |text: String| text.replace(folder.path().to_str().unwrap(), "DIR");
    assert_snapshot!(masked(error.text(Lang::En)), @"cannot write the rejects to DIR/no/such/folder.csv; name another file with --rejects");
    assert_snapshot!(masked(error.text(Lang::Ja)), @"取り込めない行を DIR/no/such/folder.csv に書けません。--rejects で別のファイルを指定してください");
}

/// One `event_id` is one event. Where a file gives it to two, the first counts, and the person is told.
#[tokio::test]
async fn an_event_id_that_stands_for_two_events_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let map = mapping(Kind::Events, "properties.amount = { column = \"amount\", type = \"integer\" }");
    let rows = [
        format!("{ANN},purchase,2026-01-02,A-1,480"),
        format!("{ANN},purchase,2026-01-02,A-1,480"),
        format!("{BOB},purchase,2026-01-02,A-1,480"),
        format!("{ANN},purchase,2026-01-02,A-2,480"),
        format!("{ANN},purchase,2026-01-02,A-1,520"),
    ];
    let file = format!("user,name,at,event_id,amount\n{}\n", rows.join("\n")).into_bytes();
    let mut inbox = Inbox::default();
    let report = import(file, &map, &shop(), folder.path(), &mut inbox).await.unwrap();
    assert_eq!((report.accepted, report.rejected), (5, 0));
    assert_eq!(report.repeated_event_ids, Repeated { rows: 2, first_line: Some(4) });
    let told = Report { duration_ms: 0, file_changed: true, strays: 1_234, ..report };
    assert!(
        told.needs_a_person() && !Report { file_changed: false, strays: 0, ..told.clone() }.needs_a_person()
    );
    let file = Path::new("events.csv");
    assert_snapshot!(format!("{}{}", told.text(file, Lang::En), told.text(file, Lang::Ja)), @r#"
    events.csv: 5 rows in 0.0 s (5,000 rows/s, ascii)
      accepted 5
      events 5
      rows that give an earlier row's event_id to another event: 2 (first: line 4); the earlier one counts
      ⚠ the file changed while it was read; import it again once it is complete
      ⚠ changes that named no friend any more when they were applied: 1,234 → haishin friend strays
    events.csv: 5行 0.0秒(毎秒5,000行、ascii)
      取り込み 5行
      イベント 5
      先の行と同じ event_id で内容の違う行 2行(最初: 4行目)。先の行だけを数えます
      ⚠ 読み込み中にファイルが変わりました。書き込みが終わってから、もう一度取り込んでください
      ⚠ 反映のときに宛先がなくなっていた変更 1,234件 → haishin friend strays
    "#);
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
