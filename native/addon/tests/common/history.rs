//! A VM whose memory is stored again and again, beside an oracle that keeps every block.
#![allow(dead_code, reason = "each program uses some of it")]

use std::{fs, path::PathBuf};

use proptest::prelude::*;
use wrenn_addon::{
    failure::Outcome,
    snapshot::{
        base,
        build_id::BuildId,
        capture::{Capture, Prepared},
        chain::{Chain, Reader},
        flatten::flatten,
        merge::merge,
        publish::{Published, publish, publish_flat},
        restore::restore,
    },
};

pub use crate::folder::Folder;
use crate::vmm::Vmm;

pub const BLOCK: usize = 4096;
pub const BLOCKS: usize = 300;
pub const MEMORY: usize = BLOCKS * BLOCK;

impl Folder {
    /// Generation 0 with these bytes.
    pub fn base(&self, name: &str, memory: &[u8]) -> PathBuf {
        fs::write(self.path("memory"), memory).unwrap();
        base::publish(&self.path("memory"), memory.len() as u64, &self.0, name, id()).unwrap();
        self.path(name)
    }
}

pub fn id() -> BuildId {
    BuildId::random().unwrap()
}

pub fn capture(vmm: &Vmm) -> Outcome<Capture> {
    Prepared::new(vmm.process, &vmm.path)?.capture()
}

pub fn content(chain: &Chain) -> Vec<u8> {
    let mut out = vec![0; chain.memory_bytes() as usize];
    Reader::new(chain).read_memory(0, &mut out).unwrap();
    out
}

pub fn same(one: &[u8], other: &[u8], what: &str) {
    let differs = one
        .chunks(BLOCK)
        .zip(other.chunks(BLOCK))
        .position(|(one, other)| one != other);
    assert!(
        one.len() == other.len() && differs.is_none(),
        "{what}: block {differs:?} differs"
    );
}

#[derive(Clone, Debug)]
pub enum Step {
    /// Blocks from, how many, with what; 0 zeroes them.
    Write(usize, usize, u8),
    /// Writes what is there already.
    Touch(usize, usize),
    /// The VM ends and comes back from what was stored.
    Pause,
    /// What was stored is looked at, the VM runs on.
    Snapshot,
    Merge,
    /// All becomes a new generation 0, from the chain or from the VM.
    Flatten,
    Branch,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stretch = || (0..BLOCKS, prop_oneof![3 => 1..4usize, 1 => 1..150usize]);
    let step = prop_oneof![
        8 => (stretch(), 1..=255u8).prop_map(|((at, length), fill)| Step::Write(at, length, fill)),
        4 => stretch().prop_map(|(at, length)| Step::Write(at, length, 0)),
        2 => stretch().prop_map(|(at, length)| Step::Touch(at, length)),
        4 => Just(Step::Pause),
        2 => Just(Step::Snapshot),
        1 => Just(Step::Merge),
        1 => Just(Step::Flatten),
        1 => Just(Step::Branch),
    ];
    proptest::collection::vec(step, 1..30)
}

/// A VM, what its memory must be, and what is stored of it.
pub struct History<'folder> {
    pub folder: &'folder Folder,
    pub oracle: Vec<u8>,
    pub chain: Vec<PathBuf>,
    pub vmm: Vmm,
    pub files: usize,
    pub areas: usize,
}

impl<'folder> History<'folder> {
    pub fn new(folder: &'folder Folder, oracle: Vec<u8>, areas: usize) -> Self {
        let base = folder.base("0", &oracle);
        Self {
            folder,
            vmm: Vmm::start(&base, oracle.len(), areas),
            oracle,
            chain: vec![base],
            files: 1,
            areas,
        }
    }

    pub fn open(&self) -> Chain {
        Chain::open(&self.chain).unwrap()
    }

    pub fn name(&mut self) -> String {
        self.files += 1;
        self.files.to_string()
    }

    pub fn write(&mut self, at: usize, length: usize, fill: impl Fn(usize, u8) -> u8) {
        let end = (at + length).min(BLOCKS) * BLOCK;
        for (i, byte) in self.oracle[at * BLOCK..end].iter_mut().enumerate() {
            *byte = fill(i, *byte);
        }
        self.vmm.write((at * BLOCK) as u64, &self.oracle[at * BLOCK..end]);
    }

    /// Stores a generation and says what a chain with it has.
    pub fn publish(&mut self) -> Published {
        let before = content(&self.open());
        let name = self.name();
        let capture = capture(&self.vmm).unwrap();
        let published = publish(&capture, &self.open(), &self.folder.0, &name, id()).unwrap();
        self.chain.push(self.folder.path(&name));
        let blocks = self.oracle.chunks(BLOCK).zip(before.chunks(BLOCK));
        let changed = blocks.filter(|(now, before)| now != before);
        let (zeroed, changed): (Vec<_>, Vec<_>) = changed.partition(|(now, _)| now.iter().all(|byte| *byte == 0));
        assert_eq!(
            published.stored.data_bytes,
            (changed.len() * BLOCK) as u64,
            "only what changed is stored"
        );
        assert_eq!(published.zeroed_bytes, (zeroed.len() * BLOCK) as u64);
        same(&content(&self.open()), &self.oracle, "the chain");
        published
    }

    pub fn resume(&mut self) {
        self.vmm = Vmm::start(&self.chain[0], MEMORY, self.areas);
        restore(self.vmm.process, &self.chain[0], &self.open()).unwrap();
        same(&self.vmm.read(0, MEMORY as u64), &self.oracle, "the resumed memory");
    }

    pub fn step(&mut self, step: &Step) {
        match *step {
            Step::Write(at, length, 0) => self.write(at, length, |_, _| 0),
            Step::Write(at, length, fill) => self.write(at, length, |i, _| fill ^ (i / BLOCK) as u8),
            Step::Touch(at, length) => self.write(at, length, |_, byte| byte),
            Step::Pause => {
                self.publish();
                self.resume();
            }
            Step::Snapshot => {
                self.publish();
            }
            Step::Merge => {
                if self.chain.len() > 1 {
                    let name = self.name();
                    merge(&self.open(), &self.folder.0, &name, id()).unwrap();
                    let merged = vec![self.chain[0].clone(), self.folder.path(&name)];
                    let before = content(&self.open());
                    self.chain.drain(1..).for_each(|path| fs::remove_file(path).unwrap());
                    self.chain = merged;
                    same(&content(&self.open()), &before, "merged");
                }
            }
            Step::Flatten => {
                self.publish();
                let names = [self.name(), self.name()];
                flatten(&self.open(), &self.folder.0, &names[0], id()).unwrap();
                let capture = capture(&self.vmm).unwrap();
                publish_flat(&capture, &self.open(), &self.folder.0, &names[1], id()).unwrap();
                let bytes = names.map(|name| fs::read(self.folder.path(&name)).unwrap());
                same(&bytes[0][..MEMORY], &self.oracle, "flattened");
                same(&bytes[1][..MEMORY], &self.oracle, "captured flat");
                self.chain = vec![self.folder.path(&self.files.to_string())];
                self.resume();
            }
            Step::Branch => {
                self.publish();
                let child = Vmm::start(&self.chain[0], MEMORY, 1);
                restore(child.process, &self.chain[0], &self.open()).unwrap();
                same(&child.read(0, MEMORY as u64), &self.oracle, "the child's memory");
                child.write(0, &[0xee; BLOCK]);
                same(&self.vmm.read(0, MEMORY as u64), &self.oracle, "the parent's memory");
            }
        }
    }
}
