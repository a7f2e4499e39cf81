//! Signals, tokens, systemd's socket and the watchdog, in virtual time.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use haishin::lifecycle::{Notifier, Progress, Reload, Shutdown, Signal, supervise, watch};
use tokio::sync::mpsc;
use tokio::time::{Instant, advance, sleep};
use tokio_util::sync::CancellationToken;

const DRAIN: Duration = Duration::from_secs(15);

/// A service manager's socket.
struct Systemd {
    _folder: tempfile::TempDir,
    socket: UnixDatagram,
    notifier: Notifier,
}

impl Systemd {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { _folder: folder, socket, notifier: Notifier::to(&path).unwrap() }
    }

    /// All it was told since the last call.
    fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        let mut buffer = [0; 1_024];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            told.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        told
    }
}

struct Daemon {
    signals: mpsc::Sender<Signal>,
    shutdown: Shutdown,
    reloads: mpsc::Receiver<Reload>,
    supervisor: tokio::task::JoinHandle<()>,
    systemd: Systemd,
}

impl Daemon {
    fn start() -> Self {
        let (signals, receiver) = mpsc::channel(8);
        let (reload, reloads) = mpsc::channel(1);
        let (shutdown, systemd) = (Shutdown::new(), Systemd::new());
        let supervisor =
            tokio::spawn(supervise(receiver, shutdown.clone(), reload, systemd.notifier.clone(), DRAIN));
        Self { signals, shutdown, reloads, supervisor, systemd }
    }

    async fn signal(&self, signal: Signal) {
        self.signals.send(signal).await.unwrap();
        // Virtual time only passes when everybody waits: the signal is dealt with.
        sleep(Duration::from_millis(1)).await;
    }

    fn state(&self) -> (bool, bool) {
        (self.shutdown.soft().is_cancelled(), self.shutdown.hard().is_cancelled())
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_signal_drains_and_the_second_stops() {
    let daemon = Daemon::start();
    assert_eq!(daemon.state(), (false, false));
    daemon.signal(Signal::Terminate).await;
    assert_eq!(daemon.state(), (true, false));
    assert_eq!(daemon.systemd.told(), ["STOPPING=1\n"]);
    daemon.signal(Signal::Hangup).await;
    assert_eq!(daemon.state(), (true, false), "a hangup is no second stop");
    daemon.signal(Signal::Interrupt).await;
    assert_eq!(daemon.state(), (true, true));
    daemon.supervisor.await.unwrap();
    assert!(!daemon.shutdown.failed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_by_itself() {
    let daemon = Daemon::start();
    let started = Instant::now();
    daemon.signal(Signal::Interrupt).await;
    daemon.shutdown.hard().cancelled().await;
    assert_eq!(started.elapsed().as_secs(), DRAIN.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_part_that_fails_drains_the_rest() {
    let daemon = Daemon::start();
    daemon.shutdown.fail();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(daemon.state(), (true, false));
    assert_eq!(daemon.systemd.told(), ["STOPPING=1\n"]);
    sleep(DRAIN).await;
    assert_eq!(daemon.state(), (true, true));
    assert!(daemon.shutdown.failed());
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_without_signals_still_stops() {
    let Daemon { signals, shutdown, supervisor, .. } = Daemon::start();
    drop(signals);
    sleep(Duration::from_secs(1)).await;
    shutdown.drain();
    supervisor.await.unwrap();
    assert!(shutdown.hard().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_told_from_its_beginning_to_its_end() {
    let mut daemon = Daemon::start();
    daemon.systemd.notifier.ready();
    daemon.systemd.notifier.status("2 accounts");
    assert_eq!(daemon.systemd.told(), ["READY=1\n", "STATUS=2 accounts\n"]);

    daemon.signal(Signal::Hangup).await;
    daemon.signal(Signal::Hangup).await;
    let told = daemon.systemd.told();
    assert_eq!(told.len(), 1, "a second hangup before the first is taken up says nothing new: {told:?}");
    let usec = told[0].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
    assert!(usec.parse::<u64>().is_ok(), "{usec}");

    let reload = daemon.reloads.recv().await.unwrap();
    assert_eq!(daemon.systemd.told(), [""; 0]);
    drop(reload);
    assert_eq!(daemon.systemd.told(), ["READY=1\n"]);
    assert_eq!(daemon.state(), (false, false));
}

#[tokio::test]
async fn a_real_signal_arrives() {
    let mut signals = haishin::lifecycle::signals().unwrap();
    // To this very process: its handler is set, so it does not end.
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
    assert_eq!(signals.recv().await, Some(Signal::Hangup));
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_is_told_only_while_every_loop_goes_round() {
    let systemd = Systemd::new();
    let progress = Progress::new();
    let stop = CancellationToken::new();
    let bound = Duration::from_secs(10);
    let (writer, planner) = (progress.register("writer", bound), progress.register("planner", bound * 3));
    let every = Duration::from_secs(5);
    let watching = tokio::spawn(watch(progress.clone(), systemd.notifier.clone(), every, stop.clone()));
    let alive = |seconds: u64| {
        let systemd = &systemd;
        async move {
            sleep(Duration::from_secs(seconds)).await;
            systemd.told().len()
        }
    };
    sleep(Duration::from_millis(1)).await;
    assert_eq!(systemd.told(), ["WATCHDOG=1\n"]);
    for _ in 0..10 {
        writer.beat();
        planner.beat();
        assert_eq!(alive(5).await, 1);
    }
    // The writer hangs: its last beat was seen at 50 s, 10 s later it is still within its bound.
    assert_eq!(alive(10).await, 2);
    assert_eq!(alive(15).await, 0);
    assert_eq!(progress.stalled(), ["writer"]);
    writer.beat();
    planner.beat();
    assert_eq!(alive(5).await, 1);
    // A loop that ended on purpose is not waited for; one that panicked is.
    drop(writer);
    assert_eq!(alive(20).await, 4);
    let panicking = tokio::spawn(async move {
        let _planner = planner;
        panic!("on purpose");
    });
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(alive(60).await, 2, "within its bound, then never again");
    assert_eq!(progress.stalled(), ["planner"]);
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_manager_that_is_gone_stops_nothing() {
    let Systemd { _folder, socket, notifier } = Systemd::new();
    drop(socket);
    notifier.ready();
    Notifier::nobody().ready();
    assert!(Notifier::to(&_folder.path().join("nobody")).is_err());
    advance(Duration::from_secs(1)).await;
}
