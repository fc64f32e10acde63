//! Which blocks a guest touched, in the order it did: brought in ahead when it comes back. Only a hint: one that is lost
//! or damaged costs time, nothing else.
//!
//! File: `WRENNSET`, block numbers (u32 each), CRC-32 of all before it; little-endian.

use std::{fs, os::unix::fs::FileExt, path::Path};

use crate::{
    failure::{During, Outcome},
    snapshot::{
        aside::Aside,
        format::{BLOCK, checksum},
    },
};

const MAGIC: &[u8; 8] = b"WRENNSET";
/// More is not brought in ahead: 64 MiB.
const MOST_BLOCKS: usize = 16 << 10;
/// Only the agent reads it.
const MODE: u32 = 0o400;

/// Blocks in the order of their first touch.
#[derive(Debug, Default)]
pub struct WorkingSet {
    blocks: Vec<u32>,
    /// One bit each.
    seen: Vec<u64>,
}

impl WorkingSet {
    pub fn new(memory_bytes: u64) -> Self {
        Self {
            blocks: vec![],
            seen: vec![0; (memory_bytes / BLOCK).div_ceil(64) as usize],
        }
    }

    pub fn add(&mut self, block: u32) {
        let (word, bit) = (block as usize / 64, 1 << (block % 64));
        if self.seen[word] & bit == 0 {
            self.seen[word] |= bit;
            self.blocks.push(block);
        }
    }

    pub fn blocks(&self) -> &[u32] {
        &self.blocks
    }
}

/// Durable under that name when it returns.
pub fn save(blocks: &[u32], folder: &Path, name: &str) -> Outcome<()> {
    let mut bytes = MAGIC.to_vec();
    let kept = &blocks[..blocks.len().min(MOST_BLOCKS)];
    bytes.extend(kept.iter().flat_map(|block| block.to_le_bytes()));
    bytes.extend(checksum(&bytes).to_le_bytes());
    let aside = Aside::new(folder, name)?;
    aside
        .file()
        .write_all_at(&bytes, 0)
        .during(|| format!("writing {name}"))?;
    aside.publish(MODE).map(|_| ())
}

/// Empty where there is none that can be used.
pub fn load(path: &Path, memory_bytes: u64) -> Vec<u32> {
    let limit = (MAGIC.len() + MOST_BLOCKS * 4 + 4) as u64;
    if fs::metadata(path).map_or(true, |found| found.len() > limit) {
        return vec![];
    }
    parse(&fs::read(path).unwrap_or_default(), memory_bytes).unwrap_or_default()
}

fn parse(bytes: &[u8], memory_bytes: u64) -> Option<Vec<u32>> {
    let (rest, own) = bytes.split_last_chunk::<4>()?;
    let (words, none) = rest.strip_prefix(MAGIC)?.as_chunks::<4>();
    if !none.is_empty() || checksum(rest) != u32::from_le_bytes(*own) {
        return None;
    }
    let blocks = words.iter().map(|word| u32::from_le_bytes(*word));
    Some(
        blocks
            .filter(|block| u64::from(*block) < memory_bytes / BLOCK)
            .collect(),
    )
}
