//! Where the socket is, however deep its directory lies: the kernel takes 107 bytes of path and no more.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The longest path a socket may be bound at, without the zero byte that ends it.
const LONGEST: usize = 107;

/// A path the kernel takes for a socket. It names the socket only while this lives.
#[derive(Debug)]
pub(super) struct Address {
    path: PathBuf,
    /// Keeps a descriptor's path valid.
    _directory: Option<OwnedFd>,
}

impl Address {
    /// The address of a socket: its path or, where that is too long, the same file seen through a descriptor of its
    /// directory.
    pub(super) fn of(socket: &Path) -> std::io::Result<Self> {
        if socket.as_os_str().len() <= LONGEST {
            return Ok(Self { path: socket.to_owned(), _directory: None });
        }
        let directory = socket.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let opened = rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let name = socket.file_name().unwrap_or(OsStr::new(""));
        let path = Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: Some(opened) })
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;
    use crate::control::server;

    #[tokio::test]
    async fn a_socket_is_found_however_deep_it_lies() {
        let root = tempfile::tempdir().unwrap();
        for depth in [0, 30] {
            let directory = root.path().join("very-deep/".repeat(depth));
            std::fs::create_dir_all(&directory).unwrap();
            let socket = directory.join("haishin.sock");
            let listener = server::bind(&socket).unwrap();
            assert!(socket.exists());
            let address = Address::of(&socket).unwrap();
            let (connected, accepted) = tokio::join!(UnixStream::connect(address.path()), listener.accept());
            assert!(connected.is_ok() && accepted.is_ok(), "depth {depth}");
            drop(listener);
            // A stale file of a killed daemon is in nobody's way.
            assert!(server::bind(&socket).is_ok());
        }
    }
}
