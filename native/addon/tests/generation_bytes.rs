//! Whatever bytes a file has: opening it does not panic, and takes no more memory than the file has bytes.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::prelude::*;
use wrenn_addon::snapshot::{
    build_id::BuildId,
    format::{Entry, Footer, Metadata, checksum},
    generation::Generation,
    index::Index,
    verify::verify,
};

/// Remembers the largest request.
struct Counting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LIMIT: usize = 4 << 20;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(Path::new("/var/tmp").join(format!("wrenn-bytes-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A whole generation, by the writer's own structures.
fn valid(generation: u64, blocks: u64) -> Vec<u8> {
    let (build, base) = (BuildId([1; 16]), BuildId([if generation == 0 { 1 } else { 2 }; 16]));
    let metadata = Metadata {
        memory_bytes: blocks * 4096,
        generation,
        build,
        base,
    };
    let entries = (0..blocks).map(|block| Entry {
        offset: block * 4096,
        length: 4096,
        build: if block % 2 == 0 { build } else { BuildId::NIL },
        build_offset: if block % 2 == 1 {
            0
        } else if generation == 0 {
            block * 4096
        } else {
            block / 2 * 4096
        },
    });
    let index = Index::new(metadata, entries.collect()).unwrap().bytes();
    let data_length = if generation == 0 {
        blocks * 4096
    } else {
        blocks.div_ceil(2) * 4096
    };
    let data: Vec<u8> = (0..data_length)
        .map(|i| {
            if generation == 0 && i / 4096 % 2 == 1 {
                0
            } else {
                i as u8 | 1
            }
        })
        .collect();
    let table: Vec<u8> = data
        .chunks(256 << 10)
        .flat_map(|chunk| checksum(chunk).to_le_bytes())
        .collect();
    let data_offset = if generation == 0 {
        0
    } else {
        (index.len() as u64).next_multiple_of(4096)
    };
    let footer = Footer {
        index_offset: if generation == 0 { data_length } else { 0 },
        index_length: index.len() as u64,
        data_offset,
        data_length,
        index_checksum: checksum(&index),
        table_checksum: checksum(&table),
    };
    let mut out = vec![];
    if generation == 0 {
        out.extend_from_slice(&data);
        out.extend_from_slice(&index);
    } else {
        out.extend_from_slice(&index);
        out.resize(data_offset as usize, 0);
        out.extend_from_slice(&data);
    }
    out.extend_from_slice(&table);
    out.extend_from_slice(&footer.bytes());
    out
}

fn opens(path: &Path, bytes: &[u8]) -> bool {
    fs::write(path, bytes).unwrap();
    LARGEST.store(0, Ordering::Relaxed);
    let opened = Generation::open(path).is_ok();
    let _ = verify(path);
    assert!(
        LARGEST.load(Ordering::Relaxed) <= LIMIT,
        "{} bytes at once",
        LARGEST.load(Ordering::Relaxed)
    );
    opened
}

#[test]
fn sn2_what_the_writer_makes_is_read() {
    let scratch = Scratch::new("valid");
    for (generation, blocks) in [(0, 1), (0, 200), (1, 1), (7, 200)] {
        assert!(opens(&scratch.0, &valid(generation, blocks)), "{generation} {blocks}");
        verify(&scratch.0).unwrap();
    }
}

#[test]
fn sn5_a_huge_hole_with_a_true_footer_takes_no_memory() {
    let scratch = Scratch::new("hole");
    let file = File::create(&scratch.0).unwrap();
    let length = 64 + (40u64 << 24);
    let end = length.next_multiple_of(4096);
    let footer = Footer {
        index_offset: 0,
        index_length: length,
        data_offset: end,
        data_length: 0,
        index_checksum: 0,
        table_checksum: 0,
    };
    file.write_all_at(&footer.bytes(), end).unwrap();
    // A memory so large that such an index would fit it.
    let metadata = Metadata {
        memory_bytes: 1 << 40,
        generation: 1,
        build: BuildId([1; 16]),
        base: BuildId([2; 16]),
    };
    file.write_all_at(&metadata.bytes(), 0).unwrap();
    LARGEST.store(0, Ordering::Relaxed);
    assert_eq!(Generation::open(&scratch.0).unwrap_err().code(), "snapshot_damaged");
    assert!(LARGEST.load(Ordering::Relaxed) <= LIMIT);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sn5_arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let scratch = Scratch::new("arbitrary");
        prop_assert!(!opens(&scratch.0, &bytes));
    }

    #[test]
    fn sn5_a_mutated_generation_is_refused_or_means_the_same(
        generation in 0..3u64,
        blocks in 1..6u64,
        cuts in (0..3usize, any::<proptest::sample::Index>()),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        repaired in any::<bool>(),
    ) {
        let scratch = Scratch::new("mutated");
        let whole = valid(generation, blocks);
        let mut bytes = whole.clone();
        for (place, with) in &flips {
            let at = place.index(bytes.len());
            bytes[at] ^= with;
        }
        match cuts {
            (1, place) => bytes.truncate(place.index(whole.len())),
            (2, place) => drop(bytes.drain(..place.index(whole.len()))),
            _ => {}
        }
        if repaired {
            repair(&mut bytes);
        }
        if opens(&scratch.0, &bytes) && !repaired && generation != 0 {
            // Only data, or the gap before them, can have changed without being noticed at once.
            let index = 64 + 40 * blocks as usize;
            prop_assert_eq!(&bytes[..index], &whole[..index]);
        }
    }
}

/// Makes the checksums true, so that what they protect is looked at.
fn repair(bytes: &mut [u8]) {
    let Some(at) = bytes.len().checked_sub(64) else { return };
    let word = |bytes: &[u8], place: usize| u64::from_le_bytes(bytes[at + place..][..8].try_into().unwrap());
    let (offset, length) = (word(bytes, 8) as usize, word(bytes, 16) as usize);
    if let Some(index) = offset.checked_add(length).and_then(|end| bytes.get(offset..end)) {
        let own = checksum(index).to_le_bytes();
        bytes[at + 40..at + 44].copy_from_slice(&own);
    }
    let own = checksum(&bytes[at..at + 60]).to_le_bytes();
    bytes[at + 60..].copy_from_slice(&own);
}
