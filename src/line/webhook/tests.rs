//! Each kind of event of LINE's documentation, as it is documented, and what it may look like besides.

use serde_json::json;

use super::*;

const USER: &str = "U4af4980629f3b3b1a7a8a3a9a0a1a2a3";
const AT: i64 = 1_796_374_800_000;

/// An event of one kind with what is common to all, changed by `with`.
fn event(kind: &str, with: Json) -> Json {
    let mut event = json!({
        "type": kind, "mode": "active", "timestamp": AT, "webhookEventId": "01FZ74A0TDDPYRVKNK77XKC3ZR",
        "source": { "type": "user", "userId": USER }, "deliveryContext": { "isRedelivery": false },
        "replyToken": "38ef843bde154d9b91c21320ffd17a0f",
    });
    for (key, value) in with.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

fn body(events: &[Json]) -> Vec<u8> {
    json!({ "destination": "U8e742f61d673b39c7fff3cecb7536ef0", "events": events }).to_string().into_bytes()
}

fn callback(events: &[Json]) -> Callback {
    read(&body(events), None).unwrap()
}

/// What is taken in of an event, one line an intake.
fn told(kind: &str, with: Json) -> String {
    let Callback { active, standby, .. } = callback(&[event(kind, with)]);
    let line = |intake: &Intake| {
        assert_eq!(intake.friend, UserId::parse(USER).unwrap().into());
        assert_eq!(intake.at.as_millis(), AT);
        assert!(intake.dedupe.is_some());
        serde_json::to_string(&intake.effect).unwrap()
    };
    let lines =
        active.iter().map(line).chain(standby.iter().map(|intake| format!("standby {}", line(intake))));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_signature_is_that_of_the_documentation() {
    let secret: &[u8] = b"8c570fa6dd201bb328f1c1eac23a96d8";
    let body = br#"{"destination":"U8e742f61d673b39c7fff3cecb7536ef0","events":[]}"#;
    let signature = "GhRKmvmHys4Pi8DxkF4+EayaH0OqtJtaZxgTD9fMDLs=";
    assert_eq!(sign(body, secret), signature);
    let other: &[u8] = b"another";
    for secrets in [vec![secret], vec![other, secret], vec![secret, other]] {
        assert!(is_signed(body, signature.as_bytes(), secrets));
    }
    assert!(!is_signed(body, signature.as_bytes(), [other]));
    assert!(!is_signed(body, signature.as_bytes(), []));
    for forged in ["", "GhRK", &signature[..43], &format!("{signature}\n"), &signature.to_lowercase()] {
        assert!(!is_signed(body, forged.as_bytes(), [secret]), "{forged}");
    }
}

#[test]
fn a_follow_and_an_unfollow_are_a_status_and_something_that_happened() {
    insta::assert_snapshot!(told("follow", json!({ "follow": { "isUnblocked": true } })), @r#"
    {"kind":"status","status":"following","followed_at":"2026-12-04T09:00:00.000Z"}
    {"kind":"event","name":"line.follow","event_id":"01FZ74A0TDDPYRVKNK77XKC3ZR","properties":{"unblocked":true}}
    "#);
    insta::assert_snapshot!(told("unfollow", json!({})), @r#"
    {"kind":"status","status":"blocked","followed_at":null}
    {"kind":"event","name":"line.unfollow","event_id":"01FZ74A0TDDPYRVKNK77XKC3ZR","properties":{}}
    "#);
}

#[test]
fn of_a_message_its_kind_is_kept_and_nothing_that_was_written() {
    let text =
        json!({ "message": { "id": "444", "type": "text", "text": "秘密", "quoteToken": "q3Plxr4AgKd" } });
    insta::assert_snapshot!(told("message", text), @r#"{"kind":"event","name":"line.message","event_id":"01FZ74A0TDDPYRVKNK77XKC3ZR","properties":{"type":"text"}}"#);
    for kind in ["image", "video", "audio", "file", "location", "sticker", "hologram"] {
        let told = told("message", json!({ "message": { "id": "444", "type": kind, "title": "秘密" } }));
        assert!(told.contains(&format!(r#""properties":{{"type":"{kind}"}}"#)), "{told}");
    }
}

#[test]
fn a_postback_says_its_data_and_what_was_chosen() {
    let mut told_all = String::new();
    for params in [
        json!(null),
        json!({ "date": "2026-12-24" }),
        json!({ "time": "19:30" }),
        json!({ "datetime": "2026-12-24T19:30" }),
        json!({ "newRichMenuAliasId": "menu-b", "status": "SUCCESS" }),
    ] {
        let told = told("postback", json!({ "postback": { "data": "action=book&n=2", "params": params } }));
        told_all += told.split("\"properties\":").nth(1).unwrap();
        told_all += "\n";
    }
    insta::assert_snapshot!(told_all, @r#"
    {"data":"action=book&n=2"}}
    {"data":"action=book&n=2","date":"2026-12-24"}}
    {"data":"action=book&n=2","time":"19:30"}}
    {"data":"action=book&n=2","datetime":"2026-12-24T19:30"}}
    {"data":"action=book&n=2","menu":"menu-b","status":"SUCCESS"}}
    "#);
}

#[test]
fn linked_accounts_memberships_and_videos_are_told() {
    insta::assert_snapshot!(told("accountLink", json!({ "link": { "result": "ok", "nonce": "abc" } })), @r#"{"kind":"event","name":"line.account_link","event_id":"01FZ74A0TDDPYRVKNK77XKC3ZR","properties":{"nonce":"abc","result":"ok"}}"#);
    // It has no source then.
    assert_eq!(
        told("accountLink", json!({ "link": { "result": "failed", "nonce": "abc" }, "source": null })),
        ""
    );
    for kind in ["joined", "left", "renewed"] {
        let told = told("membership", json!({ "membership": { "type": kind, "membershipId": 3189 } }));
        assert!(told.contains(r#""name":"line.membership""#), "{told}");
        assert!(
            told.contains(&format!(r#""properties":{{"membership_id":3189,"type":"{kind}"}}"#)),
            "{told}"
        );
    }
    insta::assert_snapshot!(told("videoPlayComplete", json!({ "videoPlayComplete": { "trackingId": "t-1" } })), @r#"{"kind":"event","name":"line.video_play_complete","event_id":"01FZ74A0TDDPYRVKNK77XKC3ZR","properties":{"tracking_id":"t-1"}}"#);
}

/// What was unsent was never kept. A delivery is that of a notification message, which haishin does not send.
#[test]
fn other_kinds_say_nothing_and_are_taken() {
    let others = [
        "unsend",
        "delivery",
        "join",
        "leave",
        "memberJoined",
        "memberLeft",
        "beacon",
        "module",
        "activated",
        "deactivated",
        "botSuspended",
        "botResumed",
        "messageEdited",
        "somethingNew",
    ];
    for kind in others {
        let with = json!({ "unsend": { "messageId": "1" }, "delivery": { "data": "9f86d081" } });
        let read = callback(&[event(kind, with)]);
        assert_eq!(
            read,
            Callback { events: Events { ignored: 1, ..Events::default() }, ..Callback::default() }
        );
    }
}

/// Nothing may be sent in a chat that another module holds; who follows is so all the same.
#[test]
fn in_standby_only_who_follows_counts() {
    let with = json!({ "mode": "standby", "follow": {} });
    insta::assert_snapshot!(told("follow", with), @r#"standby {"kind":"status","status":"following","followed_at":"2026-12-04T09:00:00.000Z"}"#);
    insta::assert_snapshot!(told("unfollow", json!({ "mode": "standby" })), @r#"standby {"kind":"status","status":"blocked","followed_at":null}"#);
    assert_eq!(told("message", json!({ "mode": "standby", "message": { "type": "text" } })), "");
}

#[test]
fn what_the_console_sends_to_try_a_webhook_is_no_friend() {
    assert_eq!(callback(&[]), Callback::default());
    let dummies = [
        json!({ "source": { "type": "user", "userId": "Udeadbeefdeadbeefdeadbeefdeadbeef" } }),
        json!({ "replyToken": "00000000000000000000000000000000" }),
        json!({ "replyToken": "ffffffffffffffffffffffffffffffff" }),
    ];
    for with in dummies {
        assert_eq!(told("follow", with), "");
    }
}

#[test]
fn groups_and_what_names_no_user_say_nothing_of_a_friend() {
    for source in [
        json!({ "type": "group", "groupId": "Ca56f94637c", "userId": USER }),
        json!({ "type": "room", "roomId": "Ra8dbf4673c", "userId": USER }),
        json!({ "type": "user" }),
        json!({ "type": "user", "userId": "U4AF4980629F3B3B1A7A8A3A9A0A1A2A3" }),
        json!({ "type": "user", "userId": "me" }),
        json!({ "type": "planet", "userId": USER }),
    ] {
        assert_eq!(told("message", json!({ "source": source, "message": { "type": "text" } })), "");
    }
}

/// Fields come, go and change their order; an event that cannot be read hides none beside it.
#[test]
fn an_event_is_read_leniently_and_by_itself() {
    let odd = json!({ "type": "follow" });
    let plain = json!({ "webhookEventId": "01H", "timestamp": AT, "new": [{}], "type": "unfollow",
                        "source": { "userId": USER, "new": 1, "type": "user" } });
    let no_id = event("follow", json!({ "webhookEventId": null }));
    let read = callback(&[
        odd,
        json!(7),
        json!(["follow", AT]),
        plain,
        no_id,
        json!({ "type": 1, "timestamp": "x" }),
    ]);
    assert_eq!(read.events, Events { taken: 1, ignored: 5, too_old: 0 });
    assert_eq!(read.active.len(), 2);

    let long = "長".repeat(2_000);
    let told = told("postback", json!({ "postback": { "data": long } }));
    assert_eq!(told.matches('長').count(), TEXT_MAX);
}

#[test]
fn one_event_has_one_identity_however_often_it_comes() {
    let follow = |redelivered: bool| {
        let with = json!({ "follow": {}, "deliveryContext": { "isRedelivery": redelivered } });
        callback(&[event("follow", with)])
    };
    assert_eq!(follow(false), follow(true));
    let ids: Vec<_> = follow(false).active.iter().map(|intake| intake.dedupe).collect();
    assert_ne!(ids[0], ids[1], "the status is not left out because of the event beside it");
    assert_eq!(ids[1], Some(DedupeId::webhook("01FZ74A0TDDPYRVKNK77XKC3ZR")));
}

#[test]
fn what_is_too_old_is_counted_and_no_more() {
    let read = |at: i64| {
        let event = event("unfollow", json!({ "timestamp": at }));
        read(&body(&[event]), Some(Instant::from_millis(AT))).unwrap()
    };
    assert_eq!(read(AT).events, Events { taken: 1, ..Events::default() });
    assert_eq!(
        read(AT - 1),
        Callback { events: Events { too_old: 1, ..Events::default() }, ..Callback::default() }
    );
}

#[test]
fn what_is_no_webhook_is_refused() {
    for bad in ["", "{", "[]", "7", r#"{"events":7}"#, r#"{"events":{}}"#, "{\"events\":[]}x", "\u{feff}{}"] {
        assert!(matches!(read(bad.as_bytes(), None), Err(Unreadable::NoCallback(_))), "{bad}");
    }
    assert!(matches!(read(b"{\"events\":[\"\xff\"]}", None), Err(Unreadable::NoCallback(_))));
    let deep = format!("{{\"events\":[{}{}]}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(read(deep.as_bytes(), None), Err(Unreadable::NoCallback(_))));
    assert!(read(b"{}", None).is_ok());

    let many = |count: usize| read(&body(&vec![json!({}); count]), None);
    assert_eq!(many(EVENTS_MAX).unwrap().events.ignored, EVENTS_MAX as u64);
    assert!(matches!(many(EVENTS_MAX + 1), Err(Unreadable::TooMany(count)) if count == EVENTS_MAX + 1));
}
