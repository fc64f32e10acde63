//! Writes the data of a generation, many chunks at once, and what comes with them.

use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::OnceLock};

use super::{
    aside::Aside,
    build_id::BuildId,
    format::{BLOCK, CHUNK, Footer, MEMORY_LIMIT, checksum},
    index::{Entries, Index},
    parallel,
};
use crate::failure::{During, Failure, Outcome};

pub const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
/// Only the agent reads a later generation.
const COMPACT_MODE: u32 = 0o400;
/// VMMs map generation 0, as users of their own, and nobody writes it.
pub const FLAT_MODE: u32 = 0o444;

/// Of one chunk of data.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub checksum: u32,
    /// Bit n: block n is not all zeros.
    pub filled: u64,
}

/// What is known of a generation that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub build: BuildId,
    pub generation: u64,
    pub memory_bytes: u64,
    /// Of blocks in it.
    pub data_bytes: u64,
}

/// A later generation: `fill` gives each chunk of its data (a whole one but for the last).
pub fn write_compact<S>(
    folder: &Path,
    name: &str,
    index: &Index,
    data_length: u64,
    state: impl Fn() -> S + Sync,
    fill: impl Fn(&mut S, u64, &mut [u8]) -> Outcome<()> + Sync,
) -> Outcome<Stored> {
    let aside = Aside::new(folder, name)?;
    let bytes = index.bytes();
    let data_offset = (bytes.len() as u64).next_multiple_of(BLOCK);
    let action = || format!("writing {name}");
    aside.file().write_all_at(&bytes, 0).during(action)?;
    // A hole, where nothing else is written between index and data.
    aside.file().set_len(data_offset + data_length).during(action)?;
    let written = write_chunks(data_length, state, |state, start, out| {
        fill(state, start, out)?;
        aside.file().write_all_at(out, data_offset + start).during(action)?;
        Ok(true)
    })?;
    let footer = Footer {
        index_offset: 0,
        index_length: bytes.len() as u64,
        data_offset,
        data_length,
        index_checksum: checksum(&bytes),
        table_checksum: 0,
    };
    write_end(aside.file(), data_offset + data_length, footer, &written).during(action)?;
    aside.publish(COMPACT_MODE)?;
    Ok(Stored {
        build: index.metadata.build,
        generation: index.metadata.generation,
        memory_bytes: index.metadata.memory_bytes,
        data_bytes: data_length,
    })
}

/// Generation 0: `fill` gives each chunk of the memory, or says that it is all zeros; zeros become holes.
pub fn write_flat<S>(
    folder: &Path,
    name: &str,
    build: BuildId,
    memory_bytes: u64,
    state: impl Fn() -> S + Sync,
    fill: impl Fn(&mut S, u64, &mut [u8]) -> Outcome<bool> + Sync,
) -> Outcome<Stored> {
    let aside = Aside::new(folder, name)?;
    let action = || format!("writing {name}");
    aside.file().set_len(memory_bytes).during(action)?;
    let written = write_chunks(memory_bytes, state, |state, start, out| {
        let filled = fill(state, start, out)?;
        if filled {
            write_sparse(aside.file(), start, out).during(action)?;
        }
        Ok(filled)
    })?;
    let stored = seal_flat(aside.file(), build, memory_bytes, &written)?;
    aside.publish(FLAT_MODE)?;
    Ok(stored)
}

/// Puts index, checksums and footer behind a flat memory.
pub fn seal_flat(file: &File, build: BuildId, memory_bytes: u64, written: &[Written]) -> Outcome<Stored> {
    let mut entries = Entries::default();
    for block in 0..memory_bytes / BLOCK {
        let blocks = CHUNK / BLOCK;
        let filled = written[(block / blocks) as usize].filled >> (block % blocks) & 1 == 1;
        entries.push(BLOCK, if filled { build } else { BuildId::NIL }, block * BLOCK);
    }
    let entries = entries.finish();
    let filled = entries.iter().filter(|entry| entry.build == build);
    let data_bytes = filled.map(|entry| entry.length).sum();
    let metadata = super::format::Metadata {
        memory_bytes,
        generation: 0,
        build,
        base: build,
    };
    let index = Index::new(metadata, entries).map_err(|why| Failure::invalid("memory", why))?;
    let bytes = index.bytes();
    let footer = Footer {
        index_offset: memory_bytes,
        index_length: bytes.len() as u64,
        data_offset: 0,
        data_length: memory_bytes,
        index_checksum: checksum(&bytes),
        table_checksum: 0,
    };
    let write = || {
        file.write_all_at(&bytes, memory_bytes)?;
        write_end(file, memory_bytes + bytes.len() as u64, footer, written)
    };
    write().during(|| "writing the index of generation 0".to_owned())?;
    Ok(Stored {
        build,
        generation: 0,
        memory_bytes,
        data_bytes,
    })
}

/// Runs `work` for every chunk of so many bytes; it fills the bytes, or says with false that they are all zeros.
pub fn write_chunks<S>(
    length: u64,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, u64, &mut [u8]) -> Outcome<bool> + Sync,
) -> Outcome<Vec<Written>> {
    if length > MEMORY_LIMIT || !length.is_multiple_of(BLOCK) {
        return Err(Failure::invalid("memory", "it is not a possible size"));
    }
    let written: Vec<OnceLock<Written>> = (0..length.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect();
    let own = || (state(), vec![0; CHUNK as usize]);
    parallel::each(written.len(), own, |(state, buffer), chunk| {
        let start = chunk as u64 * CHUNK;
        let bytes = &mut buffer[..(length - start).min(CHUNK) as usize];
        let filled = work(state, start, bytes)?;
        let outcome = if filled {
            Written::of(bytes)
        } else {
            Written::zeros(bytes.len())
        };
        written[chunk].set(outcome).expect("each chunk once");
        Ok(())
    })?;
    Ok(written.into_iter().filter_map(OnceLock::into_inner).collect())
}

impl Written {
    fn of(bytes: &[u8]) -> Self {
        let blocks = bytes.chunks(BLOCK as usize).enumerate();
        Self {
            checksum: checksum(bytes),
            filled: blocks.map(|(i, block)| u64::from(block != ZEROS) << i).sum(),
        }
    }

    /// Of a chunk of zeros.
    pub fn zeros(length: usize) -> Self {
        static WHOLE: OnceLock<u32> = OnceLock::new();
        Self {
            checksum: if length as u64 == CHUNK {
                *WHOLE.get_or_init(|| checksum(&[0; CHUNK as usize]))
            } else {
                checksum(&vec![0; length])
            },
            filled: 0,
        }
    }
}

/// Writes what is not zeros, in as few pieces as possible.
fn write_sparse(file: &File, start: u64, bytes: &[u8]) -> std::io::Result<()> {
    let mut written = 0;
    let block = BLOCK as usize;
    let mut at = 0;
    while at <= bytes.len() {
        if at == bytes.len() || bytes[at..at + block] == ZEROS {
            if written < at {
                file.write_all_at(&bytes[written..at], start + written as u64)?;
            }
            written = at + block;
        }
        at += block;
    }
    Ok(())
}

fn write_end(file: &File, at: u64, mut footer: Footer, written: &[Written]) -> std::io::Result<()> {
    let mut bytes: Vec<u8> = written.iter().flat_map(|chunk| chunk.checksum.to_le_bytes()).collect();
    footer.table_checksum = checksum(&bytes);
    bytes.extend_from_slice(&footer.bytes());
    file.write_all_at(&bytes, at)
}
