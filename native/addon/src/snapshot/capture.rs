//! Copies what a standing VM has written, as fast as memory can be copied: the guest waits for it.

use std::{
    fs::File,
    io,
    ops::Range,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
    sync::{Mutex, OnceLock},
};

use super::{
    arena::Arena,
    base::data_ranges,
    dirty::Method,
    format::BLOCK,
    mapping::{Area, Mapping},
    parallel,
};
use crate::{
    failure::{During, Failure, Outcome},
    process::identity::Identity,
};

/// What one thread looks through at a time.
const SCAN_UNIT: u64 = 64 << 20;
/// What one thread copies at a time.
const COPY_UNIT: u64 = 1 << 20;
/// Ranges per system call (UIO_MAXIOV).
const MOST_RANGES: usize = 1024;
/// Taken in advance beyond what is dirty already.
const HEADROOM: u64 = 16 << 20;
/// The same, where the guest's processes stand: its kernel and VMM write a little.
const HEADROOM_OF_STILL: u64 = 1 << 20;

/// A process whose memory can be captured at once: everything is opened and found, memory for the copy is taken.
#[derive(Debug)]
pub struct Prepared {
    process: Identity,
    handle: OwnedFd,
    mapping: Mapping,
    pagemap: File,
    method: Method,
    dirty_bytes: u64,
    arena: Mutex<Option<Arena>>,
}

/// The pages that a VM had of its own at one moment.
#[derive(Debug)]
pub struct Capture {
    pub rest: Rest,
    pub memory_bytes: u64,
    /// Sorted, neighbours are one.
    pub runs: Vec<Run>,
    arena: Arena,
}

/// What the memory has where nothing was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// What is in the file of this device and inode, which was mapped: generation 0.
    Mapped((u64, u64)),
    /// What the chain has.
    Unchanged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// In the guest's memory.
    pub offset: u64,
    pub length: u64,
    /// In the copy.
    pub at: u64,
}

impl Prepared {
    pub fn new(process: Identity, path: &Path) -> Outcome<Self> {
        Self::expecting(process, path, |dirty| dirty * 5 / 4 + HEADROOM)
    }

    /// Of a VM whose guest's processes stand already: taking memory takes its time.
    pub fn of_still(process: Identity, path: &Path) -> Outcome<Self> {
        Self::expecting(process, path, |dirty| dirty + HEADROOM_OF_STILL)
    }

    fn expecting(process: Identity, path: &Path, expected: impl Fn(u64) -> u64) -> Outcome<Self> {
        let pid = process.pid;
        let handle = process.open().during(|| format!("opening process {pid}"))?;
        let handle = handle.ok_or(Failure::ProcessGone { pid })?;
        let mapping = Mapping::find(process, path)?;
        let pagemap = File::open(format!("/proc/{pid}/pagemap"));
        let pagemap = pagemap.during(|| format!("opening the page map of process {pid}"))?;
        let mut prepared = Self {
            method: Method::of(&pagemap),
            process,
            handle,
            mapping,
            pagemap,
            dirty_bytes: 0,
            arena: Mutex::new(None),
        };
        prepared.dirty_bytes = prepared.find()?.iter().map(|run| run.length).sum();
        prepared.arena = Mutex::new(Some(prepared.take(expected(prepared.dirty_bytes))?));
        Ok(prepared)
    }

    pub fn memory_bytes(&self) -> u64 {
        self.mapping.length()
    }

