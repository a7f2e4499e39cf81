//! A clock that was set back, as people meet it.

use super::stocked;

#[test]
fn a_clock_that_is_behind_is_told_everywhere_until_a_person_takes_it_as_right() {
    let shop = stocked();
    assert_eq!(shop.daemon(&["--clock", "2090-12-04T12:00:00+09:00"]).terminate().0, 0);
    let mut daemon = shop.daemon(&["--clock", "2090-12-04T09:00:00+09:00"]);
    let line = daemon.wait_for("clock behind");
    assert!(line.contains("ERROR") && line.contains("haishin start --accept-clock"), "{line}");
    for (lang, words) in [
        ("ja", "⚠ 時計が遅れています（今 2090-12-04T09:00:"),
        ("en", "⚠ clock behind: it shows 2090-12-04T09:00:"),
    ] {
        let status = shop.run(&["--lang", lang, "status"]);
        assert!(status.code == 3 && status.out.contains(words), "{status:?}");
        assert!(status.out.contains("haishin start --accept-clock"), "{status:?}");
        let start = shop.run(&["--lang", lang, "start"]);
        assert!(start.code == 1 && start.err.contains("haishin start --accept-clock"), "{start:?}");
    }
    let accepted = shop.run(&["--lang", "ja", "start", "--accept-clock"]);
    assert_eq!((accepted.code, accepted.out.as_str()), (0, "再開しました。\n"), "{accepted:?}");
    let line = daemon.wait_for("clock accepted");
    assert!(line.contains("by=\"hana\""), "{line}");
    assert_eq!(shop.run(&["status"]).code, 0);
    let again = shop.run(&["--lang", "ja", "start", "--accept-clock"]);
    assert_eq!((again.code, again.err.as_str()), (1, "エラー: 停止していません。\n"), "{again:?}");
    assert_eq!(daemon.terminate().0, 0);
}
