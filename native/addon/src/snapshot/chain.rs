//! The generations of one memory, oldest first, and what is in it now.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    build_id::BuildId,
    format::{BLOCK, CHUNK},
    generation::Generation,
    index::Index,
};
use crate::failure::{Failure, Outcome};

#[derive(Debug)]
pub struct Chain {
    layers: Vec<Generation>,
    /// What the newest index says, builds looked up.
    stretches: Vec<Stretch>,
    base: Vec<Stretch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub offset: u64,
    pub length: u64,
    pub source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Zeros,
    /// Which layer, and where in its data.
    Layer(usize, u64),
}

impl Chain {
    /// Paths from generation 0 to the newest, every one that the newest still needs; others may be among them.
    pub fn open(paths: &[PathBuf]) -> Outcome<Self> {
        let layers = paths
            .iter()
            .map(|path| Generation::open(path))
            .collect::<Outcome<Vec<_>>>()?;
        let (Some(base), Some(newest)) = (layers.first(), layers.last()) else {
            return Err(Failure::invalid("chain", "it is empty"));
        };
        if !base.is_flat() {
            return Err(Failure::invalid("chain", "it does not begin with generation 0"));
        }
        for (earlier, later) in layers.iter().zip(&layers[1..]) {
            let (one, other) = (earlier.index().metadata, later.index().metadata);
            if one.generation >= other.generation || other.base != base.build() {
                return Err(later.damaged("it does not belong to the generations before it"));
            }
            if one.memory_bytes != other.memory_bytes {
                return Err(later.damaged("it is of another memory size than the generations before it"));
            }
        }
        let stretches = resolve(&layers, newest)?;
        let base = resolve(&layers[..1], base)?;
        Ok(Self {
            layers,
            stretches,
            base,
        })
    }

    /// Refuses a name that is a file of this chain: what is written there would replace what it is written from.
    pub fn spared_by(&self, folder: &Path, name: &str) -> Outcome<()> {
        let Ok(target) = fs::metadata(folder.join(name)) else {
            return Ok(());
        };
        for layer in &self.layers {
            if layer.file_id()? == (target.dev(), target.ino()) {
                return Err(Failure::invalid("name", "it is a file of the chain"));
            }
        }
        Ok(())
    }

    pub fn layers(&self) -> &[Generation] {
        &self.layers
    }

    pub fn base(&self) -> &Generation {
        &self.layers[0]
    }

    pub fn newest(&self) -> &Index {
        self.layers[self.layers.len() - 1].index()
    }

    pub fn memory_bytes(&self) -> u64 {
        self.newest().metadata.memory_bytes
    }

    pub fn build_of(&self, source: Source) -> (BuildId, u64) {
        match source {
            Source::Zeros => (BuildId::NIL, 0),
            Source::Layer(layer, offset) => (self.layers[layer].build(), offset),
        }
    }

    /// What is in a part of the memory now.
    pub fn within(&self, offset: u64, length: u64) -> impl Iterator<Item = Stretch> {
        cut(&self.stretches, offset, length)
    }

    /// What generation 0 has in a part of the memory.
    pub fn base_within(&self, offset: u64, length: u64) -> impl Iterator<Item = Stretch> {
        cut(&self.base, offset, length)
    }

    /// Where the memory is not what generation 0 has: what a private mapping of that lacks.
    pub fn beyond_base(&self) -> impl Iterator<Item = Stretch> {
        self.stretches.iter().flat_map(|stretch| {
            let zeroed = (stretch.source == Source::Zeros).then(|| {
                let had = self.base_within(stretch.offset, stretch.length);
                had.filter(|base| base.source != Source::Zeros).map(|base| Stretch {
                    source: Source::Zeros,
                    ..base
                })
            });
            let own = matches!(stretch.source, Source::Layer(1.., _)).then_some(*stretch);
            zeroed.into_iter().flatten().chain(own)
        })
    }
}

/// Parts of sorted gapless stretches.
fn cut(stretches: &[Stretch], offset: u64, length: u64) -> impl Iterator<Item = Stretch> {
    let first = stretches.partition_point(|stretch| stretch.offset + stretch.length <= offset);
    let end = offset + length;
    stretches[first..]
        .iter()
        .take_while(move |stretch| stretch.offset < end)
        .map(move |stretch| {
            let start = stretch.offset.max(offset);
            Stretch {
                offset: start,
                length: (stretch.offset + stretch.length).min(end) - start,
                source: match stretch.source {
                    Source::Zeros => Source::Zeros,
                    Source::Layer(layer, at) => Source::Layer(layer, at + start - stretch.offset),
                },
            }
        })
}

fn resolve(layers: &[Generation], newest: &Generation) -> Outcome<Vec<Stretch>> {
    let known: HashMap<_, _> = layers.iter().enumerate().map(|(i, layer)| (layer.build(), i)).collect();
    let entries = newest.index().entries().iter();
    entries
        .map(|entry| {
            let source = match known.get(&entry.build) {
                _ if entry.build == BuildId::NIL => Source::Zeros,
                None => return Err(newest.damaged("it needs a generation that is not in its chain")),
                Some(&layer) if entry.build_offset + entry.length > layers[layer].data_length() => {
                    return Err(newest.damaged("it needs more than an earlier generation has"));
                }
                Some(0) if entry.build_offset != entry.offset => {
                    return Err(newest.damaged("it needs generation 0 elsewhere than where that is"));
                }
                Some(&layer) => Source::Layer(layer, entry.build_offset),
            };
            Ok(Stretch {
                offset: entry.offset,
                length: entry.length,
                source,
            })
        })
        .collect()
}

/// Reads a chain with its checksums compared; keeps the last chunk of each layer, for whoever reads in order.
pub struct Reader<'chain> {
    chain: &'chain Chain,
    loaded: Vec<(Option<usize>, Vec<u8>)>,
}

impl<'chain> Reader<'chain> {
    pub fn new(chain: &'chain Chain) -> Self {
        Self {
            chain,
            loaded: chain.layers.iter().map(|_| (None, vec![])).collect(),
        }
    }

    /// Bytes of one source.
    pub fn read(&mut self, source: Source, out: &mut [u8]) -> Outcome<()> {
        let Source::Layer(layer, offset) = source else {
            out.fill(0);
            return Ok(());
        };
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let (chunk, within) = ((at / CHUNK) as usize, (at % CHUNK) as usize);
            let (loaded, bytes) = &mut self.loaded[layer];
            if *loaded != Some(chunk) {
                *loaded = None;
                self.chain.layers[layer].read_chunk(chunk, bytes)?;
                *loaded = Some(chunk);
            }
            let length = (bytes.len() - within).min(out.len() - done);
            out[done..done + length].copy_from_slice(&bytes[within..within + length]);
            done += length;
        }
        Ok(())
    }

    /// A part of the memory as it is now. False: it is all zeros, and `out` was left alone.
    pub fn read_memory(&mut self, offset: u64, out: &mut [u8]) -> Outcome<bool> {
        debug_assert!(offset.is_multiple_of(BLOCK));
        let chain = self.chain;
        let length = out.len() as u64;
        if chain
            .within(offset, length)
            .all(|stretch| stretch.source == Source::Zeros)
        {
            return Ok(false);
        }
        for stretch in chain.within(offset, length) {
            let start = (stretch.offset - offset) as usize;
            self.read(stretch.source, &mut out[start..start + stretch.length as usize])?;
        }
        Ok(true)
    }
}
