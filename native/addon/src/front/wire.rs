//! Connections to the guests and to the agent's service, as hyper's client wants them.

use std::{
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tower_service::Service;

use super::route::Activity;

/// A guest is one hop away: what has not answered by then does not.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

type Connecting<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// Connects to the port that the URI names, at the sandbox's address.
#[derive(Clone)]
pub struct GuestConnector {
    address: Ipv4Addr,
    activity: Arc<Activity>,
}

impl GuestConnector {
    pub fn new(address: Ipv4Addr, activity: Arc<Activity>) -> Self {
        Self { address, activity }
    }
}

impl Service<Uri> for GuestConnector {
    type Response = TokioIo<GuestStream>;
    type Error = io::Error;
    type Future = Connecting<TokioIo<GuestStream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let address = SocketAddr::from((self.address, uri.port_u16().unwrap_or(80)));
        let activity = Arc::clone(&self.activity);
        Box::pin(async move {
            let connecting = timeout(CONNECT_LIMIT, TcpStream::connect(address));
            let stream = tokio::select! {
                connected = connecting => connected.map_err(io::Error::from)??,
                () = activity.deleted.cancelled() => return Err(io::ErrorKind::ConnectionReset.into()),
            };
            stream.set_nodelay(true)?;
            activity.connected(stream.as_raw_fd());
            Ok(TokioIo::new(GuestStream {
                socket: stream,
                activity,
            }))
        })
    }
}

/// A connection to a guest: its bytes are counted, and it is reset when the sandbox goes.
pub struct GuestStream {
    socket: TcpStream,
    activity: Arc<Activity>,
}

impl GuestStream {
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

impl Connection for GuestStream {
    fn connected(&self) -> Connected {
        Connected::new()
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

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(context, slices))?;
        self.count_written(written);
        Poll::Ready(Ok(written))
    }
}

/// Wakes whoever waits on a connection, and makes its close a reset for the peer.
pub(super) fn reset(descriptor: RawFd) {
    // SAFETY: it is registered with `Activity`, whose lock the caller holds, so it is open.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// Connects to the agent's Connect service.
#[derive(Clone)]
pub struct AgentConnector(pub Arc<PathBuf>);

impl Service<Uri> for AgentConnector {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Connecting<TokioIo<UnixStream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = Arc::clone(&self.0);
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(path.as_path()).await?)) })
    }
}
