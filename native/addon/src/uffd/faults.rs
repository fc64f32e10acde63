//! The userfaultfd of another process: its events, and pages put in place (linux/userfaultfd.h).

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::snapshot::format::BLOCK;

const UFFDIO_WAKE: libc::Ioctl = 0x8010_aa02;
const UFFDIO_COPY: libc::Ioctl = 0xc028_aa03;
const UFFDIO_ZEROPAGE: libc::Ioctl = 0xc020_aa04;
const EVENT_PAGEFAULT: u8 = 0x12;
const EVENT_REMOVE: u8 = 0x15;
const EVENT_UNMAP: u8 = 0x16;
const MESSAGE_BYTES: usize = 32;
/// Events per system call.
const MESSAGES: usize = 64;

#[derive(Debug)]
pub struct Faults {
    descriptor: OwnedFd,
    buffer: [u8; MESSAGES * MESSAGE_BYTES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody waits for the page at this address.
    Fault(u64),
    /// From here to there it has given its pages back; they are zeros now.
    Remove(u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// So many bytes from the start, then a page that was there already (or all).
    Bytes(u64),
    /// A removal waits to be read first.
    Again,
    /// The process, or that part of its memory, is no more.
    Gone,
}

impl Faults {
    /// What the peer sent may be any descriptor; reading from a strange one could block for ever.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let link = fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))?;
        if link.as_os_str() != "anon_inode:[userfaultfd]" {
            return Err(io::Error::other(format!(
                "the VMM sent {} as its userfaultfd",
                link.display()
            )));
        }
        fcntl_setfl(&descriptor, fcntl_getfl(&descriptor)? | OFlags::NONBLOCK)?;
        Ok(Self {
            descriptor,
            buffer: [0; MESSAGES * MESSAGE_BYTES],
        })
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Appends what has happened since, without waiting.
    pub fn read(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let length = match rustix::io::read(&self.descriptor, &mut self.buffer) {
            Ok(length) => length,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for message in self.buffer[..length].as_chunks::<MESSAGE_BYTES>().0 {
            let word = |at: usize| u64::from_ne_bytes(message[at..at + 8].try_into().expect("eight bytes"));
            match message[0] {
                EVENT_PAGEFAULT => events.push(Event::Fault(word(16) & !(BLOCK - 1))),
                EVENT_REMOVE | EVENT_UNMAP => events.push(Event::Remove(word(8), word(16))),
                other => return Err(io::Error::other(format!("an event 0x{other:x} that nobody asked for"))),
            }
        }
        Ok(())
    }

    /// Puts pages in place, and wakes whoever waits for them.
    pub fn copy(&self, address: u64, bytes: &[u8]) -> io::Result<Placed> {
        let mut argument = [address, bytes.as_ptr() as u64, bytes.len() as u64, 0, 0];
        // SAFETY: five words, as `struct uffdio_copy` has; the kernel only reads `bytes`.
        let result = unsafe { libc::ioctl(self.descriptor.as_raw_fd(), UFFDIO_COPY, &mut argument) };
        self.placed(result, address, argument[4].cast_signed())
    }

    /// Puts zeros in place, which take no memory until they are written to.
    pub fn zero(&self, address: u64, length: u64) -> io::Result<Placed> {
        let mut argument = [address, length, 0, 0];
        // SAFETY: four words, as `struct uffdio_zeropage` has.
        let result = unsafe { libc::ioctl(self.descriptor.as_raw_fd(), UFFDIO_ZEROPAGE, &mut argument) };
        self.placed(result, address, argument[3].cast_signed())
    }

    /// `done`: bytes, or the negative errno that the kernel also returned.
    fn placed(&self, result: libc::c_int, address: u64, done: i64) -> io::Result<Placed> {
        if result == 0 {
            return Ok(Placed::Bytes(done.cast_unsigned()));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // Some were placed before something came between.
            _ if done > 0 => Ok(Placed::Bytes(done.cast_unsigned())),
            Some(libc::EEXIST) => self.wake(address).map(|()| Placed::Bytes(0)),
            Some(libc::EAGAIN) => Ok(Placed::Again),
            Some(libc::ESRCH | libc::ENOENT) => Ok(Placed::Gone),
            _ => Err(error),
        }
    }

    /// The page came in another way; whoever waits for it looks again.
    fn wake(&self, address: u64) -> io::Result<()> {
        let mut argument = [address, BLOCK];
        // SAFETY: two words, as `struct uffdio_range` has.
        match unsafe { libc::ioctl(self.descriptor.as_raw_fd(), UFFDIO_WAKE, &mut argument) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
