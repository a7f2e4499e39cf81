//! The unit: valid, and with no more rights than it needs.

use std::path::{Path, PathBuf};
use std::process::Command;

const EXPOSURE_MAX: f64 = 1.5;

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/haishin.service")
}

/// Whether `systemd-analyze` is content, and what it prints.
fn analyze(arguments: &[&str], unit: &Path) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).output();
    let output = output.unwrap_or_else(|error| {
        panic!("systemd-analyze is needed to test the unit; install the package systemd: {error}")
    });
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_unit_is_exposed_at_most_so_far() {
    let (_, text) = analyze(&["security", "--offline=true", "--no-pager"], &unit());
    let line = text.lines().find(|line| line.contains("Overall exposure level")).expect(&text);
    let exposure: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).expect(line);
    assert!(exposure <= EXPOSURE_MAX, "{text}");
}

/// What systemd does not understand it ignores with a warning, so there must be none. The program itself need
/// not be installed where tests run.
#[test]
fn systemd_has_nothing_to_say_about_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(unit()).unwrap();
    let verify = |text: &str| {
        let copy = folder.path().join("haishin.service");
        std::fs::write(&copy, text).unwrap();
        analyze(&["verify", "--recursive-errors=no", "--man=no"], &copy)
    };
    let runnable = text.replace("/usr/bin/haishin", "/bin/true");
    assert_ne!(runnable, text);
    assert_eq!(verify(&runnable), (true, String::new()));
    let (_, misspelt) = verify(&runnable.replace("WatchdogSec=", "WatchdogSecs="));
    assert!(misspelt.contains("WatchdogSecs"), "the check does not see a wrong key: {misspelt}");
}
