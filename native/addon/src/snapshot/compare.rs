//! Which of the captured blocks its chain has already, as fast as memory can be compared.

use std::sync::OnceLock;

use super::{
    capture::Capture,
    chain::{Chain, Source, Stretch},
    format::BLOCK,
    parallel,
    store::ZEROS,
};
use crate::failure::Outcome;

/// What one thread compares at a time.
const UNIT: u64 = 1 << 20;
/// What is read at once of a later generation: its neighbours in the file are what is wanted next. It fits the cache.
const WINDOW: u64 = 256 << 10;

/// What is to be done with a captured block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The chain has the same.
    Unchanged,
    Zeros,
    Changed,
}

/// Verdicts on the captured blocks in their order, a part of them in each list.
pub fn compare(capture: &Capture, chain: &Chain) -> Outcome<Vec<Vec<Verdict>>> {
    let total = capture.dirty_bytes();
    let verdicts: Vec<OnceLock<Vec<Verdict>>> = (0..total.div_ceil(UNIT)).map(|_| OnceLock::new()).collect();
    let window = || Window::new(chain);
    parallel::each(verdicts.len(), window, |window, unit| {
        let mut found = Vec::with_capacity((UNIT / BLOCK) as usize);
        let from = unit as u64 * UNIT;
        for piece in capture.pieces(from..(from + UNIT).min(total)) {
            for stretch in chain.within(piece.offset, piece.length) {
                let new = capture.bytes(piece.at + stretch.offset - piece.offset, stretch.length);
                judge(window, stretch, new, &mut found)?;
            }
        }
        verdicts[unit].set(found).expect("each unit once");
        Ok(())
    })?;
    Ok(verdicts.into_iter().filter_map(OnceLock::into_inner).collect())
}

fn judge(window: &mut Window<'_>, old: Stretch, new: &[u8], found: &mut Vec<Verdict>) -> Outcome<()> {
    let blocks = new.chunks(BLOCK as usize);
    let Source::Layer(layer, at) = old.source else {
        found.extend(blocks.map(|block| {
            if block == ZEROS {
                Verdict::Unchanged
            } else {
                Verdict::Changed
            }
        }));
        return Ok(());
    };
    let before = window.read(layer, at, old.length)?;
    if new == before {
        found.resize(found.len() + blocks.len(), Verdict::Unchanged);
        return Ok(());
    }
    found.extend(
        blocks
            .zip(before.chunks(BLOCK as usize))
            .map(|(new, before)| match new {
                _ if new == before => Verdict::Unchanged,
                _ if new == ZEROS => Verdict::Zeros,
                _ => Verdict::Changed,
            }),
    );
    Ok(())
}

/// A part of a layer's data.
struct Window<'chain> {
    chain: &'chain Chain,
    layer: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl<'chain> Window<'chain> {
    fn new(chain: &'chain Chain) -> Self {
        Self {
            chain,
            layer: 0,
            start: 0,
            bytes: vec![],
        }
    }

    fn read(&mut self, layer: usize, at: u64, length: u64) -> Outcome<&[u8]> {
        let there = self.layer == layer && self.start <= at && at + length <= self.start + self.bytes.len() as u64;
        if !there {
            let source = &self.chain.layers()[layer];
            // Generation 0 is not compact: what is beside is not what comes next.
            let wanted = if layer == 0 {
                length
            } else {
                length.max(WINDOW).min(source.data_length() - at)
            };
            (self.layer, self.start) = (layer, at);
            self.bytes.resize(wanted as usize, 0);
            if let Err(failure) = source.read(at, &mut self.bytes) {
                self.bytes.clear();
                return Err(failure);
            }
        }
        let from = (at - self.start) as usize;
        Ok(&self.bytes[from..from + length as usize])
    }
}
