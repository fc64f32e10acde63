//! One request and its answer between two ends: bytes both ways at once, each side as fast as the other takes them.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    conn::{Conn, Stream},
    framing::{Framing, Malformed},
    response,
};

pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Of what a client sends before its answer is out (a request behind another); it is not read beyond.
const AHEAD_BYTES: usize = 16_384;
/// A client that is told something it did not wait for has so long to read it.
const LINGER: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nobody is there to be told.
    Client,
    /// What the client sends is no body.
    Request,
    /// The other end: it went, or what it says is no answer.
    Upstream,
}

/// How an answer's body is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    AsIs,
    /// What ends with its connection gets chunks, so that its end can be told from a broken connection.
    Chunks,
}

pub struct Exchange<'a, C, U> {
    client: &'a mut Conn<C>,
    upstream: &'a mut Conn<U>,
    upload: Framing,
    /// The other end takes no more of the body; it may answer all the same.
    refused: bool,
    /// Something of the body was taken: the request cannot be sent once more.
    pub begun: bool,
    /// Something of an answer came.
    pub answered: bool,
}

impl<'a, C: Stream, U: Stream> Exchange<'a, C, U> {
    /// The head of the request is taken from the client; `upload` is its body.
    pub fn new(client: &'a mut Conn<C>, upstream: &'a mut Conn<U>, upload: Framing) -> Self {
        Self {
            client,
            upstream,
            upload,
            refused: false,
            begun: false,
            answered: false,
        }
    }

    /// Sends the head, and the body as it comes, until the head of the answer is here. Returns its length.
    /// `interim`: answers before the answer are passed on, else they are dropped.
    pub async fn begin(&mut self, head: &mut Vec<u8>, interim: bool) -> Result<usize, Broken> {
        // A short body goes out with its head.
        let step = self
            .upload
            .advance(self.client.inbox())
            .map_err(|Malformed| Broken::Request)?;
        head.extend_from_slice(&self.client.inbox()[..step.passed]);
        self.client.take(step.taken);
        self.begun = step.taken > 0;
        let mut head = Some(&*head);
        poll_fn(|context| {
            if let Some(head) = head.take()
                && self.upstream.put(context, head).is_err()
            {
                self.refused = true;
            }
            loop {
                let waiting = self.poll_client(context)?.is_pending();
                match response::find(self.upstream.inbox()) {
                    Err(_) => return Poll::Ready(Err(Broken::Upstream)),
                    Ok(Some(length)) if is_interim(self.upstream.inbox()) => {
                        if interim {
                            let head = &self.upstream.inbox()[..length];
                            self.client.put(context, head).map_err(|_| Broken::Client)?;
                        }
                        self.upstream.take(length);
                        continue;
                    }
                    Ok(Some(length)) => return Poll::Ready(Ok(length)),
                    Ok(None) => {}
                }
                match self.upstream.poll_fill(context) {
                    Poll::Ready(Ok(count)) if count > 0 => self.answered = true,
                    Poll::Ready(_) => return Poll::Ready(Err(Broken::Upstream)),
                    Poll::Pending if waiting => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
        })
        .await
    }

    /// What came of the answer and is not taken yet: its head first.
    pub fn answer(&self) -> &[u8] {
        self.upstream.inbox()
    }

    /// Writes the answer's new head, and its body as it comes. `length` is that of the head that came.
    pub async fn finish(&mut self, length: usize, mut head: Vec<u8>, mut body: Framing) -> Result<(), Broken> {
        self.upstream.take(length);
        let shape = if body == Framing::UntilClose {
            Shape::Chunks
        } else {
            Shape::AsIs
        };
        if shape == Shape::AsIs {
            let step = body
                .advance(self.upstream.inbox())
                .map_err(|Malformed| Broken::Upstream)?;
            head.extend_from_slice(&self.upstream.inbox()[..step.passed]);
            self.upstream.take(step.taken);
            if body.wants_line() {
                head.extend_from_slice(b"\r\n");
            }
        }
        let mut head = Some(head);
        poll_fn(|context| {
            if let Some(head) = head.take() {
                self.client.put(context, &head).map_err(|_| Broken::Client)?;
            }
            loop {
                let client = self.poll_client(context)?;
                match poll_pump(context, self.upstream, self.client, &mut body, shape) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(Stopped::To)) => return Poll::Ready(Err(Broken::Client)),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Upstream)),
                    Poll::Pending if client.is_pending() => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
        })
        .await
    }

    /// The whole request is passed on.
    pub fn sent(&self) -> bool {
        self.upload.done() && !self.refused
    }

    /// What of the request's body is still to come from the client.
    pub fn into_rest(self) -> Framing {
        self.upload
    }

