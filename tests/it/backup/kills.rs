//! Killed while it is made, and while it is put back: wherever that is, the database is there, whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use haishin::app::restore::Restore;
use haishin::app::{self, StateLock};
use haishin::lang::Lang;
use haishin::store::sqlite::copy::{self, Look};
use sqlx::{Connection as _, SqliteConnection};

use super::{BEFORE_SIX, World, path_of, world};
use crate::support::daemon::{Said, Shop, at, until};
use crate::support::store::Database;

/// Makes the database large enough to be met at work: what is in it does not matter.
async fn weigh_down(shop: &Shop, megabytes: u32) {
    let mut conn = SqliteConnection::connect(&shop.url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS ballast (x BLOB)").execute(&mut conn).await.unwrap();
    for _ in 0..megabytes {
        sqlx::raw_sql("INSERT INTO ballast VALUES (randomblob(1000000))").execute(&mut conn).await.unwrap();
    }
    conn.close().await.unwrap();
}

/// The files of a folder, by name.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn partial(folder: &Path) -> Option<PathBuf> {
    let name = names(folder).into_iter().find(|name| name.ends_with(".partial"))?;
    let path = folder.join(name);
    fs::metadata(&path).is_ok_and(|file| file.len() > 0).then_some(path)
}

async fn whole(database: &Path) -> Look {
    copy::settle(database).await.unwrap();
    copy::look(database).await.unwrap()
}

