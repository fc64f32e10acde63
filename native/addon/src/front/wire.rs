//! Connections to the guests.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};

use super::route::Activity;
use crate::h1::conn::tune_hop;

/// A guest is one hop away: what has not answered by then does not.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A connection to a guest: its bytes are counted, and it is reset when the sandbox goes.
pub struct GuestStream {
    socket: TcpStream,
    activity: Arc<Activity>,
}

impl GuestStream {
    /// Given up at once when the sandbox goes.
    pub async fn connect(address: Ipv4Addr, port: u16, activity: &Arc<Activity>) -> io::Result<Self> {
        let connecting = timeout(CONNECT_LIMIT, TcpStream::connect(SocketAddr::from((address, port))));
        let socket = tokio::select! {
            connected = connecting => connected.map_err(io::Error::from)??,
            () = activity.deleted.cancelled() => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        tune_hop(&socket)?;
        activity.connected(socket.as_raw_fd());
        Ok(Self {
            socket,
            activity: Arc::clone(activity),
        })
    }

    fn count_written(&self, written: usize) {
        self.activity.bytes_in.fetch_add(written as u64, Relaxed);
        self.activity.touch();
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        // Before the descriptor closes: its number may be another connection's right after.
        self.activity.closed(self.socket.as_raw_fd());
    }
}

impl AsyncRead for GuestStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.activity.bytes_out.fetch_add(read as u64, Relaxed);
            self.activity.touch();
        } else if self.activity.deleted.is_cancelled() {
            // Our own reset reads as an end; to the caller it must not look like the end of an answer.
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, bytes))?;
        self.count_written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// Wakes whoever waits on a connection, and makes its close a reset for the peer.
pub(super) fn reset(descriptor: RawFd) {
    // SAFETY: it is registered with `Activity`, whose lock the caller holds, so it is open.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}
