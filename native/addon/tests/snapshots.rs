//! Snapshots of memory against an oracle that keeps every block, with real processes as VMMs. As root.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use proptest::prelude::*;
use wrenn_addon::{
    failure::Outcome,
    files::space::allocated_bytes,
    snapshot::{
        base,
        build_id::BuildId,
        capture::{Capture, Prepared},
        chain::{Chain, Reader},
        dirty::Method,
        flatten::flatten,
        generation::Generation,
        merge::merge,
        publish::{Published, publish, publish_flat},
        restore::restore,
        verify::verify,
    },
};

#[path = "common/vmm.rs"]
mod vmm;
use vmm::Vmm;

const BLOCK: usize = 4096;
const BLOCKS: usize = 300;
const MEMORY: usize = BLOCKS * BLOCK;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "wrenn-generations-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = Path::new("/var/tmp").join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Generation 0 with these bytes.
    fn base(&self, name: &str, memory: &[u8]) -> PathBuf {
        fs::write(self.path("memory"), memory).unwrap();
        base::publish(&self.path("memory"), memory.len() as u64, &self.0, name, id()).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn id() -> BuildId {
    BuildId::random().unwrap()
}

fn capture(vmm: &Vmm) -> Outcome<Capture> {
    Prepared::new(vmm.process, &vmm.path)?.capture()
}

fn content(chain: &Chain) -> Vec<u8> {
    let mut out = vec![0; chain.memory_bytes() as usize];
    Reader::new(chain).read_memory(0, &mut out).unwrap();
    out
}

fn same(one: &[u8], other: &[u8], what: &str) {
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
enum Step {
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

fn steps() -> impl Strategy<Value = Vec<Step>> {
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
struct History<'folder> {
    folder: &'folder Folder,
    oracle: Vec<u8>,
    chain: Vec<PathBuf>,
    vmm: Vmm,
    files: usize,
    areas: usize,
}

impl<'folder> History<'folder> {
    fn new(folder: &'folder Folder, oracle: Vec<u8>, areas: usize) -> Self {
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

    fn open(&self) -> Chain {
        Chain::open(&self.chain).unwrap()
    }

    fn name(&mut self) -> String {
        self.files += 1;
        self.files.to_string()
    }

    fn write(&mut self, at: usize, length: usize, fill: impl Fn(usize, u8) -> u8) {
        let end = (at + length).min(BLOCKS) * BLOCK;
        for (i, byte) in self.oracle[at * BLOCK..end].iter_mut().enumerate() {
            *byte = fill(i, *byte);
        }
        self.vmm.write((at * BLOCK) as u64, &self.oracle[at * BLOCK..end]);
    }

    /// Stores a generation and says what a chain with it has.
    fn publish(&mut self) -> Published {
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

    fn resume(&mut self) {
        self.vmm = Vmm::start(&self.chain[0], MEMORY, self.areas);
        restore(self.vmm.process, &self.chain[0], &self.open()).unwrap();
        same(&self.vmm.read(0, MEMORY as u64), &self.oracle, "the resumed memory");
    }

    fn step(&mut self, step: &Step) {
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

#[test]
fn sn5_damage_is_found_wherever_it_is() {
    let folder = Folder::new();
    let mut history = History::new(&folder, vec![7; MEMORY], 1);
    history.write(3, 200, |i, _| (i / 3) as u8);
    history.publish();
    let path = history.chain[1].clone();
    let whole = fs::read(&path).unwrap();
    let bad = folder.path("bad");
    let chain = [history.chain[0].clone(), bad.clone()];
    // Every part of the file: index, data, checksums, footer. Only the gap before the data carries nothing.
    let index_end = 64 + 40 * Generation::open(&path).unwrap().index().entries().len();
    let places = (0..whole.len()).step_by(997).chain(whole.len() - 400..whole.len());
    for place in places.filter(|place| !(index_end..BLOCK).contains(place)) {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(&bad, bytes).unwrap();
        assert_eq!(verify(&bad).unwrap_err().code(), "snapshot_damaged", "byte {place}");
        let restored = Chain::open(&chain).and_then(|chain| {
            let vmm = Vmm::start(&chain.base().path().to_owned(), MEMORY, 1);
            restore(vmm.process, chain.base().path(), &chain)
        });
        assert_eq!(restored.unwrap_err().code(), "snapshot_damaged", "byte {place}");
    }
    for length in [0, 1, 63, 64, 128, 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(&bad, &whole[..length]).unwrap();
        assert_eq!(verify(&bad).unwrap_err().code(), "snapshot_damaged", "{length} bytes");
    }
    // Generation 0 too, in its data and its holes.
    let mut bytes = fs::read(&history.chain[0]).unwrap();
    bytes[MEMORY / 2] ^= 1;
    fs::write(&bad, bytes).unwrap();
    assert_eq!(verify(&bad).unwrap_err().code(), "snapshot_damaged");
}

#[test]
fn sn5_generations_that_do_not_belong_together_are_refused() {
    let folder = Folder::new();
    let mut history = History::new(&folder, vec![7; MEMORY], 1);
    history.write(3, 1, |_, _| 9);
    history.publish();
    history.write(4, 1, |_, _| 9);
    history.publish();
    let [base, one, two] = [0, 1, 2].map(|i| history.chain[i].clone());
    let other = folder.base("other", &vec![8; MEMORY]);
    let code = |paths: &[&PathBuf]| {
        let paths: Vec<PathBuf> = paths.iter().copied().cloned().collect();
        Chain::open(&paths)
            .map(|_| "fine")
            .unwrap_or_else(|failure| failure.code())
    };
    assert_eq!(code(&[&base, &one, &two]), "fine");
    assert_eq!(code(&[]), "invalid_argument");
    assert_eq!(code(&[&one]), "invalid_argument");
    assert_eq!(code(&[&base, &two]), "snapshot_damaged", "one is missing");
    assert_eq!(code(&[&base, &two, &one]), "snapshot_damaged");
    assert_eq!(code(&[&base, &one, &one]), "snapshot_damaged");
    assert_eq!(code(&[&other, &one]), "snapshot_damaged");
    let captured = capture(&history.vmm).unwrap();
    let strange = publish(&captured, &Chain::open(&[other.clone()]).unwrap(), &folder.0, "x", id());
    assert_eq!(strange.unwrap_err().code(), "invalid_argument");
    let strange = restore(history.vmm.process, &other, &Chain::open(&[other.clone()]).unwrap());
    assert_eq!(strange.unwrap_err().code(), "invalid_argument");
    let shared = Prepared::new(history.vmm.process, &other);
    assert_eq!(shared.unwrap_err().code(), "invalid_argument");
}

#[test]
fn sn5_a_process_that_ends_says_so() {
    let folder = Folder::new();
    let base = folder.base("0", &vec![7; MEMORY]);
    let chain = Chain::open(&[base.clone()]).unwrap();
    let vmm = Vmm::start(&base, MEMORY, 1);
    vmm.write(0, &[1]);
    let prepared = Prepared::new(vmm.process, &base).unwrap();
    let process = vmm.process;
    drop(vmm);
    assert_eq!(prepared.capture().unwrap_err().code(), "process_gone");
    assert_eq!(Prepared::new(process, &base).unwrap_err().code(), "process_gone");
    assert_eq!(restore(process, &base, &chain).unwrap_err().code(), "process_gone");
}

#[test]
fn sn5_a_full_disk_leaves_the_earlier_generations() {
    let folder = Folder::new();
    let mount = folder.path("small");
    fs::create_dir(&mount).unwrap();
    let small = Mount::small(&mount);
    let mut history = History::new(&folder, vec![7; MEMORY], 1);
    let base = mount.join("base");
    fs::copy(&history.chain[0], &base).unwrap();
    history.chain = vec![base.clone()];
    history.vmm = Vmm::start(&base, MEMORY, 1);
    history.write(0, 10, |i, _| i as u8);
    let captured = capture(&history.vmm).unwrap();
    publish(&captured, &history.open(), &mount, "1", id()).unwrap();
    history.chain.push(mount.join("1"));
    let before = history.oracle.clone();
    history.write(0, BLOCKS, |i, _| (i / 7) as u8 | 1);
    let captured = capture(&history.vmm).unwrap();
    let chain = history.open();
    assert_eq!(
        publish(&captured, &chain, &mount, "2", id()).unwrap_err().code(),
        "no_space"
    );
    assert_eq!(
        publish_flat(&captured, &chain, &mount, "2", id()).unwrap_err().code(),
        "no_space"
    );
    assert_eq!(flatten(&chain, &mount, "2", id()).unwrap_err().code(), "no_space");
    let mut names: Vec<_> = fs::read_dir(&mount)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["1", "base"]);
    same(&content(&history.open()), &before, "the chain");
    verify(&mount.join("1")).unwrap();
    drop(history);
    drop(small);
}

/// A file system of 2 MiB.
struct Mount(PathBuf);

impl Mount {
    fn small(path: &Path) -> Self {
        use rustix::mount::{MountFlags, mount};
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(c"size=2m")).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn sn5_a_name_is_written_by_one_at_a_time_and_taken_over_after_a_crash() {
    use wrenn_addon::snapshot::aside::Aside;
    let folder = Folder::new();
    let one = Aside::new(&folder.0, "x").unwrap();
    assert_eq!(Aside::new(&folder.0, "x").unwrap_err().code(), "locked");
    one.publish(0o400).unwrap();
    fs::write(folder.path(".x.part"), b"left by a crash").unwrap();
    let two = Aside::new(&folder.0, "x").unwrap();
    assert_eq!(two.file().metadata().unwrap().size(), 0);
    drop(two);
    assert!(!folder.path(".x.part").exists());
    assert!(folder.path("x").exists());
    for name in ["", ".", "..", "a/b", "/x", "a/"] {
        assert_eq!(
            Aside::new(&folder.0, name).unwrap_err().code(),
            "invalid_argument",
            "{name}"
        );
    }
}
