//! The events of a process as one client reads them: start, what is kept, what comes, end.

use super::outlet::{Channel, Chunk, Subscription};
use super::running::Running;
use crate::proto::process::__buffa::oneof::process_event::Event;
use crate::proto::process::ProcessEvent;
use crate::proto::process::process_event::{DataEvent, KeepAlive, StartEvent};
use connectrpc::ConnectError;
use futures::{Stream, StreamExt, stream};
use http::HeaderMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Interval;

/// Whole seconds between signs of life; without it the default.
const KEEPALIVE_HEADER: &str = "keepalive-ping-interval";
const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(90);

/// Ticks when a silent stream must show that it lives; the first time after one interval.
pub fn keepalive_interval(headers: &HeaderMap) -> Interval {
    let seconds = headers
        .get(KEEPALIVE_HEADER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let period = seconds
        .filter(|seconds| *seconds > 0)
        .map_or(DEFAULT_KEEPALIVE, Duration::from_secs);
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// Which client reads.
pub struct Reader {
    pub keepalive: Interval,
    /// Its request set the lifetime of the process, so a process killed by it is its `deadline_exceeded`.
    pub owns_deadline: bool,
}

/// Dropping the stream leaves the process alone.
pub fn events(
    process: Arc<Running>,
    (kept, live): Subscription,
    reader: Reader,
) -> impl Stream<Item = Result<ProcessEvent, ConnectError>> + Send {
    let started = StartEvent {
        pid: process.pid,
        ..Default::default()
    };
    let feed = Feed {
        process,
        reader,
        kept,
        live,
    };
    stream::iter([Ok(event(started))]).chain(stream::unfold(Some(feed), async |feed| {
        let mut feed = feed?;
        match feed.next().await {
            Next::Event(event) => Some((Ok(event), Some(feed))),
            Next::Last(last) => Some((last, None)),
        }
    }))
}

struct Feed {
    process: Arc<Running>,
    reader: Reader,
    kept: VecDeque<Chunk>,
    live: mpsc::Receiver<Chunk>,
}

enum Next {
    Event(ProcessEvent),
    Last(Result<ProcessEvent, ConnectError>),
}

impl Feed {
    async fn next(&mut self) -> Next {
        if let Some(chunk) = self.kept.pop_front() {
            return Next::Event(data(chunk));
        }
        let chunk = tokio::select! {
            biased;
            chunk = self.live.recv() => chunk,
            _ = self.reader.keepalive.tick() => return Next::Event(event(KeepAlive::default())),
        };
        self.reader.keepalive.reset();
        match (chunk, self.process.outlet.ending()) {
            (Some(chunk), _) => Next::Event(data(chunk)),
            (None, Some(ending)) if ending.timed_out && self.reader.owns_deadline => Next::Last(Err(
                ConnectError::deadline_exceeded("the time of the process is up, it was killed"),
            )),
            (None, Some(ending)) => Next::Last(Ok(event(ending.end.event()))),
            (None, None) => Next::Last(Err(ConnectError::internal("the output ended before its process"))),
        }
    }
}

fn data((channel, bytes): Chunk) -> ProcessEvent {
    use crate::proto::process::__buffa::oneof::process_event::data_event::Output;
    let output = match channel {
        Channel::Stdout => Output::Stdout(bytes.into()),
        Channel::Stderr => Output::Stderr(bytes.into()),
        Channel::Pty => Output::Pty(bytes.into()),
    };
    event(DataEvent {
        output: Some(output),
        ..Default::default()
    })
}

fn event(event: impl Into<Event>) -> ProcessEvent {
    ProcessEvent {
        event: Some(event.into()),
        ..Default::default()
    }
}
