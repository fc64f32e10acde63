//! Snapshots of memory against an oracle that keeps every block, with real processes as VMMs. As root.

use std::{fs, os::unix::fs::PermissionsExt};

use proptest::prelude::*;
use wrenn_addon::{
    files::space::allocated_bytes,
    snapshot::{
        base,
        capture::Capture,
        dirty::Method,
        generation::Generation,
        publish::{publish, publish_flat},
        verify::verify,
    },
};

#[path = "common/folder.rs"]
mod folder;
#[path = "common/history.rs"]
mod history;
#[path = "common/vmm.rs"]
mod vmm;
use history::{BLOCK, BLOCKS, Folder, History, MEMORY, Step, capture, content, id, same, steps};
use vmm::Vmm;

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sn2_sn3_sn4_any_history_comes_back_as_it_was(
        fills in proptest::collection::vec(prop_oneof![3 => Just(0u8), 1 => 1..=255u8], BLOCKS),
        areas in prop_oneof![Just(1usize), Just(6usize)],
        steps in steps(),
    ) {
        let folder = Folder::new();
        let memory = fills.iter().flat_map(|fill| [*fill; BLOCK]).collect();
        let mut history = History::new(&folder, memory, areas);
        for step in &steps {
            history.step(step);
        }
        history.step(&Step::Pause);
        for path in &history.chain {
            verify(path).unwrap();
        }
    }
}

#[test]
fn sn4_a_zeroed_page_stays_zero_through_merges_and_eight_generations() {
    let folder = Folder::new();
    let mut history = History::new(&folder, vec![7; MEMORY], 1);
    for generation in 0..8 {
        history.write(generation, 1, |_, _| 0);
        history.write(100, 1, |i, _| i as u8 ^ generation as u8);
        let published = history.publish();
        assert_eq!(published.zeroed_bytes, BLOCK as u64);
        assert_eq!(published.stored.data_bytes, BLOCK as u64);
        history.resume();
    }
    history.step(&Step::Merge);
    assert_eq!(history.chain.len(), 2);
    let merged = Generation::open(&history.chain[1]).unwrap();
    assert_eq!(merged.index().metadata.generation, 8);
    assert_eq!(merged.data_length(), BLOCK as u64);
    history.resume();
}

#[test]
fn sn3_a_page_that_came_back_from_the_base_is_what_the_vm_saw() {
    let folder = Folder::new();
    let mut history = History::new(&folder, vec![7; MEMORY], 1);
    history.write(3, 2, |_, _| 9);
    history.publish();
    // A process that has no page of its own there sees the base, whatever was stored before.
    history.vmm = Vmm::start(&history.chain[0], MEMORY, 1);
    let name = history.name();
    publish(&capture(&history.vmm).unwrap(), &history.open(), &folder.0, &name, id()).unwrap();
    history.chain.push(folder.path(&name));
    same(&content(&history.open()), &vec![7; MEMORY], "the chain");
}

#[test]
fn sn2_a_diff_of_firecracker_becomes_a_generation() {
    let folder = Folder::new();
    let mut history = History::new(&folder, vec![7; MEMORY], 1);
    history.write(10, 3, |_, _| 9);
    history.publish();
    // Holes are unchanged, not the base's; what is written as zeros is zeros.
    let diff = folder.path("diff");
    let file = fs::File::create(&diff).unwrap();
    file.set_len(MEMORY as u64).unwrap();
    for (block, fill) in [(11, 0), (20, 5), (21, 7), (BLOCKS - 1, 6)] {
        history.oracle[block * BLOCK..][..BLOCK].fill(fill);
        std::os::unix::fs::FileExt::write_all_at(&file, &[fill; BLOCK], (block * BLOCK) as u64).unwrap();
    }
    let capture = Capture::of_diff(&diff).unwrap();
    let taken = publish(&capture, &history.open(), &folder.0, "2", id());
    assert_eq!(
        taken.unwrap_err().code(),
        "invalid_argument",
        "a file of the chain has that name"
    );
    let published = publish(&capture, &history.open(), &folder.0, "3", id()).unwrap();
    let blocks = |count: usize| (count * BLOCK) as u64;
    assert_eq!(published.stored.data_bytes, blocks(2));
    assert_eq!(
        (published.unchanged_bytes, published.zeroed_bytes),
        (blocks(1), blocks(1))
    );
    publish_flat(&capture, &history.open(), &folder.0, "flat", id()).unwrap();
    same(
        &fs::read(folder.path("flat")).unwrap()[..MEMORY],
        &history.oracle,
        "flat",
    );
    history.chain.push(folder.path("3"));
    same(&content(&history.open()), &history.oracle, "the chain");
    history.resume();
}

