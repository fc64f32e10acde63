//! Disks as device-mapper snapshots (FS1, FS2, FS4). As root, on a kernel that has device-mapper; elsewhere skipped.
//! Can be run alone on another machine: the program needs nothing but a folder (`TMPDIR`).

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use wrenn_addon::{
    dm::{
        control,
        snapshot::{Disk, Made, branch, create, flatten, list, remove, restore, status},
    },
    files::space::allocated_bytes,
    loops,
};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 4096;

/// False, and says why, where this cannot run.
fn can_run() -> bool {
    match control::version() {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: no device-mapper here: {error}");
            false
        }
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "wrenn-dm-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// An image whose every block has its number.
    fn image(&self, bytes: u64) -> PathBuf {
        let path = self.0.join("image");
        let blocks = (0..bytes / BLOCK).flat_map(|block| block.to_le_bytes().repeat(BLOCK as usize / 8));
        fs::write(&path, blocks.collect::<Vec<u8>>()).unwrap();
        path
    }

    fn disk(&self, name: &str, bytes: u64) -> Disk {
        Disk {
            id: format!("test-{}-{name}", std::process::id()),
            base: self.0.join("image"),
            cow: self.0.join(format!("{name}.cow")),
            bytes,
        }
    }

    fn loops(&self) -> Vec<String> {
        let ours = self.0.display().to_string();
        let all = loops::list().unwrap().into_iter().map(|device| device.backing_file);
        all.filter(|file| file.starts_with(&ours)).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn open(made: &Made) -> File {
    OpenOptions::new().read(true).write(true).open(&made.device).unwrap()
}

fn write(file: &File, block: u64, fill: u8) {
    file.write_all_at(&[fill; BLOCK as usize], block * BLOCK).unwrap();
}

fn first(file: &File, block: u64) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, block * BLOCK).unwrap();
    u64::from_le_bytes(word)
}

#[test]
fn fs1_fs2_disks_of_one_image_share_its_loop_and_keep_what_was_written() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    folder.image(8 * MIB);
    let (one, two) = (folder.disk("one", 8 * MIB), folder.disk("two", 8 * MIB));
    let made = create(&one).unwrap();
    let other = create(&two).unwrap();
    assert_ne!(made, other);
    // One for the image, one for each of the two files.
    assert_eq!(folder.loops().len(), 3, "{:?}", folder.loops());
    assert_eq!(create(&one).unwrap_err().code(), "already_exists");
    let disk = open(&made);
    assert_eq!(first(&disk, 100), 100);
    write(&disk, 100, 9);
    disk.sync_all().unwrap();
    assert_eq!(first(&disk, 100), 0x0909_0909_0909_0909);
    assert_eq!(first(&open(&other), 100), 100);
    let listed = list().unwrap();
    assert!(listed.contains(&one.id) && listed.contains(&two.id), "{listed:?}");
    drop(disk);

    remove(&one.id).unwrap();
    remove(&one.id).expect("an absent one is fine");
    assert_eq!(status(&one.id).unwrap(), None);
    assert_eq!(folder.loops().len(), 2);
    let again = open(&restore(&one).unwrap());
    assert_eq!(first(&again, 100), 0x0909_0909_0909_0909);
    assert_eq!(first(&again, 101), 101);
    drop(again);
    for disk in [&one, &two] {
        remove(&disk.id).unwrap();
    }
    assert!(folder.loops().is_empty(), "{:?}", folder.loops());
    assert!(!list().unwrap().contains(&one.id));
    assert_eq!(fs::read(&one.base).unwrap().len() as u64, 8 * MIB);
}

#[test]
fn fs4_a_disk_larger_than_its_image_reads_zeros_behind_it_and_says_how_full_it_is() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    folder.image(4 * MIB);
    let disk = folder.disk("large", 64 * MIB);
    assert_eq!(
        create(&folder.disk("small", 2 * MIB)).unwrap_err().code(),
        "invalid_argument"
    );
    let made = create(&disk).unwrap();
    let device = open(&made);
    assert_eq!(first(&device, 1), 1);
    assert_eq!(first(&device, 16_000), 0);
    let before = status(&disk.id).unwrap().unwrap();
    assert_eq!((before.bytes, before.broken.clone()), (64 * MIB, None));
    for block in 0..1000 {
        write(&device, block * 16, 7);
    }
    device.sync_all().unwrap();
    let after = status(&disk.id).unwrap().unwrap();
    assert!(
        after.used_bytes >= before.used_bytes + 1000 * BLOCK,
        "{before:?} {after:?}"
    );
    // Written whole it still fits.
    for block in 0..64 * MIB / BLOCK {
        write(&device, block, 3);
    }
    device.sync_all().unwrap();
    let full = status(&disk.id).unwrap().unwrap();
    assert_eq!(full.broken, None);
    assert!(full.used_bytes > 64 * MIB && full.used_bytes < full.cow_bytes);
    drop(device);
    remove(&disk.id).unwrap();
    assert!(folder.loops().is_empty());
}

