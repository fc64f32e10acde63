//! The bytes of a generation (SN2), all little-endian.
//!
//! ```text
//! later generation        generation 0
//! ----------------        ------------
//! metadata  64 bytes      data      the whole memory, zeros are holes
//! entries   40 each       metadata  64 bytes
//! zeros to 4096           entries   40 each
//! data      compact       checksums
//! checksums 4 each        footer
//! footer    64 bytes
//! ```
//!
//! metadata: version, block size, memory size, generation (u64 each), build id, base build id.
//! entry: offset, length (u64), build id, offset in that build's data (u64).
//! checksums: CRC-32 of each 256 KiB of data. footer: `Footer`.
//!
//! This file only reads and writes structures; what they must add up to is checked in `index` and `generation`.

use super::build_id::BuildId;

pub const VERSION: u64 = 1;
pub const BLOCK: u64 = 4096;
pub const METADATA_BYTES: usize = 64;
pub const ENTRY_BYTES: usize = 40;
pub const FOOTER_BYTES: usize = 64;
/// What one checksum covers: small enough for one fault of the userfaultfd server, large enough to cost nothing.
pub const CHUNK: u64 = 256 << 10;
/// No guest is larger; a damaged size must not make us reserve the machine.
pub const MEMORY_LIMIT: u64 = 1 << 40;
const MAGIC: [u8; 8] = *b"WRENNGEN";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub memory_bytes: u64,
    pub generation: u64,
    pub build: BuildId,
    pub base: BuildId,
}

/// A stretch of memory and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub offset: u64,
    pub length: u64,
    /// Nil: zeros.
    pub build: BuildId,
    /// In the data of that build. 0 for zeros.
    pub build_offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    pub index_offset: u64,
    /// Metadata and entries.
    pub index_length: u64,
    pub data_offset: u64,
    pub data_length: u64,
    pub index_checksum: u32,
    /// Of the table of checksums.
    pub table_checksum: u32,
}

impl Metadata {
    pub fn bytes(&self) -> [u8; METADATA_BYTES] {
        let mut out = [0; METADATA_BYTES];
        for (i, word) in [VERSION, BLOCK, self.memory_bytes, self.generation]
            .into_iter()
            .enumerate()
        {
            out[i * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        out[32..48].copy_from_slice(&self.build.0);
        out[48..].copy_from_slice(&self.base.0);
        out
    }

    pub fn parse(bytes: &[u8; METADATA_BYTES]) -> Result<Self, &'static str> {
        if word(bytes, 0) != VERSION {
            return Err("it has a version that is not known here");
        }
        if word(bytes, 8) != BLOCK {
            return Err("its blocks are not of 4096 bytes");
        }
        Ok(Self {
            memory_bytes: word(bytes, 16),
            generation: word(bytes, 24),
            build: id(bytes, 32),
            base: id(bytes, 48),
        })
    }
}

impl Entry {
    pub fn bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..16].copy_from_slice(&self.length.to_le_bytes());
        out[16..32].copy_from_slice(&self.build.0);
        out[32..].copy_from_slice(&self.build_offset.to_le_bytes());
        out
    }

    pub fn parse(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self {
            offset: word(bytes, 0),
            length: word(bytes, 8),
            build: id(bytes, 16),
            build_offset: word(bytes, 32),
        }
    }
}

impl Footer {
    pub fn bytes(&self) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        let words = [self.index_offset, self.index_length, self.data_offset, self.data_length];
        for (i, word) in words.into_iter().enumerate() {
            out[8 + i * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        out[40..44].copy_from_slice(&self.index_checksum.to_le_bytes());
        out[44..48].copy_from_slice(&self.table_checksum.to_le_bytes());
        out[48..56].copy_from_slice(&CHUNK.to_le_bytes());
        // 56..60 stay zero.
        let own = checksum(&out[..60]);
        out[60..].copy_from_slice(&own.to_le_bytes());
        out
    }

    pub fn parse(bytes: &[u8; FOOTER_BYTES]) -> Result<Self, &'static str> {
        if bytes[..8] != MAGIC {
            return Err("it is not a generation, or was cut");
        }
        if half(bytes, 60) != checksum(&bytes[..60]) || word(bytes, 48) != CHUNK || half(bytes, 56) != 0 {
            return Err("its footer is damaged");
        }
        Ok(Self {
            index_offset: word(bytes, 8),
            index_length: word(bytes, 16),
            data_offset: word(bytes, 24),
            data_length: word(bytes, 32),
            index_checksum: half(bytes, 40),
            table_checksum: half(bytes, 44),
        })
    }

    /// Bytes of the table of checksums.
    pub fn table_length(&self) -> u64 {
        self.data_length.div_ceil(CHUNK) * 4
    }
}

pub fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn id(bytes: &[u8], at: usize) -> BuildId {
    BuildId(bytes[at..at + 16].try_into().expect("sixteen bytes"))
}
