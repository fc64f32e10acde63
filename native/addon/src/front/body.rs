//! The bodies that pass through, and our own.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, Incoming, SizeHint};

use super::route::OpenStream;

/// A body passed on frame by frame, as fast as its reader takes it; or a short one of ours.
pub struct Body {
    source: Source,
    /// Ends with the body.
    _open: Option<OpenStream>,
}

enum Source {
    Passed(Incoming),
    Own(Full<Bytes>),
}

impl Body {
    pub fn passed(incoming: Incoming) -> Self {
        Self {
            source: Source::Passed(incoming),
            _open: None,
        }
    }

    pub fn counted(incoming: Incoming, open: OpenStream) -> Self {
        Self {
            source: Source::Passed(incoming),
            _open: Some(open),
        }
    }

    pub fn own(bytes: impl Into<Bytes>) -> Self {
        Self {
            source: Source::Own(Full::new(bytes.into())),
            _open: None,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.source {
            Source::Passed(incoming) => Pin::new(incoming).poll_frame(context),
            Source::Own(full) => Pin::new(full).poll_frame(context).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Passed(incoming) => incoming.is_end_stream(),
            Source::Own(full) => full.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Passed(incoming) => incoming.size_hint(),
            Source::Own(full) => full.size_hint(),
        }
    }
}