#[test]
fn sn14_both_ways_to_find_dirty_pages_agree() {
    let folder = Folder::new();
    let memory = 64 << 20;
    let base = folder.base("0", &vec![1; memory]);
    let vmm = Vmm::start(&base, memory, 4);
    assert!(vmm.areas() >= 3, "the mapping is in {} areas", vmm.areas());
    // Reading makes file pages present, which are not the process's own.
    vmm.read(0, memory as u64);
    // More runs than one call of PAGEMAP_SCAN reports, and than the kernel collects at a time.
    let mut written = 0;
    for block in (0..memory / BLOCK).filter(|block| block % 3 == 0 || block % 100 < 7) {
        vmm.write((block * BLOCK) as u64, &[2]);
        written += BLOCK as u64;
    }
    let pagemap = fs::File::open(format!("/proc/{}/pagemap", vmm.process.pid)).unwrap();
    let addresses = vmm.addresses();
    let [scanned, read] = [Method::Scan, Method::Words].map(|method| {
        let mut found = vec![];
        let outcomes = addresses
            .iter()
            .map(|part| method.find(&pagemap, part.clone(), &mut found));
        outcomes.collect::<Result<Vec<()>, _>>().map(|_| found)
    });
    let read = read.unwrap();
    assert_eq!(read.iter().map(|range| range.end - range.start).sum::<u64>(), written);
    match scanned {
        Ok(scanned) => assert_eq!(scanned, read),
        Err(error) => println!("skipped: no PAGEMAP_SCAN here: {error}"),
    }
    assert_eq!(capture(&vmm).unwrap().dirty_bytes(), written);
}

#[test]
fn sn2_generation_0_is_flat_sparse_readonly_and_can_be_published_again() {
    let folder = Folder::new();
    let mut memory = vec![0; MEMORY];
    memory[40 * BLOCK..60 * BLOCK].fill(1);
    memory[MEMORY - 1] = 1;
    let path = folder.path("memory");
    wrenn_addon::files::space::allocate(&path, MEMORY as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&fs::File::options().write(true).open(&path).unwrap(), &memory, 0)
        .unwrap();
    let stored = base::publish(&path, MEMORY as u64, &folder.0, "memory", id()).unwrap();
    assert_eq!(stored.data_bytes, 21 * BLOCK as u64);
    // Generation, index and file system's own.
    assert!(allocated_bytes(&path).unwrap() <= 21 * BLOCK as u64 + 64 * 1024);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    let again = base::publish(&path, MEMORY as u64, &folder.0, "base", stored.build).unwrap();
    assert_eq!(again, stored);
    let base = folder.path("base");
    assert!(!path.exists());
    same(&fs::read(&base).unwrap()[..MEMORY], &memory, "generation 0");
    let written = fs::metadata(&base).unwrap().len();
    verify(&base).unwrap();
    assert_eq!(fs::metadata(&base).unwrap().len(), written);
    let shorter = base::publish(&base, 2 * written.next_multiple_of(4096), &folder.0, "base", id());
    assert_eq!(shorter.unwrap_err().code(), "invalid_argument");
}