#[test]
fn fs2_flatten_gives_what_the_guest_sees_sparse() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    folder.image(4 * MIB);
    let disk = folder.disk("flat", 32 * MIB);
    let device = open(&create(&disk).unwrap());
    write(&device, 5, 0);
    write(&device, 6, 8);
    write(&device, 7000, 9);
    device.sync_all().unwrap();
    drop(device);
    let path = flatten(&disk.id, &folder.0, "flat.img").unwrap();
    let image = File::open(&path).unwrap();
    assert_eq!(image.metadata().unwrap().len(), 32 * MIB);
    let expected = [
        (4, 4),
        (5, 0),
        (6, 0x0808_0808_0808_0808),
        (7, 7),
        (6999, 0),
        (7000, 0x0909_0909_0909_0909),
    ];
    for (block, word) in expected {
        assert_eq!(first(&image, block), word, "block {block}");
    }
    assert!(allocated_bytes(&path).unwrap() < 5 * MIB);
    assert_eq!(flatten("none-such", &folder.0, "x").unwrap_err().code(), "not_found");
    remove(&disk.id).unwrap();
}

#[test]
fn fs2_a_branch_has_what_was_written_before_it() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    folder.image(4 * MIB);
    let (parent, child) = (folder.disk("parent", 8 * MIB), folder.disk("child", 8 * MIB));
    let device = open(&create(&parent).unwrap());
    write(&device, 9, 1);
    branch(&parent.id, &parent.cow, &child.cow).unwrap();
    write(&device, 9, 2);
    device.sync_all().unwrap();
    let branched = open(&restore(&child).unwrap());
    assert_eq!(first(&branched, 9), 0x0101_0101_0101_0101);
    write(&branched, 10, 5);
    branched.sync_all().unwrap();
    assert_eq!(first(&device, 9), 0x0202_0202_0202_0202);
    assert_eq!(first(&device, 10), 10);
    drop((device, branched));
    remove(&parent.id).unwrap();
    remove(&child.id).unwrap();
    assert!(folder.loops().is_empty());
}

#[test]
fn fs2_a_device_in_use_is_removed_once_it_is_let_go() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    folder.image(4 * MIB);
    let disk = folder.disk("busy", 4 * MIB);
    let device = open(&create(&disk).unwrap());
    let id = disk.id.clone();
    let removing = thread::spawn(move || remove(&id));
    // It is refused while the device is open, and tried again.
    while control::remove(&format!("wrenn-{}", disk.id))
        .unwrap_err()
        .raw_os_error()
        != Some(libc::EBUSY)
    {}
    drop(device);
    removing.join().unwrap().unwrap();
    assert_eq!(status(&disk.id).unwrap(), None);
}

#[test]
fn fs1_what_cannot_be_made_leaves_nothing() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    let disk = folder.disk("none", 4 * MIB);
    assert_eq!(create(&disk).unwrap_err().code(), "not_found", "no image");
    assert!(!disk.cow.exists());
    folder.image(4 * MIB);
    assert_eq!(restore(&disk).unwrap_err().code(), "not_found", "no copy-on-write file");
    for id in ["", "../x", "a b", "x-base"] {
        let bad = Disk {
            id: id.to_owned(),
            ..folder.disk("x", 4 * MIB)
        };
        assert_eq!(create(&bad).unwrap_err().code(), "invalid_argument", "{id}");
    }
    create(&disk).unwrap();
    remove(&disk.id).unwrap();
    // A file of another size is not this disk's.
    let other = Disk {
        bytes: 8 * MIB,
        ..folder.disk("none", 0)
    };
    assert_eq!(restore(&other).unwrap_err().code(), "invalid_argument");
    assert!(folder.loops().is_empty());
}
