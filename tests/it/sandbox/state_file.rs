//! What a sandbox still knows after a kill.

use std::path::Path;

use super::*;

fn open(path: &Path) -> Line {
    Line::new(|settings| {
        settings.state_file = Some(path.to_path_buf());
        settings.channels[0].quota = Some(100);
    })
}

#[test]
fn keys_deliveries_and_usage_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("line.jsonl");
    let first = {
        let line = open(&path);
        line.multicast(&key(1), &multicast_body(&[user(0), user(8)], MESSAGES, false, Some("unit_1")));
        line.multicast(KEY, &body(&[0, 1, 77]))
        // Dropped without a farewell, as by a kill: everything is already in the file.
    };
    let mut line = open(&path);
    let again = line.multicast(KEY, &body(&[0, 1, 77]));
    assert_eq!((again.status, again.accepted_request_id), (409, Some(first.request_id.clone())));
    assert_ne!(again.request_id, first.request_id);
    assert_eq!((line.got(0), line.got(1), line.got(8)), (2, 1, 0));
    let received = &line.sandbox.received("1", &user(0)).unwrap()[0];
    assert_eq!((received.silent, received.unit.as_deref()), (true, Some("unit_1")));
    assert_eq!(line.get("/v2/bot/message/quota/consumption")["totalUsage"], 3);
    assert_eq!((line.sandbox.totals().messages, line.sandbox.totals().skipped), (3, 2));
    line.multicast(KEY, &body(&[1]));
    assert_eq!(line.sandbox.audit().keys_with_two_bodies.len(), 1, "the first body is remembered too");
    line.now = at(24 * 3_600_000);
    assert_eq!(line.multicast(KEY, &body(&[0])).status, 200, "and so is when the key began");
    assert_eq!(open(&path).sandbox.audit().keys_taken_twice.len(), 1);
}

#[test]
fn rich_menus_survive_a_kill_and_are_linked_to_friends_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("line.jsonl");
    let change = |line: &Line, path: &str, body: Value| {
        let headers = [("authorization", "Bearer token-1"), ("content-type", "application/json")];
        line.reply("POST", path, &headers, body.to_string().as_bytes()).status
    };
    let (link, unlink) = ("/v2/bot/richmenu/bulk/link", "/v2/bot/richmenu/bulk/unlink");
    // The ninth has blocked the account, the last is nobody it knows.
    let users = [user(0), user(1), user(8), user(77)];
    let line = open(&path);
    assert_eq!(change(&line, link, json!({ "richMenuId": "richmenu-1", "userIds": users })), 202);
    assert_eq!(change(&line, link, json!({ "richMenuId": "richmenu-2", "userIds": [user(1)] })), 202);
    assert_eq!(change(&line, unlink, json!({ "userIds": [user(0)] })), 202);
    drop(line);
    assert_eq!(open(&path).sandbox.rich_menus("1").unwrap(), [(user(1), "richmenu-2".to_owned())].into());
    assert!(open(&path).sandbox.rich_menus("2").unwrap().is_empty());
}

/// A kill may cut the file at any byte of its last line: what was answered is still there.
#[test]
fn a_torn_last_line_is_dropped_and_the_next_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("line.jsonl");
    assert_eq!(open(&path).multicast(&key(1), &body(&[0])).status, 200);
    let before = std::fs::read(&path).unwrap();
    assert_eq!(open(&path).multicast(&key(2), &body(&[1])).status, 200);
    let whole = std::fs::read(&path).unwrap();
    for cut in [before.len() + 1, whole.len() - 40, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let line = open(&path);
        assert_eq!((line.got(0), line.got(1)), (1, 0), "cut at {cut}");
        assert_eq!(line.multicast(&key(2), &body(&[1])).status, 200);
        assert_eq!(open(&path).got(1), 1, "cut at {cut}");
    }
}

#[test]
fn a_damaged_line_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("line.jsonl");
    open(&path).multicast(KEY, &body(&[0]));
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [("\"line\":\"seen\"", "\"line\":\"sen\""), ("\"channel\":\"1\"", "\"channel\":\"9\"")]
    {
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let mut settings = Settings::new(vec![channel("1")]);
        settings.state_file = Some(path.clone());
        let error = Sandbox::new(settings).unwrap_err();
        let SandboxError::Damaged { line, .. } = &error else { panic!("{error}") };
        let expected = 1 + text.lines().position(|line| line.contains(from)).unwrap();
        assert_eq!(*line, expected, "{error}");
        assert!(error.to_string().contains("begin anew"), "{error}");
    }
}
