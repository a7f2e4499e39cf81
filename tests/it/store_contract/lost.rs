//! A commit whose answer is lost: the store says so, and what landed is what is found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use haishin::domain::id::Seq;
use haishin::store::{self, Priority, Store, StoreError, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::{T0, granted, new_account, tagged};
use crate::support::postgres;

/// What the network does to the next transaction.
const NOTHING: u8 = 0;
const CUT_BEFORE_BEGIN: u8 = 1;
const CUT_BEFORE_COMMIT: u8 = 2;
const CUT_AFTER_COMMIT: u8 = 3;

/// A proxy between a store and the server that cuts a connection where told to. Returns the store's URL.
async fn cutting_proxy(url: &str, cut: Arc<AtomicU8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, Arc::clone(&cut)));
        }
    });
    let database = url.rsplit('/').next().unwrap();
    format!("postgres://haishin@127.0.0.1:{port}/{database}?sslmode=disable")
}

async fn relay(mut client: TcpStream, cut: Arc<AtomicU8>) {
    let mut server = UnixStream::connect(postgres::socket()).await.unwrap();
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(n @ 1..) = read else { return };
                let holds = |text: &[u8]| up[..n].windows(text.len()).any(|window| window == text);
                let (begin, commit) = (holds(b"BEGIN"), holds(b"COMMIT\0"));
                match cut.load(Ordering::SeqCst) {
                    CUT_BEFORE_BEGIN if begin => return,
                    CUT_BEFORE_COMMIT if commit => return,
                    CUT_AFTER_COMMIT if commit => {
                        server.write_all(&up[..n]).await.unwrap();
                        // The server's answer proves that it has committed; it goes no further.
                        let _ = server.read(&mut down).await;
                        return;
                    }
                    _ => {}
                }
                if server.write_all(&up[..n]).await.is_err() { return }
            }
            read = server.read(&mut down) => {
                let Ok(n @ 1..) = read else { return };
                if client.write_all(&down[..n]).await.is_err() { return }
            }
        }
    }
}

#[tokio::test]
async fn a_lost_answer_is_told_from_a_failure_and_the_truth_is_found_again() {
    let url = postgres::database().await;
    let cut = Arc::new(AtomicU8::new(NOTHING));
    let store: Arc<dyn Store> = store::open(&cutting_proxy(&url, Arc::clone(&cut)).await).await.unwrap();
    let account = new_account(&*store, "a").await;
    let mut landed = 0;
    for how in [CUT_BEFORE_BEGIN, CUT_BEFORE_COMMIT, CUT_AFTER_COMMIT] {
        let mut fence = granted(&*store, account, "n", T0).await;
        let before = fence.clone();
        cut.store(how, Ordering::SeqCst);
        let writes = vec![Write::Entries(vec![tagged(landed + 1)])];
        let result = store.commit(&mut fence, T0, Priority::Outcome, writes).await;
        cut.store(NOTHING, Ordering::SeqCst);
        match how {
            CUT_BEFORE_BEGIN => assert!(matches!(result, Err(StoreError::Failed { .. })), "{result:?}"),
            _ => assert!(matches!(result, Err(StoreError::Lost { .. })), "{how}: {result:?}"),
        }
        assert_eq!(fence, before, "the owner does not guess");
        let again = granted(&*store, account, "n", T0).await;
        landed += i64::from(how == CUT_AFTER_COMMIT);
        assert_eq!(again.seq - before.seq, 1 + landed, "{how}");
        let entries = store.entries(account, Seq(0), 10).await.unwrap();
        assert_eq!(entries, (1..=landed).map(tagged).collect::<Vec<_>>(), "{how}");
    }
}

/// The server ends a connection while its commit runs: that commit is lost to its owner, and did not land.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_killed_inside_its_commit_is_lost() {
    use sqlx::{Connection, Executor};
    let url = postgres::database().await;
    let store = store::open(&url).await.unwrap();
    let account = new_account(&*store, "a").await;
    let mut fence = granted(&*store, account, "n", T0).await;
    let mut admin = sqlx::PgConnection::connect(&url).await.unwrap();
    // A trigger deferred to the commit waits for a lock this test holds.
    admin
        .execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END'; \
             CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON journal DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION wait(); SELECT pg_advisory_lock(7)",
        )
        .await
        .unwrap();
    let committing = tokio::spawn(async move {
        let writes = vec![Write::Entries(vec![tagged(1)])];
        (store.commit(&mut fence, T0, Priority::Outcome, writes).await, store)
    });
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND wait_event_type = 'Lock' AND query = 'COMMIT'";
    while admin.fetch_all(kill).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let (result, store) = committing.await.unwrap();
    assert!(matches!(result, Err(StoreError::Lost { .. })), "{result:?}");
    assert_eq!(store.entries(account, Seq(0), 10).await.unwrap(), []);
    let mut again = granted(&*store, account, "n", T0).await;
    store.commit(&mut again, T0, Priority::Outcome, vec![]).await.unwrap();
}