    /// The body of the request on its way; behind it, whether the client is still there. Never ready twice for nothing:
    /// `Ready` means that something has changed.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, Broken> {
        if !self.refused && !self.upload.done() {
            let before = self.upload.clone();
            let pumped = poll_pump(context, self.client, self.upstream, &mut self.upload, Shape::AsIs);
            self.begun |= self.upload != before;
            match pumped {
                Poll::Ready(Ok(())) => return Ok(Poll::Ready(())),
                Poll::Ready(Err(Stopped::To)) => self.refused = true,
                Poll::Ready(Err(Stopped::From)) => return Err(Broken::Client),
                Poll::Ready(Err(Stopped::Malformed)) => return Err(Broken::Request),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        if !self.refused && matches!(self.upstream.poll_flush(context), Poll::Ready(Err(_))) {
            self.refused = true;
        }
        if self.client.inbox().len() >= AHEAD_BYTES {
            return Ok(Poll::Pending);
        }
        match self.client.poll_fill(context) {
            Poll::Ready(Ok(count)) if count > 0 => Ok(Poll::Ready(())),
            Poll::Ready(_) => Err(Broken::Client),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

fn is_interim(head: &[u8]) -> bool {
    let status = head
        .iter()
        .position(|byte| *byte == b' ')
        .map_or(&[][..], |at| &head[at + 1..]);
    status.starts_with(b"1") && !status.starts_with(b"101")
}

/// Both ends have agreed to speak something else: bytes are carried both ways until one of them ends.
pub async fn tunnel<A: Stream, B: Stream>(one: &mut Conn<A>, other: &mut Conn<B>) {
    one.shrink();
    other.shrink();
    let (mut up, mut down) = (Framing::UntilClose, Framing::UntilClose);
    poll_fn(|context| {
        let ended = poll_pump(context, one, other, &mut up, Shape::AsIs).is_ready();
        if ended || poll_pump(context, other, one, &mut down, Shape::AsIs).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    // Who is still there learns it; whoever broke off cannot be told.
    let _ = one.shutdown().await;
    let _ = other.shutdown().await;
}

/// Throws away what still comes of a body whose answer is out, so that the client can end its request.
pub async fn discard<C: Stream>(client: &mut Conn<C>, rest: &mut Framing) -> Result<(), Broken> {
    while !rest.done() {
        let step = rest.advance(client.inbox()).map_err(|Malformed| Broken::Request)?;
        client.take(step.taken);
        if !rest.done() && !matches!(client.fill().await, Ok(1..)) {
            return Err(Broken::Client);
        }
    }
    Ok(())
}

/// Ends a connection whose peer may still be sending: an answer must not be lost by a reset.
pub async fn linger<C: Stream>(client: &mut Conn<C>) {
    let reading = async {
        client.shutdown().await?;
        while client.fill().await? > 0 {
            let came = client.inbox().len();
            client.take(came);
        }
        io::Result::Ok(())
    };
    let _ = timeout(LINGER, reading).await;
}

enum Stopped {
    From,
    To,
    Malformed,
}

/// Carries a body until its end. Ready: it is over, and written.
fn poll_pump<A: Stream, B: Stream>(
    context: &mut Context<'_>,
    from: &mut Conn<A>,
    to: &mut Conn<B>,
    body: &mut Framing,
    shape: Shape,
) -> Poll<Result<(), Stopped>> {
    loop {
        ready!(to.poll_flush(context)).map_err(|_| Stopped::To)?;
        if body.done() {
            return Poll::Ready(Ok(()));
        }
        if !from.inbox().is_empty() {
            let taken = carry(context, from.inbox(), to, body, shape)?;
            from.take(taken);
            continue;
        }
        let read = from.poll_read_with(context, |context, bytes| carry(context, bytes, to, body, shape));
        if ready!(read).map_err(|_| Stopped::From)?? == 0 {
            if *body != Framing::UntilClose {
                return Poll::Ready(Err(Stopped::From));
            }
            if shape == Shape::Chunks {
                to.put(context, LAST_CHUNK).map_err(|_| Stopped::To)?;
            }
            *body = Framing::NONE;
        }
    }
}

fn carry<B: Stream>(
    context: &mut Context<'_>,
    bytes: &[u8],
    to: &mut Conn<B>,
    body: &mut Framing,
    shape: Shape,
) -> Result<usize, Stopped> {
    let step = body.advance(bytes).map_err(|Malformed| Stopped::Malformed)?;
    let passed = &bytes[..step.passed];
    let written = if shape == Shape::Chunks {
        let size = format!("{:x}\r\n", passed.len());
        to.put(context, size.as_bytes())
            .and_then(|()| to.put(context, passed))
            .and_then(|()| to.put(context, b"\r\n"))
    } else {
        to.put(context, passed)
    };
    written.map_err(|_| Stopped::To)?;
    if body.wants_line() {
        to.put(context, b"\r\n").map_err(|_| Stopped::To)?;
    }
    Ok(step.taken)
}
