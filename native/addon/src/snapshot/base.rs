//! Makes generation 0 of the file that a VMM had as its memory.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    ops::Range,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};

use super::{
    aside::named,
    build_id::BuildId,
    format::{BLOCK, CHUNK},
    store::{self, FLAT_MODE, Stored, Written},
};
use crate::{
    failure::{During, Failure, Outcome},
    files::lock::sync_folder,
};

/// Gives the file its holes, index and checksums, and then the name `folder`/`name` (which may be its own). Whoever
/// wrote it must be gone. Can be repeated after a crash at any point.
pub fn publish(file: &Path, memory_bytes: u64, folder: &Path, name: &str, build: BuildId) -> Outcome<Stored> {
    let action = || format!("publishing {}", file.display());
    let target = named(folder, name)?;
    let opened = OpenOptions::new().read(true).write(true).open(file).during(action)?;
    if opened.metadata().during(action)?.len() < memory_bytes {
        return Err(Failure::invalid("memoryBytes", "the file is shorter"));
    }
    // What an earlier try left behind the memory.
    opened.set_len(memory_bytes).during(action)?;
    let data = data_ranges(&opened, memory_bytes).during(action)?;
    let written = store::write_chunks(
        memory_bytes,
        || (),
        |(), start, out| {
            let any = overlaps(&data, start..start + out.len() as u64);
            if any {
                opened.read_exact_at(out, start).during(action)?;
            }
            Ok(any)
        },
    )?;
    punch_zeros(&opened, memory_bytes, &written).during(action)?;
    let stored = store::seal_flat(&opened, build, memory_bytes, &written)?;
    opened
        .set_permissions(Permissions::from_mode(FLAT_MODE))
        .during(action)?;
    opened.sync_all().during(action)?;
    fs::rename(file, &target).during(action)?;
    sync_folder(folder)?;
    Ok(stored)
}

/// Where a file has data; the rest are holes.
pub fn data_ranges(file: &File, length: u64) -> io::Result<Vec<Range<u64>>> {
    let mut found = vec![];
    let mut at = 0;
    while at < length {
        let start = match seek(file, SeekFrom::Data(at)) {
            Err(rustix::io::Errno::NXIO) => break, // only a hole is left
            start => start?,
        };
        at = seek(file, SeekFrom::Hole(start))?;
        found.push(start..at);
    }
    Ok(found)
}

pub fn overlaps(sorted: &[Range<u64>], part: Range<u64>) -> bool {
    let first = sorted.partition_point(|range| range.end <= part.start);
    sorted.get(first).is_some_and(|range| range.start < part.end)
}

/// Blocks that were reserved and never used go as well.
fn punch_zeros(file: &File, memory_bytes: u64, written: &[Written]) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let filled = |block: u64| written[(block * BLOCK / CHUNK) as usize].filled >> (block % (CHUNK / BLOCK)) & 1 == 1;
    let blocks = memory_bytes / BLOCK;
    let mut start = 0;
    for block in 0..=blocks {
        if block == blocks || filled(block) {
            if start < block {
                fallocate(file, flags, start * BLOCK, (block - start) * BLOCK)?;
            }
            start = block + 1;
        }
    }
    Ok(())
}
