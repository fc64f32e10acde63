//! Reads a working set ahead, on a thread of its own: a slow disk delays nobody who waits for a page.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
};

use rustix::{
    event::{EventfdFlags, eventfd},
    fd::OwnedFd,
};

use super::pages::{Page, Pages};
use crate::{
    failure::{During, Outcome},
    snapshot::format::BLOCK,
};

/// Read and not placed yet: 1 MiB at most.
const AHEAD: usize = 256;

pub struct Ahead {
    pub block: u32,
    pub bytes: Box<[u8; BLOCK as usize]>,
}

/// Pages that are ready to be placed. Dropped, it stops reading.
pub struct Prefetch {
    ready: Receiver<Ahead>,
    signal: Arc<OwnedFd>,
}

impl Prefetch {
    /// Zeros are left out: they cost nothing when they are touched. So is what cannot be read: whoever touches it learns why.
    pub fn start(blocks: Vec<u32>, mut pages: Box<dyn Pages>) -> Outcome<Self> {
        let (sender, ready) = sync_channel(AHEAD);
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let signal = Arc::new(signal.during(|| "making an eventfd".to_owned())?);
        let theirs = Arc::clone(&signal);
        let read = move || {
            for block in blocks {
                if !read_one(block, &mut *pages, &sender, &theirs) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("wrenn-prefetch".to_owned());
        thread.spawn(read).during(|| "starting a thread".to_owned())?;
        Ok(Self { ready, signal })
    }

    /// Readable when something was added since the last `next` that found nothing.
    pub fn signal(&self) -> &OwnedFd {
        &self.signal
    }

    /// What is ready. `Err`: that was all.
    pub fn next(&self) -> Result<Option<Ahead>, ()> {
        match self.ready.try_recv() {
            Ok(ahead) => Ok(Some(ahead)),
            Err(TryRecvError::Disconnected) => Err(()),
            Err(TryRecvError::Empty) => {
                let mut count = [0; 8];
                // Not set is fine. What was added between is seen now.
                let _ = rustix::io::read(&*self.signal, &mut count);
                match self.ready.try_recv() {
                    Ok(ahead) => Ok(Some(ahead)),
                    Err(TryRecvError::Empty) => Ok(None),
                    Err(TryRecvError::Disconnected) => Err(()),
                }
            }
        }
    }
}

fn read_one(block: u32, pages: &mut dyn Pages, sender: &SyncSender<Ahead>, signal: &OwnedFd) -> bool {
    let mut bytes = Box::new([0; BLOCK as usize]);
    let going_on = match pages.read(block, &mut bytes) {
        Ok(Page::Bytes) => sender.send(Ahead { block, bytes }).is_ok(),
        Ok(Page::Zeros) | Err(_) => true,
    };
    // A full counter is readable already.
    let _ = rustix::io::write(signal, &1u64.to_ne_bytes());
    going_on
}
