//! Moves output from a pipe or terminal to the outlet.

use super::outlet::{Channel, Outlet};
use crate::descriptor::retry;
use bytes::Bytes;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// One chunk of a pipe; the SDKs' protocol says 32 KiB at most.
const PIPE_CHUNK: usize = 32 << 10;
/// One chunk of a terminal.
const PTY_CHUNK: usize = 16 << 10;
/// Children that outlive their process keep its pipe open. Once it has exited, this much silence ends its output:
/// long enough for a `tee` to finish its work, short enough for `server &` not to hang its caller.
const LINGER: Duration = Duration::from_secs(2);

/// Runs until the end of the output, which comes when no process holds the other end any more, or after `LINGER` of
/// silence since the exit. What is written later goes nowhere, but nobody dies of a closed pipe.
pub async fn run(
    source: Arc<AsyncFd<OwnedFd>>,
    channel: Channel,
    outlet: Arc<Outlet>,
    mut exited: watch::Receiver<bool>,
) {
    let limit = if channel == Channel::Pty { PTY_CHUNK } else { PIPE_CHUNK };
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = read(&source, limit) => chunk,
            () = silence(&mut exited) => {
                tokio::spawn(async move { while let Ok(Some(_)) = read(&source, limit).await {} });
                return;
            }
        };
        match chunk {
            Ok(Some(bytes)) => outlet.publish((channel, bytes)).await,
            // A terminal whose last process left answers EIO.
            Ok(None) | Err(_) => return,
        }
    }
}

async fn silence(exited: &mut watch::Receiver<bool>) {
    if exited.wait_for(|exited| *exited).await.is_ok() {
        tokio::time::sleep(LINGER).await;
    }
}

/// None is the end. Cancelling it loses nothing: bytes are taken without waiting.
async fn read(source: &AsyncFd<OwnedFd>, limit: usize) -> io::Result<Option<Bytes>> {
    loop {
        let mut ready = source.readable().await?;
        let result = ready.try_io(|source| {
            let mut buffer = [MaybeUninit::uninit(); PIPE_CHUNK];
            retry(|| {
                Ok(Bytes::copy_from_slice(
                    rustix::io::read(source, &mut buffer[..limit])?.0,
                ))
            })
        });
        match result {
            Ok(bytes) => return bytes.map(|bytes| (!bytes.is_empty()).then_some(bytes)),
            Err(_would_block) => {}
        }
    }
}
