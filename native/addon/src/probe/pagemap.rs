//! PAGEMAP_SCAN (Linux 6.7): finds the pages that a VM wrote without reading 8 bytes for each that it has.

use std::{fs::File, io, os::fd::AsRawFd};

use super::{checked, failed};

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

#[repr(C)]
#[derive(Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE: usize = 4096;

/// Looks for a page that was just written.
pub fn scan() -> io::Result<()> {
    let pagemap = File::open("/proc/self/pagemap").map_err(|error| failed("opening /proc/self/pagemap", error))?;
    let memory = vec![1u8; 2 * PAGE];
    let page = (memory.as_ptr() as u64).next_multiple_of(PAGE as u64);
    let mut region = Region::default();
    let mut argument = ScanArgument {
        size: size_of::<ScanArgument>() as u64,
        start: page,
        end: page + PAGE as u64,
        regions: std::ptr::from_mut(&mut region) as u64,
        regions_length: 1,
        category_mask: PAGE_IS_PRESENT,
        return_mask: PAGE_IS_PRESENT,
        ..ScanArgument::default()
    };
    // SAFETY: the argument and the region it points to have the kernel's layout and outlive the call.
    let regions = checked("PAGEMAP_SCAN", unsafe {
        libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &mut argument)
    })?;
    if regions != 1 || region.start != page {
        return Err(io::Error::other("PAGEMAP_SCAN did not find a page that is there"));
    }
    Ok(())
}
