//! The socket's server: JSON lines in, JSON lines out, bounded in size and number.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::node::Node;
use crate::protocol::{Failure, MAX_LINE_BYTES, Reply, Request, Upload};
use crate::text::one_line;

/// Commands served at once; more wait.
const MAX_CLIENTS: usize = 32;

/// Characters of what is told of a line that cannot be read: enough for the names of all commands.
const LONGEST_ERROR: usize = 1_000;

/// A client says in this time what it wants, or makes place for others.
const PATIENCE: Duration = Duration::from_secs(10);

/// Binds the socket for its owner and group only. A stale file of a killed daemon is removed: the caller holds the
/// state directory's lock, so nobody listens on it.
pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let address = Address::of(path)?;
    let listener = UnixListener::bind(address.path())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves until told to stop; commands under way are finished.
pub async fn serve(listener: UnixListener, node: Arc<Node>, stop: CancellationToken) {
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    let tracker = TaskTracker::new();
    loop {
        let Ok(permit) = clients.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (node, stop) = (node.clone(), stop.clone());
                tracker.spawn(async move {
                    if let Err(error) = client(stream, node, stop).await {
                        tracing::debug!(%error, "a command's client went away");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors or the like: others will close theirs.
                tracing::warn!(%error, "accepting a command failed");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
    tracker.close();
    tracker.wait().await;
}

async fn client(stream: UnixStream, node: Arc<Node>, stop: CancellationToken) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let (replies, mut outgoing) = mpsc::channel::<Reply>(16);
    let (uploads, incoming) = mpsc::channel::<Upload>(4);
    // Neither one who asks nothing nor a daemon that ends is waited for.
    let asked = stop.run_until_cancelled(tokio::time::timeout(PATIENCE, line::<Request>(&mut lines)));
    let request = match asked.await {
        Some(Ok(Ok(Some(request)))) => request,
        None | Some(Err(_) | Ok(Ok(None))) => return Ok(()),
        Some(Ok(Err(message))) => {
            let failure = Failure { code: "invalid".into(), message };
            return write.write_all(&encode(&Reply::Error(failure))).await;
        }
    };
    let answering = tokio::spawn(async move { node.answer(request, incoming, replies).await });
    let reading = tokio::spawn(async move {
        // A drain ends an import where it is; it says so, and what was taken is durable.
        while let Some(read) = stop.run_until_cancelled(line::<Upload>(&mut lines)).await {
            let (upload, last) = match read {
                Ok(Some(upload)) => (upload, false),
                Ok(None) => break,
                Err(message) => (Upload::Unreadable(message), true),
            };
            if uploads.send(upload).await.is_err() || last {
                break;
            }
        }
    });
    while let Some(reply) = outgoing.recv().await {
        write.write_all(&encode(&reply)).await?;
    }
    // The answer is complete: what the client still says is of no interest.
    reading.abort();
    let _ = answering.await;
    write.shutdown().await
}

/// One line as JSON, `None` at the end of input, a text for people when it is neither.
///
/// # Errors
/// The line is too long, or nothing this version knows; nothing that follows it is read then.
pub async fn line<T: serde::de::DeserializeOwned>(
    reader: &mut (impl tokio::io::AsyncBufRead + Unpin),
) -> Result<Option<T>, String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
    let read = reader.take(limit).read_until(b'\n', &mut bytes).await.map_err(|error| error.to_string())?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() != Some(&b'\n') && read >= MAX_LINE_BYTES {
        return Err(format!("a line is longer than {MAX_LINE_BYTES} bytes"));
    }
    // The error may repeat what was sent: as one line, and not all of it.
    let unknown = |error| one_line(&format!("not a request this version knows: {error}"), LONGEST_ERROR);
    serde_json::from_slice(&bytes).map(Some).map_err(unknown)
}

/// A value as one line.
pub fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    // Our own types always have a JSON form; an empty line would only end the conversation.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
