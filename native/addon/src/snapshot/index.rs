//! Which build has the bytes of which stretch of memory: sorted, without gaps.

use super::{
    build_id::BuildId,
    format::{BLOCK, ENTRY_BYTES, Entry, MEMORY_LIMIT, METADATA_BYTES, Metadata},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    pub metadata: Metadata,
    entries: Vec<Entry>,
}

impl Index {
    pub fn new(metadata: Metadata, entries: Vec<Entry>) -> Result<Self, &'static str> {
        if metadata.memory_bytes == 0
            || metadata.memory_bytes > MEMORY_LIMIT
            || !metadata.memory_bytes.is_multiple_of(BLOCK)
        {
            return Err("its memory size is impossible");
        }
        if metadata.build == BuildId::NIL || (metadata.generation == 0) != (metadata.build == metadata.base) {
            return Err("its build ids are impossible");
        }
        let mut next = 0;
        for entry in &entries {
            let whole = [entry.offset, entry.length, entry.build_offset]
                .iter()
                .all(|bytes| bytes.is_multiple_of(BLOCK));
            if entry.offset != next || entry.length == 0 || !whole || entry.length > metadata.memory_bytes - next {
                return Err("its entries are not sorted, whole and without gaps");
            }
            if entry.build_offset > MEMORY_LIMIT || (entry.build == BuildId::NIL && entry.build_offset != 0) {
                return Err("an entry points nowhere");
            }
            next += entry.length;
        }
        if next != metadata.memory_bytes {
            return Err("its entries do not cover the memory");
        }
        Ok(Self { metadata, entries })
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let (metadata, entries) = bytes.split_first_chunk::<METADATA_BYTES>().ok_or("it is too short")?;
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err("its index is cut");
        }
        Self::new(Metadata::parse(metadata)?, entries.iter().map(Entry::parse).collect())
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(METADATA_BYTES + self.entries.len() * ENTRY_BYTES);
        out.extend_from_slice(&self.metadata.bytes());
        self.entries
            .iter()
            .for_each(|entry| out.extend_from_slice(&entry.bytes()));
        out
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Builds the entries of an index from the left; neighbours that continue each other become one.
#[derive(Default)]
pub struct Entries {
    entries: Vec<Entry>,
    next: u64,
}

impl Entries {
    pub fn push(&mut self, length: u64, build: BuildId, build_offset: u64) {
        if length == 0 {
            return;
        }
        let build_offset = if build == BuildId::NIL { 0 } else { build_offset };
        match self.entries.last_mut() {
            Some(last)
                if last.build == build
                    && (build == BuildId::NIL || last.build_offset + last.length == build_offset) =>
            {
                last.length += length;
            }
            _ => self.entries.push(Entry {
                offset: self.next,
                length,
                build,
                build_offset,
            }),
        }
        self.next += length;
    }

    /// The memory that is covered so far.
    pub fn end(&self) -> u64 {
        self.next
    }

    pub fn finish(self) -> Vec<Entry> {
        self.entries
    }
}
