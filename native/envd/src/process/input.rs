//! Standard input of a process, a pipe or its terminal.

use crate::descriptor::retry;
use crate::fault::Fault;
use crate::proto::process::__buffa::oneof::process_input;
use crate::proto::process::ProcessInput;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

/// Writes wait for each other, so that two clients' pieces never mix inside one piece.
pub enum Input {
    /// None: never opened, or closed.
    Pipe(Mutex<Option<AsyncFd<OwnedFd>>>),
    Terminal {
        master: Arc<AsyncFd<OwnedFd>>,
        turn: Mutex<()>,
    },
}

impl Input {
    /// Writes all of it; waits while the process does not read.
    pub async fn send(&self, input: ProcessInput) -> Result<(), Fault> {
        match (self, input.input) {
            (_, None) => Err(Fault::invalid("the input is empty: neither stdin nor pty")),
            (Self::Pipe(pipe), Some(process_input::Input::Stdin(bytes))) => {
                let mut pipe = pipe.lock().await;
                let Some(end) = pipe.as_ref() else {
                    return Err(Fault::internal("stdin not enabled or closed"));
                };
                let result = write_all(end, &bytes).await;
                if result
                    .as_ref()
                    .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
                {
                    *pipe = None;
                }
                result.map_err(|error| Fault::internal(format!("cannot write to stdin: {error}")))
            }
            (Self::Terminal { master, turn }, Some(process_input::Input::Pty(bytes))) => {
                let _turn = turn.lock().await;
                let result = write_all(master, &bytes).await;
                result.map_err(|error| Fault::internal(format!("cannot write to the terminal: {error}")))
            }
            (Self::Pipe(_), Some(process_input::Input::Pty(_))) => {
                Err(Fault::invalid("the process has no terminal, send stdin instead"))
            }
            (Self::Terminal { .. }, Some(process_input::Input::Stdin(_))) => {
                Err(Fault::invalid("the process has a terminal, send pty input instead"))
            }
        }
    }

    /// Ends a pipe, after what was sent before.
    pub async fn close(&self) -> Result<(), Fault> {
        match self {
            Self::Pipe(pipe) => match pipe.lock().await.take() {
                Some(_) => Ok(()),
                None => Err(Fault::internal("stdin not enabled or closed")),
            },
            Self::Terminal { .. } => Err(Fault::invalid(
                "a terminal's input cannot be closed, send Ctrl+D (0x04) instead",
            )),
        }
    }

    pub fn terminal(&self) -> Option<&AsyncFd<OwnedFd>> {
        match self {
            Self::Terminal { master, .. } => Some(master),
            Self::Pipe(_) => None,
        }
    }
}

async fn write_all(end: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = end.writable().await?;
        match ready.try_io(|end| retry(|| rustix::io::write(end, bytes))) {
            Ok(written) => bytes = &bytes[written?..],
            Err(_would_block) => {}
        }
    }
    Ok(())
}
