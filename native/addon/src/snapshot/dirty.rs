//! Pages that a process has of its own where it mapped a file privately: what it wrote.
//!
//! Such a page is anonymous, or swapped out. PAGEMAP_SCAN (Linux 6.7) finds them; earlier kernels say it page by page.

use std::{
    fs::File,
    io,
    ops::Range,
    os::{fd::AsRawFd, unix::fs::FileExt},
};

const PAGE: u64 = 4096;

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_length: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Clone, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
/// Regions per call: their 96 KiB stay in the cache.
const REGIONS: usize = 4096;

// A word of /proc/pid/pagemap.
const WORD_PRESENT: u64 = 1 << 63;
const WORD_SWAPPED: u64 = 1 << 62;
const WORD_FILE: u64 = 1 << 61;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Scan,
    Words,
}

impl Method {
    /// What this kernel has.
    pub fn of(pagemap: &File) -> Self {
        match scan(pagemap, 0..0, &mut vec![]) {
            Ok(()) => Self::Scan,
            Err(_) => Self::Words,
        }
    }

    /// Appends the ranges of addresses with pages of the process's own, in order, neighbours as one.
    pub fn find(self, pagemap: &File, addresses: Range<u64>, found: &mut Vec<Range<u64>>) -> io::Result<()> {
        match self {
            Self::Scan => scan(pagemap, addresses, found),
            Self::Words => words(pagemap, addresses, found),
        }
    }
}

fn scan(pagemap: &File, addresses: Range<u64>, found: &mut Vec<Range<u64>>) -> io::Result<()> {
    let mut regions = vec![Region::default(); REGIONS];
    let mut start = addresses.start;
    loop {
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            start,
            end: addresses.end,
            regions: regions.as_mut_ptr() as u64,
            regions_length: regions.len() as u64,
            category_inverted: PAGE_IS_FILE,
            category_mask: PAGE_IS_FILE,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_PRESENT,
            ..ScanArgument::default()
        };
        // SAFETY: the argument and the regions it points to have the kernel's layout and outlive the call.
        let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &mut argument) };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        let regions = &regions[..count as usize];
        for region in regions {
            append(found, region.start..region.end);
        }
        // Not `walk_end`: kernels (6.18 still) leave it where their own buffer of 512 regions was full for the last
        // time. What is before the end of the last region has been told, and all has where there was room for more.
        match regions.last() {
            Some(last) if regions.len() == REGIONS => start = last.end,
            _ => return Ok(()),
        }
    }
}

fn words(pagemap: &File, addresses: Range<u64>, found: &mut Vec<Range<u64>>) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut at = addresses.start;
    while at < addresses.end {
        let pages = ((addresses.end - at) / PAGE).min(buffer.len() as u64 / 8);
        let bytes = &mut buffer[..pages as usize * 8];
        pagemap.read_exact_at(bytes, at / PAGE * 8)?;
        for word in bytes.as_chunks::<8>().0 {
            let word = u64::from_le_bytes(*word);
            if word & (WORD_PRESENT | WORD_SWAPPED) != 0 && word & WORD_FILE == 0 {
                append(found, at..at + PAGE);
            }
            at += PAGE;
        }
    }
    Ok(())
}

fn append(found: &mut Vec<Range<u64>>, more: Range<u64>) {
    match found.last_mut() {
        Some(last) if last.end == more.start => last.end = more.end,
        _ => found.push(more),
    }
}
