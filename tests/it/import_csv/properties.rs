//! Round trips with the `csv` crate as the oracle, and damage of every kind.

use std::collections::BTreeMap;
use std::io::Read;

use haishin::domain::attribute::{AttributeType, Value};
use haishin::domain::effect::Effect;
use haishin::domain::id::AttributeName;
use haishin::import::{AttributeTypes, Encoding, Kind, Mapping, Reader, texts};
use haishin::lang::Lang;
use proptest::prelude::*;

use super::{ANN, BOB, NOW, Pieces, TOKYO, mapping, read, shop};

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
        let mut text: Vec<char> = include_str!("../../fixtures/hillstrom.map.toml").chars().collect();
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
