//! Reads on after an early answer.
//!
//! A server that answers before it has read a request closes the connection with bytes unread, and the kernel then sends
//! a reset: a client that is still writing sees a broken pipe in place of the answer ("not enough space"). So what is
//! left of a body that nobody wants is read and thrown away for a while.

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Long enough for an answer to reach a client and for the client to stop.
const LINGER: Duration = Duration::from_secs(10);

/// The body of a request; dropped before its end, it lingers.
pub struct Lingering {
    body: Option<BodyDataStream>,
}

impl Lingering {
    pub fn new(body: Body) -> Self {
        Self {
            body: Some(body.into_data_stream()),
        }
    }
}

impl Stream for Lingering {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let next = ready!(body.poll_next_unpin(context));
        if !matches!(next, Some(Ok(_))) {
            self.body = None; // at its end, or broken: nothing is to come
        }
        Poll::Ready(next)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(tokio::time::timeout(LINGER, async move {
            while let Some(Ok(_)) = body.next().await {}
        }));
    }
}
