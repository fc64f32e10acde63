//! Files, loop devices and probes against this machine's kernel, as root.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use wrenn_addon::{
    files::{
        lock::{Lock, sync_folder},
        space::{allocate, allocated_bytes, punch, sparse_copy},
    },
    loops, probe,
};

const MIB: u64 = 1 << 20;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("wrenn-storage-{}-{name}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    folder
}

#[test]
fn fs6_sparse_files_stay_sparse() {
    let folder = folder("sparse");
    let (source, copy) = (folder.join("source"), folder.join("copy"));
    let mut file = File::create(&source).unwrap();
    file.set_len(64 * MIB).unwrap();
    file.seek(SeekFrom::Start(32 * MIB)).unwrap();
    file.write_all(&vec![5; 100_000]).unwrap();
    file.sync_all().unwrap();
    sparse_copy(&source, &copy).unwrap();
    assert!(fs::read(&copy).unwrap() == fs::read(&source).unwrap(), "the same bytes");
    File::open(&copy).unwrap().sync_all().unwrap();
    assert!(allocated_bytes(&copy).unwrap() < MIB);
    assert_eq!(sparse_copy(&source, &copy).unwrap_err().code(), "already_exists");
    assert_eq!(
        sparse_copy(&folder.join("none"), &copy).unwrap_err().code(),
        "not_found"
    );

    let full = folder.join("full");
    allocate(&full, 4 * MIB).unwrap();
    assert!(allocated_bytes(&full).unwrap() >= 4 * MIB);
    punch(&full, MIB, 2 * MIB).unwrap();
    assert!(allocated_bytes(&full).unwrap() < 3 * MIB);
    assert_eq!(fs::metadata(&full).unwrap().len(), 4 * MIB);
    sync_folder(&folder).unwrap();
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_lock_ends_with_its_holder_and_is_not_inherited() {
    let folder = folder("lock");
    let path = folder.join("lock");
    let lock = Lock::take(&path).unwrap();
    assert_eq!(Lock::take(&path).unwrap_err().code(), "locked");
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    drop(lock);
    // The kernel probes of the test beside this one fork without a program, and hold what we hold while they last.
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = Lock::take(&path) {
        assert!(Instant::now() < deadline, "a child that lives on holds it: {error:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn fs1_a_file_becomes_a_block_device_and_a_file_again() {
    let folder = folder("loop");
    let image = folder.join("image");
    fs::write(&image, vec![9; MIB as usize]).unwrap();
    let device = loops::attach(&image, false).unwrap();
    let readonly = loops::attach(&image, true).unwrap();
    assert_ne!(device, readonly);
    let listed = loops::list().unwrap();
    let name = fs::canonicalize(&image).unwrap().display().to_string();
    assert!(
        listed
            .iter()
            .any(|each| each.device == device && each.backing_file == name),
        "{listed:?}"
    );
    let mut byte = [0];
    File::open(&readonly).unwrap().read_exact(&mut byte).unwrap();
    assert_eq!(byte, [9]);
    assert!(
        File::options()
            .write(true)
            .open(&readonly)
            .and_then(|mut file| file.write_all(&[1]))
            .is_err()
    );
    for device in [&device, &readonly] {
        loops::detach(device).unwrap();
        loops::detach(device).expect("detached already is fine");
    }
    assert!(
        !loops::list()
            .unwrap()
            .iter()
            .any(|each| each.backing_file.contains(&name))
    );
    assert_eq!(
        loops::attach(&folder.join("none"), false).unwrap_err().code(),
        "not_found"
    );
    assert_eq!(loops::detach(&image).unwrap_err().code(), "invalid_argument");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn ag7_probes_come_back_with_words() {
    let found = probe::probe();
    let named = [
        ("kvm", &found.kvm),
        ("userfaultfd", &found.userfaultfd),
        ("pagemap_scan", &found.pagemap_scan),
        ("namespaces", &found.namespaces),
        ("nftables", &found.nftables),
        ("device_mapper", &found.device_mapper),
        ("loop_devices", &found.loop_devices),
    ];
    for (name, finding) in named {
        println!("{name}: {finding:?}");
        assert!(finding.as_ref().err().is_none_or(|why| !why.is_empty()));
    }
    // Where these do not work no other test here passes either.
    assert!(found.namespaces.is_ok() && found.nftables.is_ok() && found.loop_devices.is_ok());
}
