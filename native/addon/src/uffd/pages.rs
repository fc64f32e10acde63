//! Where the pages of a snapshot come from.

use crate::{
    failure::Outcome,
    snapshot::{
        chain::{Chain, Source},
        format::{BLOCK, CHUNK},
    },
};

pub enum Page {
    Zeros,
    /// It is in the buffer.
    Bytes,
}

/// The memory of a snapshot, block by block. A block's bytes are right or there is a failure.
pub trait Pages: Send {
    fn memory_bytes(&self) -> u64;

    fn read(&mut self, block: u32, out: &mut [u8; BLOCK as usize]) -> Outcome<Page>;
}

/// Reads a chain. The checksum of a chunk is compared when its first page is wanted; from then on a page is read alone,
/// from memory as a rule.
pub struct ChainPages<C> {
    chain: C,
    /// One flag for each chunk of each layer.
    verified: Vec<Vec<bool>>,
    buffer: Vec<u8>,
}

impl<C: AsRef<Chain>> ChainPages<C> {
    pub fn new(chain: C) -> Self {
        let layers = chain.as_ref().layers().iter();
        Self {
            verified: layers.map(|layer| vec![false; layer.chunks()]).collect(),
            chain,
            buffer: vec![],
        }
    }
}

impl<C: AsRef<Chain> + Send> Pages for ChainPages<C> {
    fn memory_bytes(&self) -> u64 {
        self.chain.as_ref().memory_bytes()
    }

    fn read(&mut self, block: u32, out: &mut [u8; BLOCK as usize]) -> Outcome<Page> {
        let chain = self.chain.as_ref();
        let stretch = chain.within(u64::from(block) * BLOCK, BLOCK).next();
        let Some(Source::Layer(layer, offset)) = stretch.map(|stretch| stretch.source) else {
            return Ok(Page::Zeros);
        };
        let (chunk, within) = ((offset / CHUNK) as usize, (offset % CHUNK) as usize);
        if self.verified[layer][chunk] {
            chain.layers()[layer].read(offset, out)?;
        } else {
            chain.layers()[layer].read_chunk(chunk, &mut self.buffer)?;
            self.verified[layer][chunk] = true;
            out.copy_from_slice(&self.buffer[within..within + BLOCK as usize]);
        }
        Ok(Page::Bytes)
    }
}
