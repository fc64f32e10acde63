//! Memory for captured pages: reserved for all of a guest's, taken for what is used.

use std::{io, ptr};

#[derive(Debug)]
pub struct Arena {
    start: *mut u8,
    length: usize,
}

// SAFETY: the arena owns its mapping; access follows the borrow rules of its methods.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Reserves `length` bytes, and takes the first `expected` at once: a page fault costs more than copying a page.
    pub fn new(length: u64, expected: u64) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping anywhere.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let arena = Self {
            start: start.cast(),
            length,
        };
        let expected = length.min(expected as usize);
        // SAFETY: within the mapping. Both are advice: where the kernel does not take it, pages come as they are used.
        unsafe {
            libc::madvise(start, length, libc::MADV_HUGEPAGE);
            libc::madvise(start, expected, libc::MADV_POPULATE_WRITE);
        }
        Ok(arena)
    }

    /// Gives back what lies behind `used`.
    pub fn trim(&mut self, used: u64) {
        let used = (used as usize).next_multiple_of(4096).min(self.length);
        // SAFETY: the rest of the mapping, borrowed by nobody.
        unsafe { libc::madvise(self.start.add(used).cast(), self.length - used, libc::MADV_DONTNEED) };
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped, initialised by the kernel with zeros, and written through `&mut` or `address` only.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and borrowed by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }

    /// For the kernel to write to, while nobody reads there.
    pub fn address(&self, offset: u64) -> *mut libc::c_void {
        assert!(offset as usize <= self.length, "within the arena");
        // SAFETY: checked.
        unsafe { self.start.add(offset as usize).cast() }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody borrows it any more.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}
