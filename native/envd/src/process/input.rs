//! Standard input of a process, a pipe or its terminal.

use crate::descriptor::retry;
use crate::fault::Fault;
use crate::proto::process::__buffa::oneof::process_input;
use crate::proto::process::ProcessInput;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use tokio::io::unix::AsyncFd;

pub struct Input {
    kind: Kind,
    /// None: never opened, or closed.
    end: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
    /// Writes wait for each other, so that two clients' pieces never mix inside one piece.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Pipe,
    Terminal,
}

impl Input {
    pub fn pipe(end: Option<AsyncFd<OwnedFd>>) -> Self {
        Self {
            kind: Kind::Pipe,
            end: Mutex::new(end.map(Arc::new)),
            turn: Default::default(),
        }
    }

    pub fn terminal(master: Arc<AsyncFd<OwnedFd>>) -> Self {
        Self {
            kind: Kind::Terminal,
            end: Mutex::new(Some(master)),
            turn: Default::default(),
        }
    }

    /// Writes all of it; waits while the process does not read.
    pub async fn send(&self, input: ProcessInput) -> Result<(), Fault> {
        let bytes = match (self.kind, input.input) {
            (_, None) => return Err(Fault::invalid("the input is empty: neither stdin nor pty")),
            (Kind::Pipe, Some(process_input::Input::Pty(_))) => {
                return Err(Fault::invalid("the process has no terminal, send stdin instead"));
            }
            (Kind::Terminal, Some(process_input::Input::Stdin(_))) => {
                return Err(Fault::invalid("the process has a terminal, send pty input instead"));
            }
            (_, Some(process_input::Input::Stdin(bytes) | process_input::Input::Pty(bytes))) => bytes,
        };
        let _turn = self.turn.lock().await;
        let end = self.end()?;
        let result = write_all(&end, &bytes).await;
        if result
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            self.release();
        }
        result.map_err(|error| Fault::internal(format!("cannot write to the process: {error}")))
    }

    /// Ends a pipe, after what was sent before.
    pub async fn close(&self) -> Result<(), Fault> {
        if self.kind == Kind::Terminal {
            return Err(Fault::invalid(
                "a terminal's input cannot be closed, send Ctrl+D (0x04) instead",
            ));
        }
        let _turn = self.turn.lock().await;
        self.end.lock().unwrap().take().map(drop).ok_or_else(closed)
    }

    /// The process has ended: its descriptor is not kept.
    pub fn release(&self) {
        self.end.lock().unwrap().take();
    }

    /// The terminal, if it is one.
    pub fn as_terminal(&self) -> Result<Arc<AsyncFd<OwnedFd>>, Fault> {
        match self.kind {
            Kind::Terminal => self.end(),
            Kind::Pipe => Err(Fault::invalid("the process has no terminal")),
        }
    }

    fn end(&self) -> Result<Arc<AsyncFd<OwnedFd>>, Fault> {
        self.end.lock().unwrap().clone().ok_or_else(closed)
    }
}

fn closed() -> Fault {
    Fault::internal("stdin not enabled or closed")
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