fn end(mut child: Child) -> Said {
    let _ = child.kill();
    Said::of(child.wait_with_output().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_killed_in_the_middle_is_none_and_the_next_one_clears_it_away() {
    let world = world(Database::Sqlite, "", |_| ()).await;
    let shop = &world.shop;
    weigh_down(shop, 150).await;
    let folder = shop.folder("backups");
    let words = ["backup", folder.to_str().unwrap()];
    // The daemon that makes it, then the command that makes it itself.
    let daemon = shop.started(at(BEFORE_SIX)).await;
    let asking = shop.command(&words).spawn().unwrap();
    until("the copy has begun", async || partial(&folder)).await;
    daemon.kill();
    let said = Said::of(asking.wait_with_output().unwrap());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("there is no backup; do it again"), "{said:?}");
    assert!(names(&folder).iter().all(|name| name.starts_with(".haishin-backup-")), "{:?}", names(&folder));

    let alone = shop.command(&words).spawn().unwrap();
    until("the copy has begun", async || partial(&folder)).await;
    end(alone);
    assert!(partial(&folder).is_some() && names(&folder).iter().all(|name| name.starts_with('.')));

    let made = shop.json(&words);
    assert_eq!(names(&folder), [path_of(&made).file_name().unwrap().to_str().unwrap()]);
    assert_eq!(whole(&shop.database_file()).await, copy::look(&path_of(&made)).await.unwrap());
}

/// A shop with a backup, and a database that has gone on since.
async fn with_backup(megabytes: u32) -> (World, PathBuf) {
    let world = world(Database::Sqlite, "", |_| ()).await;
    if megabytes > 0 {
        weigh_down(&world.shop, megabytes).await;
    }
    let folder = world.shop.folder("backups");
    let backup = path_of(&world.shop.json(&["backup", folder.to_str().unwrap()]));
    let daemon = world.shop.started(at(BEFORE_SIX)).await;
    world.until_sent().await;
    daemon.terminate();
    (world, backup)
}

fn lock(shop: &Shop) -> StateLock {
    app::lock_state(&shop.state(), &mut app::machine_rng(), Lang::En).unwrap().expect("nobody else has it")
}

/// What a process that dies after so many steps of a restore leaves.
async fn die_after(steps: u32, shop: &Shop, lock: &StateLock, backup: &Path) {
    let (paths, settings) = app::settings(&shop.config(), None, Lang::En).unwrap();
    let restore = Restore::begin(&paths, &settings, lock, Lang::En).unwrap();
    let doing = async {
        let offer = restore.take(backup).await.unwrap();
        if steps == 0 {
            // In the middle of the copy.
            let copied = fs::OpenOptions::new().write(true).open(fresh(shop)).unwrap();
            copied.set_len(copied.metadata().unwrap().len() / 2).unwrap();
        }
        if steps > 1 {
            restore.mark(&offer, "hana").await.unwrap();
        }
        if steps > 2 {
            restore.keep(&offer).unwrap();
        }
        if steps > 3 {
            restore.go_live().unwrap();
        }
    };
    doing.await;
    // Whoever is killed clears nothing away.
    std::mem::forget(restore);
}

fn fresh(shop: &Shop) -> PathBuf {
    shop.state().join("haishin.sqlite3.restoring")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_killed_after_any_step_leaves_the_old_or_the_new_one_and_can_be_done_again() {
    let (world, backup) = with_backup(0).await;
    let shop = &world.shop;
    let old = whole(&shop.database_file()).await;
    let saved = copy::look(&backup).await.unwrap();
    assert!(old.accounts[0].transaction > saved.accounts[0].transaction);
    let bytes = fs::read(shop.database_file()).unwrap();
    for steps in 0..=4 {
        fs::write(shop.database_file(), &bytes).unwrap();
        let lock = lock(shop);
        die_after(steps, shop, &lock, &backup).await;
        let now = whole(&shop.database_file()).await;
        if steps < 4 {
            assert_eq!(now, old, "after {steps} steps");
        } else {
            // Held from its first moment on: the claim of whoever marked it, the mark, and the release.
            assert_eq!(now.accounts[0].transaction, saved.accounts[0].transaction + 3);
        }
        drop(lock);
        // A daemon that starts there finds one of the two, and only the new one is held.
        let daemon = shop.started(at("2026-12-04T18:30:00+09:00")).await;
        let stopped = world.status().await["stopped"].clone();
        assert_eq!(stopped["why"]["code"] == "restored", steps == 4, "after {steps} steps: {stopped}");
        daemon.terminate();
        let done = shop.json(&["restore", "--yes", backup.to_str().unwrap()]);
        let kept = PathBuf::from(done["kept"].as_str().unwrap());
        let left = names(&shop.state());
        let second_names = left.iter().filter(|name| name.contains(".before-restore-"));
        let expected = if steps == 4 { 2 } else { 1 };
        assert_eq!(second_names.count(), expected, "after {steps} steps: {left:?}");
        assert!(!left.iter().any(|name| name.contains(".restoring")), "{left:?}");
        assert!(copy::look(&kept).await.is_ok());
        for name in left.iter().filter(|name| name.contains(".before-restore-")) {
            fs::remove_file(shop.state().join(name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_another_command_holds_the_state_directory_nothing_is_copied_or_replaced() {
    let (world, backup) = with_backup(0).await;
    let shop = &world.shop;
    let before = whole(&shop.database_file()).await;
    let held = lock(shop);
    for words in [&["backup"][..], &["restore", "--yes", backup.to_str().unwrap()], &["restore", "--mark"]] {
        let said = shop.run(words);
        assert_eq!((said.code, &*said.out), (1, ""), "{said:?}");
        assert!(said.err.contains("another haishin uses this state directory"), "{said:?}");
    }
    drop(held);
    assert_eq!(whole(&shop.database_file()).await, before);
}

/// The real process, killed at what can be seen of its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_restore_command_leaves_a_whole_database() {
    let (world, backup) = with_backup(60).await;
    let shop = &world.shop;
    let old = whole(&shop.database_file()).await;
    let kept = || names(&shop.state()).iter().any(|name| name.contains(".before-restore-"));
    let there: [&dyn Fn() -> bool; 4] = [
        &|| fs::metadata(fresh(shop)).is_ok_and(|file| file.len() > 0),
        &|| fs::metadata(fresh(shop)).is_ok_and(|file| file.len() > 50_000_000),
        &|| shop.state().join("haishin.sqlite3.restoring-wal").exists(),
        &kept,
    ];
    for (n, seen) in there.iter().enumerate() {
        let words = ["restore", "--yes", backup.to_str().unwrap()];
        let mut child = shop.command(&words).spawn().unwrap();
        until("it is on its way", async || (seen() || child.try_wait().unwrap().is_some()).then_some(()))
            .await;
        end(child);
        let now = whole(&shop.database_file()).await;
        let (before, after) = (&old.accounts[0], &now.accounts[0]);
        assert!(now == old || after.transaction < before.transaction, "killed at {n}: {now:?}");
    }
    let done = shop.json(&["restore", "--yes", backup.to_str().unwrap()]);
    assert_eq!(done["held"][0]["account"], "shop");
    assert!(!names(&shop.state()).iter().any(|name| name.contains(".restoring")));
}