    /// When it was prepared.
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes
    }

    /// Finds and copies. The process must stand still meanwhile, else the copy is of no one moment.
    pub fn capture(&self) -> Outcome<Capture> {
        let runs = self.find()?;
        let total = runs.iter().map(|run| run.length).sum();
        let ready = self.arena.lock().expect("nobody panics with it").take();
        let mut arena = ready.map_or_else(|| self.take(total), Ok)?;
        parallel::each(total.div_ceil(COPY_UNIT) as usize, Vec::new, |ranges, unit| {
            let from = unit as u64 * COPY_UNIT;
            self.copy(&runs, from..(from + COPY_UNIT).min(total), &arena, ranges)
        })?;
        self.still_there()?;
        arena.trim(total);
        Ok(Capture {
            rest: Rest::Mapped(self.mapping.file),
            memory_bytes: self.memory_bytes(),
            runs,
            arena,
        })
    }

    fn take(&self, expected: u64) -> Outcome<Arena> {
        Arena::new(self.memory_bytes(), expected).during(|| "taking memory for a capture".to_owned())
    }

    fn find(&self) -> Outcome<Vec<Run>> {
        let units: Vec<Area> = self.mapping.areas().iter().flat_map(split).collect();
        let found: Vec<OnceLock<Vec<Range<u64>>>> = units.iter().map(|_| OnceLock::new()).collect();
        parallel::each(
            units.len(),
            || (),
            |(), unit| {
                let area = units[unit];
                let mut ranges = vec![];
                let addresses = area.address..area.address + area.length;
                let outcome = self.method.find(&self.pagemap, addresses, &mut ranges);
                self.explained(outcome, "reading the page map")?;
                found[unit].set(ranges).expect("each unit once");
                Ok(())
            },
        )?;
        // A process that ended has an empty page map.
        self.still_there()?;
        let mut runs: Vec<Run> = vec![];
        let mut at = 0;
        for (area, ranges) in units.iter().zip(found) {
            for range in ranges.into_inner().unwrap_or_default() {
                let offset = area.offset + range.start - area.address;
                let length = range.end - range.start;
                match runs.last_mut() {
                    Some(last) if last.offset + last.length == offset => last.length += length,
                    _ => runs.push(Run { offset, length, at }),
                }
                at += length;
            }
        }
        Ok(runs)
    }

    /// Copies a part of the arena from the process.
    fn copy(&self, runs: &[Run], part: Range<u64>, arena: &Arena, ranges: &mut Vec<libc::iovec>) -> Outcome<()> {
        let mut copied_to = part.start;
        let mut pending = 0;
        ranges.clear();
        for run in pieces(runs, part) {
            for (address, length) in self.mapping.addresses(run.offset, run.length) {
                if ranges.len() == MOST_RANGES {
                    self.read(arena.address(copied_to), pending, ranges)?;
                    copied_to += pending;
                    pending = 0;
                    ranges.clear();
                }
                ranges.push(libc::iovec {
                    iov_base: address as *mut libc::c_void,
                    iov_len: length as usize,
                });
                pending += length;
            }
        }
        self.read(arena.address(copied_to), pending, ranges)
    }

    fn read(&self, to: *mut libc::c_void, length: u64, from: &[libc::iovec]) -> Outcome<()> {
        let local = libc::iovec {
            iov_base: to,
            iov_len: length as usize,
        };
        // SAFETY: `local` lies in an arena that is large enough for all runs, in a part that no other thread uses. The
        // addresses of the other process are the kernel's to check. Its pid is not used again before we look whether
        // the process still lived after all copying.
        let copied = unsafe {
            libc::process_vm_readv(
                self.process.pid,
                &local,
                1,
                from.as_ptr(),
                from.len() as libc::c_ulong,
                0,
            )
        };
        let outcome = match usize::try_from(copied) {
            Err(_) => Err(io::Error::last_os_error()),
            Ok(copied) if copied == local.iov_len => Ok(()),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        };
        self.explained(outcome, "copying the memory")
    }

    /// What fails because the process has ended says so.
    fn explained(&self, outcome: io::Result<()>, what: &str) -> Outcome<()> {
        outcome.or_else(|error| {
            self.still_there()?;
            Err(error).during(|| format!("{what} of process {}", self.process.pid))
        })
    }

    fn still_there(&self) -> Outcome<()> {
        still_there(self.process, &self.handle)
    }
}

/// A pidfd is readable once its process has ended.
pub fn still_there(process: Identity, handle: &OwnedFd) -> Outcome<()> {
    let mut ends = [rustix::event::PollFd::new(handle, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut ends, Some(&now)) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Failure::ProcessGone { pid: process.pid }),
        Err(error) => Err(error).during(|| format!("looking at process {}", process.pid)),
    }
}

impl Capture {
    /// From a file as large as the memory that has data where the memory changed, and holes elsewhere: what Firecracker
    /// calls a diff snapshot.
    pub fn of_diff(path: &Path) -> Outcome<Self> {
        let action = || format!("reading {}", path.display());
        let file = File::open(path).during(action)?;
        let memory_bytes = file.metadata().during(action)?.len();
        let mut runs = vec![];
        let mut at = 0;
        for range in data_ranges(&file, memory_bytes).during(action)? {
            if !range.start.is_multiple_of(BLOCK) || !range.end.is_multiple_of(BLOCK) {
                return Err(Failure::invalid("file", "its holes are not of whole blocks"));
            }
            let length = range.end - range.start;
            runs.push(Run {
                offset: range.start,
                length,
                at,
            });
            at += length;
        }
        let mut arena = Arena::new(at.max(BLOCK), 0).during(|| "taking memory for a capture".to_owned())?;
        for run in &runs {
            let bytes = &mut arena.bytes_mut()[run.at as usize..(run.at + run.length) as usize];
            file.read_exact_at(bytes, run.offset).during(action)?;
        }
        Ok(Self {
            rest: Rest::Unchanged,
            memory_bytes,
            runs,
            arena,
        })
    }

    /// Bytes of a stretch of the copy.
    pub fn bytes(&self, at: u64, length: u64) -> &[u8] {
        &self.arena.bytes()[at as usize..(at + length) as usize]
    }

    pub fn dirty_bytes(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.at + run.length)
    }

    /// The runs, or parts of them, that make up a part of the copy.
    pub fn pieces(&self, part: Range<u64>) -> impl Iterator<Item = Run> {
        pieces(&self.runs, part)
    }
}

fn pieces(runs: &[Run], part: Range<u64>) -> impl Iterator<Item = Run> {
    let first = runs.partition_point(|run| run.at + run.length <= part.start);
    runs[first..]
        .iter()
        .take_while(move |run| run.at < part.end)
        .map(move |run| {
            let (start, end) = (run.at.max(part.start), (run.at + run.length).min(part.end));
            Run {
                offset: run.offset + start - run.at,
                length: end - start,
                at: start,
            }
        })
}

fn split(area: &Area) -> impl Iterator<Item = Area> + use<> {
    let area = *area;
    (0..area.length.div_ceil(SCAN_UNIT)).map(move |unit| {
        let from = unit * SCAN_UNIT;
        Area {
            address: area.address + from,
            offset: area.offset + from,
            length: SCAN_UNIT.min(area.length - from),
        }
    })
}
