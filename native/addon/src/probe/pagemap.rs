//! PAGEMAP_SCAN (Linux 6.7): finds the pages that a VM wrote without reading 8 bytes for each that it has.

use std::{fs::File, io};

use super::failed;
use crate::snapshot::dirty::Method;

const PAGE: usize = 4096;

/// Looks for a page that was just written.
pub fn scan() -> io::Result<()> {
    let pagemap = File::open("/proc/self/pagemap").map_err(|error| failed("opening /proc/self/pagemap", error))?;
    let memory = vec![1u8; 2 * PAGE];
    let page = (memory.as_ptr() as u64).next_multiple_of(PAGE as u64);
    let written = page..page + PAGE as u64;
    let mut found = vec![];
    let outcome = Method::Scan.find(&pagemap, written.clone(), &mut found);
    outcome.map_err(|error| failed("PAGEMAP_SCAN", error))?;
    if found != [written] {
        return Err(io::Error::other("PAGEMAP_SCAN did not find a page that is there"));
    }
    Ok(())
}
