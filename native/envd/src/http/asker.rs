//! Whether the one who asked still waits for the answer.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::net::TcpStream;

/// The other end of a connection.
#[derive(Clone)]
pub struct Asker(Arc<OwnedFd>);

impl Asker {
    pub fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self(Arc::new(stream.as_fd().try_clone_to_owned()?)))
    }

    /// False once it has closed its end. The server gives up a request for that too, but may have begun with it by then.
    pub fn waits(&self) -> bool {
        let mut ends = [PollFd::new(&*self.0, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut ends, Some(&now)).is_ok_and(|ready| ready == 0)
    }
}
