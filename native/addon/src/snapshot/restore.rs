//! Writes what a chain has beyond its base into the private mapping of a VMM that waits, before it loads its devices:
//! virtio looks at its rings while it loads.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
};

use super::{
    capture::still_there,
    chain::{Chain, Source, Stretch},
    format::CHUNK,
    mapping::Mapping,
    parallel,
    store::ZEROS,
};
use crate::{
    failure::{During, Failure, Outcome},
    process::identity::Identity,
};

struct Target {
    process: Identity,
    handle: OwnedFd,
    mapping: Mapping,
    memory: File,
}

/// The mapping must be fresh. Says how many bytes were written.
pub fn restore(process: Identity, path: &Path, chain: &Chain) -> Outcome<u64> {
    let pid = process.pid;
    let handle = process.open().during(|| format!("opening process {pid}"))?;
    let handle = handle.ok_or(Failure::ProcessGone { pid })?;
    let mapping = Mapping::find(process, path)?;
    if chain.base().file_id()? != mapping.file {
        return Err(Failure::invalid(
            "chain",
            "its generation 0 is not the file that is mapped",
        ));
    }
    if chain.memory_bytes() != mapping.length() {
        return Err(Failure::invalid(
            "chain",
            "its memory is not of the size that is mapped",
        ));
    }
    let memory = OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"));
    let memory = memory.during(|| format!("opening the memory of process {pid}"))?;
    let target = Target {
        process,
        handle,
        mapping,
        memory,
    };
    let pieces = by_chunk(chain);
    let groups: Vec<&[Stretch]> = pieces.chunk_by(|one, other| chunk_of(one) == chunk_of(other)).collect();
    parallel::each(groups.len(), Vec::new, |buffer, group| {
        target.write_group(chain, groups[group], buffer)
    })?;
    still_there(target.process, &target.handle)?;
    Ok(pieces.iter().map(|piece| piece.length).sum())
}

/// What is to be written, cut at the chunks of the data and in their order: each is read and checked once.
fn by_chunk(chain: &Chain) -> Vec<Stretch> {
    let mut pieces = vec![];
    for stretch in chain.beyond_base() {
        let mut done = 0;
        while done < stretch.length {
            let (source, limit) = match stretch.source {
                Source::Zeros => (Source::Zeros, CHUNK),
                Source::Layer(layer, offset) => {
                    let at = offset + done;
                    (Source::Layer(layer, at), CHUNK - at % CHUNK)
                }
            };
            let length = limit.min(stretch.length - done);
            pieces.push(Stretch {
                offset: stretch.offset + done,
                length,
                source,
            });
            done += length;
        }
    }
    pieces.sort_by_key(|piece| (piece.source, piece.offset));
    pieces
}

fn chunk_of(piece: &Stretch) -> Option<(usize, u64)> {
    match piece.source {
        Source::Zeros => None,
        Source::Layer(layer, offset) => Some((layer, offset / CHUNK)),
    }
}

impl Target {
    fn write_group(&self, chain: &Chain, group: &[Stretch], buffer: &mut Vec<u8>) -> Outcome<()> {
        if let Some((layer, chunk)) = group.first().and_then(chunk_of) {
            chain.layers()[layer].read_chunk(chunk as usize, buffer)?;
        }
        for piece in group {
            match piece.source {
                Source::Zeros => {
                    for offset in (piece.offset..piece.offset + piece.length).step_by(ZEROS.len()) {
                        self.write(offset, &ZEROS)?;
                    }
                }
                Source::Layer(_, at) => {
                    let start = (at % CHUNK) as usize;
                    self.write(piece.offset, &buffer[start..start + piece.length as usize])?;
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, mut bytes: &[u8]) -> Outcome<()> {
        for (address, length) in self.mapping.addresses(offset, bytes.len() as u64) {
            let (now, rest) = bytes.split_at(length as usize);
            self.explained(self.memory.write_all_at(now, address))?;
            bytes = rest;
        }
        Ok(())
    }

    fn explained(&self, outcome: io::Result<()>) -> Outcome<()> {
        outcome.or_else(|error| {
            still_there(self.process, &self.handle)?;
            Err(error).during(|| format!("writing the memory of process {}", self.process.pid))
        })
    }
}
