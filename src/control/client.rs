//! A command's side of the conversation: with a daemon over its socket, or with a node in the same process.

use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::address::Address;
use super::node::Node;
use super::server::{encode, line};
use crate::protocol::{Failure, Reply, Request, Upload};

/// Whether a daemon listens there.
pub async fn listens(socket: &Path) -> bool {
    matches!(connect(socket).await, Ok(Some(_)))
}

/// The process that listens there, where the system says which; `None` where nobody listens.
pub async fn peer(socket: &Path) -> Option<Option<i32>> {
    let stream = connect(socket).await.ok()??;
    Some(stream.peer_cred().ok().and_then(|peer| peer.pid()))
}

async fn connect(socket: &Path) -> std::io::Result<Option<UnixStream>> {
    let nobody = |error: &std::io::Error| {
        matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
    };
    let connected = match Address::of(socket) {
        Ok(address) => UnixStream::connect(address.path()).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if nobody(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A conversation about one request.
pub enum Conversation {
    /// With a daemon.
    Daemon {
        /// Its lines.
        read: BufReader<OwnedReadHalf>,
        /// Ours.
        write: OwnedWriteHalf,
    },
    /// With a node of our own.
    Here {
        /// Its replies.
        replies: mpsc::Receiver<Reply>,
        /// Our uploads.
        uploads: mpsc::Sender<Upload>,
    },
}

impl Conversation {
    /// Asks a daemon; `None` when none listens there.
    pub async fn with_daemon(socket: &Path, request: &Request) -> std::io::Result<Option<Self>> {
        let Some(stream) = connect(socket).await? else { return Ok(None) };
        let (read, mut write) = stream.into_split();
        write.write_all(&encode(request)).await?;
        Ok(Some(Self::Daemon { read: BufReader::new(read), write }))
    }

    /// Asks a node in this process.
    pub fn here(node: Arc<Node>, request: Request) -> Self {
        let (replying, replies) = mpsc::channel(16);
        let (uploads, incoming) = mpsc::channel(4);
        tokio::spawn(async move { node.answer(request, incoming, replying).await });
        Self::Here { replies, uploads }
    }

    /// The next reply; `None` when the other side ended without an answer.
    pub async fn next(&mut self) -> Option<Reply> {
        match self {
            Self::Here { replies, .. } => replies.recv().await,
            Self::Daemon { read, .. } => match line::<Reply>(read).await {
                Ok(reply) => reply,
                Err(message) => Some(Reply::Error(Failure { code: "unavailable".into(), message })),
            },
        }
    }

    /// Uploads a line; `false` when the other side listens no more.
    pub async fn upload(&mut self, upload: Upload) -> bool {
        match self {
            Self::Here { uploads, .. } => uploads.send(upload).await.is_ok(),
            Self::Daemon { write, .. } => write.write_all(&encode(&upload)).await.is_ok(),
        }
    }
}
