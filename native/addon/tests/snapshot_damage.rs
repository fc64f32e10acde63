//! Snapshots that are damaged, do not belong together, or cannot be written: each is refused, nothing is lost (SN5). As root.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use wrenn_addon::snapshot::{
    capture::Prepared,
    chain::Chain,
    flatten::flatten,
    generation::Generation,
    publish::{publish, publish_flat},
    restore::restore,
    verify::verify,
};

#[path = "common/folder.rs"]
mod folder;
#[path = "common/history.rs"]
mod history;
#[path = "common/vmm.rs"]
mod vmm;
use history::{BLOCK, BLOCKS, Folder, History, MEMORY, capture, content, id, same};
use vmm::Vmm;

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
