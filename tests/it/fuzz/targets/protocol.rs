//! The control socket: lines of any bytes as requests, uploads and replies.

use futures_util::FutureExt as _;
use haishin::control::server::{encode, line};
use haishin::protocol::{Reply, Request, Upload};

pub fn run(bytes: &[u8]) -> bool {
    // As a daemon reads: a request, then what is uploaded.
    let mut rest = bytes;
    let asked = next::<Request>(&mut rest);
    while asked && next::<Upload>(&mut rest) {}
    // As a client reads.
    let mut rest = bytes;
    let mut told = 0;
    while next::<Reply>(&mut rest) {
        told += 1;
    }
    asked || told > 0
}

/// Reads a line as the socket's ends do; whether there may be more.
fn next<T: serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug>(rest: &mut &[u8]) -> bool {
    let before = rest.len();
    let read = line::<T>(rest).now_or_never().expect("bytes in memory are there at once");
    match read {
        Ok(None) => {
            assert_eq!(before, 0);
            false
        }
        // No more is read than one line.
        Ok(Some(message)) => {
            assert!(rest.len() < before);
            let written = encode(&message);
            assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 1, "{message:?}");
            let again = line::<T>(&mut written.as_slice()).now_or_never().expect("at once");
            let again = again.unwrap_or_else(|error| panic!("{error}: {message:?}")).expect("a line");
            assert_eq!(encode(&again), written, "{message:?}");
            assert_eq!(format!("{again:?}"), format!("{message:?}"));
            true
        }
        Err(message) => {
            super::assert_readable(&message);
            false
        }
    }
}
