//! One end of a hop: a stream, what came and is not taken yet, and what it has not taken yet.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_tcp_nodelay};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read at once. One buffer serves all connections of a thread: what was read is passed on before the next read.
const READ_BYTES: usize = 131_072;
/// A buffer that has grown beyond is given back when it is empty.
const KEPT_BYTES: usize = 16_384;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// What the kernel may hold of a connection between our own hops: it grows to 32 MB otherwise, for each slow reader.
const HOP_RECEIVE_BYTES: usize = 524_288;

/// For connections of one rack: as much as they need, and no more.
pub fn tune_hop(socket: impl AsFd) -> io::Result<()> {
    set_tcp_nodelay(&socket, true)?;
    Ok(set_socket_recv_buffer_size(&socket, HOP_RECEIVE_BYTES)?)
}

pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

pub struct Conn<S> {
    io: S,
    inbox: Vec<u8>,
    /// What of `inbox` is taken.
    taken: usize,
    outbox: Vec<u8>,
    /// What of `outbox` is written.
    written: usize,
}

impl<S: Stream> Conn<S> {
    pub fn new(io: S) -> Self {
        Self {
            io,
            inbox: Vec::new(),
            taken: 0,
            outbox: Vec::new(),
            written: 0,
        }
    }

    pub fn io(&self) -> &S {
        &self.io
    }

    /// What came and is not taken yet.
    pub fn inbox(&self) -> &[u8] {
        &self.inbox[self.taken..]
    }

    pub fn take(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.inbox.len() {
            reuse(&mut self.inbox);
            self.taken = 0;
        }
    }

    /// Gives memory back that only an exchange needed.
    pub fn shrink(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
        if self.outbox.is_empty() {
            self.outbox = Vec::new();
        }
    }

    /// Reads to `inbox`. Zero: the peer sends nothing more.
    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { io, inbox, .. } = self;
        poll_scratch(io, context, |bytes| inbox.extend_from_slice(bytes))
    }

    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    /// Hands what comes next to `take`, past `inbox`, which must be empty: what `take` leaves is kept there.
    pub fn poll_read_with<E>(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut Context<'_>, &[u8]) -> Result<usize, E>,
    ) -> Poll<io::Result<Result<usize, E>>> {
        let Self { io, inbox, .. } = self;
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(io).poll_read(context, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(Ok(0)));
            }
            let taken: Result<usize, E> = take(context, bytes);
            if let Ok(taken) = &taken {
                inbox.extend_from_slice(&bytes[*taken..]);
            }
            Poll::Ready(Ok(taken.map(|_| bytes.len())))
        })
    }

    /// Writes what can be written now, and keeps the rest for `poll_flush`.
    pub fn put(&mut self, context: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        while self.outbox.is_empty() && !bytes.is_empty() {
            match Pin::new(&mut self.io).poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => bytes = &bytes[count..],
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        self.outbox.extend_from_slice(bytes);
        Ok(())
    }

    /// Ready when everything is written.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outbox.len() {
            let count = ready!(Pin::new(&mut self.io).poll_write(context, &self.outbox[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.written = 0;
        reuse(&mut self.outbox);
        Pin::new(&mut self.io).poll_flush(context)
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = Some(bytes);
        poll_fn(|context| {
            if let Some(bytes) = rest.take() {
                self.put(context, bytes)?;
            }
            self.poll_flush(context)
        })
        .await
    }

    /// The peer learns that nothing more comes.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|context| Pin::new(&mut self.io).poll_shutdown(context)).await
    }

    /// Whether an idle connection can take a request: nothing has come, also not its end.
    pub fn is_quiet(&mut self, context: &mut Context<'_>) -> bool {
        self.inbox.is_empty() && self.outbox.is_empty() && self.poll_fill(context).is_pending()
    }
}

fn poll_scratch<S: Stream>(io: &mut S, context: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(io).poll_read(context, &mut buffer))?;
        take(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
}

fn reuse(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BYTES {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}
