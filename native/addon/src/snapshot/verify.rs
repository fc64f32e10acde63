//! Reads all of a generation and compares every checksum.

use std::path::Path;

use super::{
    base::{data_ranges, overlaps},
    format::CHUNK,
    generation::Generation,
    parallel,
    store::{Stored, Written},
};
use crate::failure::{During, Outcome};

pub fn verify(path: &Path) -> Outcome<Stored> {
    let generation = Generation::open(path)?;
    let length = generation.data_length();
    // Holes of a flat file are not read: their zeros are known.
    let data = if generation.is_flat() {
        data_ranges(generation.file(), length).during(|| format!("reading {}", path.display()))?
    } else {
        std::iter::once(0..length).collect()
    };
    parallel::each(generation.chunks(), Vec::new, |buffer, chunk| {
        let start = chunk as u64 * CHUNK;
        let end = (start + CHUNK).min(length);
        if overlaps(&data, start..end) {
            generation.read_chunk(chunk, buffer)
        } else if generation.checksum_of(chunk) == Written::zeros((end - start) as usize).checksum {
            Ok(())
        } else {
            Err(generation.damaged("its data are not what was written"))
        }
    })?;
    Ok(describe(&generation))
}

pub fn describe(generation: &Generation) -> Stored {
    let index = generation.index();
    let own = index
        .entries()
        .iter()
        .filter(|entry| entry.build == index.metadata.build);
    Stored {
        build: index.metadata.build,
        generation: index.metadata.generation,
        memory_bytes: index.metadata.memory_bytes,
        data_bytes: if generation.is_flat() {
            own.map(|entry| entry.length).sum()
        } else {
            generation.data_length()
        },
    }
}
