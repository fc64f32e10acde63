//! Serves the faults of one VM.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    faults::{Event, Faults, Placed},
    handshake::Region,
    pages::{Page, Pages},
    prefetch::{Ahead, Prefetch},
    working_set::WorkingSet,
};
use crate::{
    failure::{During, Failure, Outcome},
    snapshot::format::BLOCK,
};

/// What was done so far, for whoever looks.
#[derive(Debug, Default)]
pub struct Counters {
    pub faults: AtomicU64,
    pub zeros: AtomicU64,
    pub prefetched: AtomicU64,
    pub removed_bytes: AtomicU64,
    /// Touched or brought in ahead.
    pub working_set: Mutex<WorkingSet>,
}

pub struct Session {
    faults: Faults,
    regions: Vec<Region>,
    pages: Box<dyn Pages>,
    prefetch: Option<Prefetch>,
    /// One bit per block that the VM gave back: zeros from then on, whatever was stored.
    removed: Vec<u64>,
    /// Addresses of faults that could not be served yet.
    waiting: VecDeque<u64>,
    events: Vec<Event>,
    counters: Arc<Counters>,
}

/// The VM is no more.
pub struct Ended;

impl Session {
    pub fn new(
        faults: Faults,
        regions: Vec<Region>,
        pages: Box<dyn Pages>,
        prefetch: Option<Prefetch>,
        counters: Arc<Counters>,
    ) -> Self {
        let blocks = pages.memory_bytes() / BLOCK;
        *counters.working_set.lock().expect("nobody panics with it") = WorkingSet::new(pages.memory_bytes());
        Self {
            faults,
            regions,
            pages,
            prefetch,
            removed: vec![0; blocks.div_ceil(64) as usize],
            waiting: VecDeque::new(),
            events: vec![],
            counters,
        }
    }

    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    pub fn prefetch(&self) -> Option<&Prefetch> {
        self.prefetch.as_ref()
    }

    /// True: something is left that cannot be done yet, and nothing will tell when it can.
    pub fn must_retry(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Serves whatever waits, else brings in one page ahead. True: there may be more to do at once.
    pub fn step(&mut self) -> Outcome<Result<bool, Ended>> {
        self.read_events()?;
        if self.waiting.is_empty() {
            return self.place_ahead();
        }
        for _ in 0..self.waiting.len() {
            let Some(address) = self.waiting.pop_front() else { break };
            match self.serve(address)? {
                Placed::Bytes(_) => {}
                Placed::Again => {
                    self.waiting.push_front(address);
                    self.read_events()?;
                    return Ok(Ok(false));
                }
                Placed::Gone => return Ok(Err(Ended)),
            }
        }
        // Whoever waits by now is told of by the descriptor.
        Ok(Ok(self.prefetch.is_some()))
    }

    /// Removals count at once: a fault that was read with them may be served with zeros, one after them must be.
    fn read_events(&mut self) -> Outcome<()> {
        self.events.clear();
        self.faults
            .read(&mut self.events)
            .during(|| "reading faults".to_owned())?;
        for event in &self.events {
            match *event {
                Event::Fault(address) => self.waiting.push_back(address),
                Event::Remove(start, end) => {
                    let removed = remove(&self.regions, &mut self.removed, start, end);
                    self.counters.removed_bytes.fetch_add(removed, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    fn serve(&mut self, address: u64) -> Outcome<Placed> {
        let block = self.block_at(address)?;
        let mut bytes = [0; BLOCK as usize];
        let page = if self.is_removed(block) {
            Page::Zeros
        } else {
            self.pages.read(block, &mut bytes)?
        };
        let placed = match page {
            Page::Zeros => self.faults.zero(address, BLOCK),
            Page::Bytes => self.faults.copy(address, &bytes),
        };
        let placed = placed.during(|| "placing a page".to_owned())?;
        if matches!(placed, Placed::Bytes(_)) {
            self.counters.faults.fetch_add(1, Ordering::Relaxed);
            match page {
                Page::Zeros => _ = self.counters.zeros.fetch_add(1, Ordering::Relaxed),
                Page::Bytes => self.remember(block),
            }
        }
        Ok(placed)
    }

    fn place_ahead(&mut self) -> Outcome<Result<bool, Ended>> {
        let Some(prefetch) = &self.prefetch else {
            return Ok(Ok(false));
        };
        match prefetch.next() {
            Err(()) => {
                self.prefetch = None;
                Ok(Ok(false))
            }
            Ok(None) => Ok(Ok(false)),
            Ok(Some(ahead)) => self.place(&ahead),
        }
    }

    fn place(&mut self, Ahead { block, bytes }: &Ahead) -> Outcome<Result<bool, Ended>> {
        if self.is_removed(*block) {
            return Ok(Ok(true));
        }
        let address = self.address_of(*block);
        match self
            .faults
            .copy(address, &bytes[..])
            .during(|| "placing a page".to_owned())?
        {
            Placed::Gone => return Ok(Err(Ended)),
            Placed::Bytes(BLOCK) => {
                self.counters.prefetched.fetch_add(1, Ordering::Relaxed);
                self.remember(*block);
            }
            // It is there already; or a removal comes first, and then it is not worth trying again.
            Placed::Bytes(_) | Placed::Again => {}
        }
        Ok(Ok(true))
    }

    fn remember(&self, block: u32) {
        self.counters
            .working_set
            .lock()
            .expect("nobody panics with it")
            .add(block);
    }

    fn is_removed(&self, block: u32) -> bool {
        self.removed[block as usize / 64] >> (block % 64) & 1 == 1
    }

    fn block_at(&self, address: u64) -> Outcome<u32> {
        let region = self
            .regions
            .iter()
            .find(|region| (region.address..region.address + region.length).contains(&address));
        let region = region.ok_or_else(|| Failure::System {
            action: "serving a fault".to_owned(),
            source: io::Error::other(format!("0x{address:x} is not the guest's memory")),
        })?;
        Ok(((region.offset + address - region.address) / BLOCK) as u32)
    }

    fn address_of(&self, block: u32) -> u64 {
        let offset = u64::from(block) * BLOCK;
        let region = self
            .regions
            .iter()
            .find(|region| (region.offset..region.offset + region.length).contains(&offset));
        let region = region.expect("the regions cover the memory");
        region.address + offset - region.offset
    }
}

/// Marks the whole blocks of a range of addresses. Says how many bytes they are.
fn remove(regions: &[Region], removed: &mut [u64], start: u64, end: u64) -> u64 {
    let mut bytes = 0;
    for region in regions {
        let from = start.max(region.address);
        let to = end.min(region.address + region.length);
        for address in (from..to.max(from)).step_by(BLOCK as usize) {
            let block = (region.offset + address - region.address) / BLOCK;
            removed[block as usize / 64] |= 1 << (block % 64);
            bytes += BLOCK;
        }
    }
    bytes
}
