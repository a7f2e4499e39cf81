//! What systemd is told (`sd_notify`). Without systemd nothing is told and nothing is different.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;

use sd_notify::NotifyState;

/// The way to the service manager, if there is one.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    socket: Option<Arc<UnixDatagram>>,
}

impl Notifier {
    /// Tells nobody.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// The service manager that started this process (`NOTIFY_SOCKET`), or nobody.
    ///
    /// # Errors
    /// There is one, but it cannot be reached.
    pub fn from_env() -> std::io::Result<Self> {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(path) => Self::to(path.as_ref()),
            None => Ok(Self::nobody()),
        }
    }

    /// The service manager at a socket; a name that begins with `@` is an abstract one.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn to(path: &Path) -> std::io::Result<Self> {
        let address = match path.as_os_str().as_encoded_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(Self { socket: Some(Arc::new(socket)) })
    }

    /// The daemon serves.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The daemon drains.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.tell(&[NotifyState::Status(line)]);
    }

    /// The daemon is alive.
    pub(super) fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    fn reloading(&self) {
        // systemd 253 and later wants to know when, on the monotonic clock.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

/// A reload under way. Dropping it says that it is over, well or not: systemd never waits for one that failed.
#[derive(Debug)]
pub struct Reload(Notifier);

impl Reload {
    pub(super) fn begin(notifier: &Notifier) -> Self {
        notifier.reloading();
        Self(notifier.clone())
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.0.ready();
    }
}
