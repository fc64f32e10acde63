//! Where the output of one process goes: to every reader, and into a ring of the last of it.

use super::status::End;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Output that is kept for a reader who comes back (spec VM8).
const RING_BYTES: usize = 1 << 20;
/// Chunks that wait for one reader; then its process waits too.
const WAITING_CHUNKS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Channel {
    Stdout,
    Stderr,
    Pty,
}

pub type Chunk = (Channel, Bytes);

/// What is kept, and what comes; the channel closes at the end.
pub type Subscription = (VecDeque<Chunk>, mpsc::Receiver<Chunk>);

/// How the process ended, and whether its time was up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ending {
    pub end: End,
    pub timed_out: bool,
}

#[derive(Default)]
pub struct Outlet {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    readers: Vec<mpsc::Sender<Chunk>>,
    ring: VecDeque<Chunk>,
    ring_bytes: usize,
    ending: Option<Ending>,
}

impl Outlet {
    /// A reader of everything from now on; with `replay` the ring comes first, without a gap or a repetition between.
    pub fn subscribe(&self, replay: bool) -> Subscription {
        let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
        let mut state = self.state.lock().unwrap();
        if state.ending.is_none() {
            state.readers.push(sender);
        }
        let kept = if replay { state.ring.clone() } else { VecDeque::new() };
        (kept, receiver)
    }

    /// Hands a chunk to all readers and waits for the slowest one: that is what slows the process down.
    /// A reader that left is forgotten.
    pub async fn publish(&self, chunk: Chunk) {
        let full: Vec<_> = {
            let mut state = self.state.lock().unwrap();
            state.keep(chunk.clone());
            let mut full = Vec::new();
            state.readers.retain(|reader| match reader.try_send(chunk.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    full.push(reader.clone());
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
            full
        };
        for reader in full {
            let _ = reader.send(chunk.clone()).await;
        }
    }

    /// No output will follow. Readers get what waits for them, and then see their channel closed.
    pub fn finish(&self, ending: Ending) {
        let mut state = self.state.lock().unwrap();
        state.ending = Some(ending);
        state.readers.clear();
    }

    pub fn ending(&self) -> Option<Ending> {
        self.state.lock().unwrap().ending
    }
}

impl State {
    /// Drops the oldest chunks beyond the limit.
    fn keep(&mut self, chunk: Chunk) {
        self.ring_bytes += chunk.1.len();
        self.ring.push_back(chunk);
        while self.ring_bytes > RING_BYTES {
            let Some((_, bytes)) = self.ring.front_mut() else { break };
            let excess = self.ring_bytes - RING_BYTES;
            if bytes.len() > excess {
                // The rest of a cut chunk still belongs to the last MiB.
                *bytes = bytes.slice(excess..);
                self.ring_bytes -= excess;
            } else {
                self.ring_bytes -= bytes.len();
                self.ring.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn chunk(text: &str) -> Chunk {
        (Channel::Stdout, Bytes::copy_from_slice(text.as_bytes()))
    }

    #[tokio::test]
    async fn a_slow_reader_holds_the_writer_and_loses_nothing() {
        let outlet = Outlet::default();
        let (_, mut slow) = outlet.subscribe(false);
        for index in 0..WAITING_CHUNKS {
            outlet.publish(chunk(&index.to_string())).await;
        }
        let mut held = Box::pin(outlet.publish(chunk("held")));
        assert!(timeout(Duration::from_millis(20), &mut held).await.is_err());
        assert_eq!(slow.recv().await, Some(chunk("0")));
        held.await;
        outlet.finish(Ending {
            end: End::Exited(0),
            timed_out: false,
        });
        let mut rest = Vec::new();
        while let Some((_, bytes)) = slow.recv().await {
            rest.push(String::from_utf8(bytes.to_vec()).unwrap());
        }
        assert_eq!(rest, ["1", "2", "3", "4", "5", "6", "7", "held"]);
    }

    #[tokio::test]
    async fn a_reader_that_left_holds_nobody() {
        let outlet = Outlet::default();
        drop(outlet.subscribe(false));
        for _ in 0..2 * WAITING_CHUNKS {
            outlet.publish(chunk("x")).await;
        }
    }

    #[tokio::test]
    async fn the_ring_keeps_exactly_the_last_mebibyte() {
        let outlet = Outlet::default();
        let big: String = "0123456789abcdef".repeat(40_000);
        for _ in 0..3 {
            outlet.publish(chunk(&big)).await;
        }
        outlet.publish(chunk("end")).await;
        let (kept, _) = outlet.subscribe(true);
        let kept: Vec<u8> = kept.into_iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
        let all = format!("{big}{big}{big}end").into_bytes();
        assert_eq!(kept.len(), RING_BYTES);
        assert_eq!(kept[..], all[all.len() - RING_BYTES..]);
    }
}
