//! A sandbox's disk (FS1, FS2): device `wrenn-<id>`, what the guest wrote in a file of its own, the rest from the base
//! image. Where the disk is larger than the image, the rest of it reads as zeros from `wrenn-<id>-base`.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use super::{
    control::{self, Number, Target},
    loop_registry::LoopRegistry,
};
use crate::{
    failure::{During, Failure, Outcome},
    files::space::{self, Copied},
    loops::{self, Held},
    snapshot::{aside::Aside, parallel, store::ZEROS},
};

static LOOPS: LazyLock<LoopRegistry> = LazyLock::new(LoopRegistry::default);

const PREFIX: &str = "wrenn-";
const BASE_SUFFIX: &str = "-base";
const SECTOR: u64 = 512;
/// 4 KiB in sectors: what the guest's file system writes at a time.
const CHUNK_SECTORS: u64 = 8;
/// A chunk of the copy-on-write file describes 256 others, and it begins with a header.
const CHUNKS_PER_AREA: u64 = 256;
const SLACK_BYTES: u64 = 1 << 20;
/// How long a device may be in use after its VM is gone: udev looks at it, the kernel writes back.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(20);
const COPY_UNIT: u64 = 4 << 20;
const BLKGETSIZE64: libc::Ioctl = 0x8008_1272;
/// Of a flattened image.
const IMAGE_MODE: u32 = 0o644;

pub struct Disk {
    pub id: String,
    pub base: PathBuf,
    pub cow: PathBuf,
    /// Of the disk, as the guest sees it.
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub device: PathBuf,
    pub number: Number,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub made: Made,
    pub bytes: u64,
    /// Of the copy-on-write device, metadata included.
    pub used_bytes: u64,
    pub cow_bytes: u64,
    /// Why the guest's writes are lost from now on, in the kernel's word: `Invalid`, `Overflow`. `None`: all is well.
    pub broken: Option<String>,
}

/// A new disk: the copy-on-write file must not be there yet.
pub fn create(disk: &Disk) -> Outcome<Made> {
    let name = name_of(&disk.id)?;
    if disk.bytes == 0 || !disk.bytes.is_multiple_of(CHUNK_SECTORS * SECTOR) {
        return Err(Failure::invalid("bytes", "it is not a multiple of 4096"));
    }
    let action = || format!("making {}", disk.cow.display());
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&disk.cow)
        .during(action)?;
    let made = file
        .set_len(cow_bytes(disk.bytes))
        .during(action)
        .and_then(|()| set_up(&name, disk));
    if made.is_err() {
        let _ = fs::remove_file(&disk.cow);
    }
    made
}

/// A disk that was removed, or belonged to a machine that was off: the same file again.
pub fn restore(disk: &Disk) -> Outcome<Made> {
    let name = name_of(&disk.id)?;
    let found = fs::metadata(&disk.cow).during(|| format!("looking at {}", disk.cow.display()))?;
    if found.len() != cow_bytes(disk.bytes) {
        return Err(Failure::invalid(
            "bytes",
            "the copy-on-write file is of a disk of another size",
        ));
    }
    set_up(&name, disk)
}

/// Takes the devices away, the files stay. An absent one is fine. The VM must be gone; `busy` after 10 s.
pub fn remove(id: &str) -> Outcome<()> {
    let name = name_of(id)?;
    remove_patiently(&name)?;
    remove_patiently(&(name + BASE_SUFFIX))
}

/// `None`: there is no such disk.
pub fn status(id: &str) -> Outcome<Option<Status>> {
    let name = name_of(id)?;
    let action = || format!("looking at {name}");
    let Some(number) = control::number(&name).during(action)? else {
        return Ok(None);
    };
    let targets = control::status(&name).during(action)?;
    let [target] = &targets[..] else {
        return Err(io::Error::other(format!("it has {} targets", targets.len()))).during(action);
    };
    let fill = parse_fill(&target.words);
    let (used, all) = fill.unwrap_or((0, 0));
    Ok(Some(Status {
        made: made(number),
        bytes: target.length * SECTOR,
        used_bytes: used * SECTOR,
        cow_bytes: all * SECTOR,
        broken: fill.is_none().then(|| target.words.clone()),
    }))
}

/// Ids of all disks that are set up, of whichever agent.
pub fn list() -> Outcome<Vec<String>> {
    let names = control::list().during(|| "listing devices".to_owned())?;
    let ids = names
        .iter()
        .filter_map(|name| name.strip_prefix(PREFIX))
        .filter(|id| !id.ends_with(BASE_SUFFIX));
    Ok(ids.map(str::to_owned).collect())
}

/// Writes what the guest sees as a sparse file of its own, durable under its name. Nobody may write to the disk
/// meanwhile.
pub fn flatten(id: &str, folder: &Path, name: &str) -> Outcome<PathBuf> {
    let device = status(id)?.ok_or_else(|| missing(id))?;
    if let Some(why) = device.broken {
        return Err(io::Error::other(why)).during(|| format!("flattening disk {id}"));
    }
    let action = || format!("flattening disk {id}");
    let source = File::open(&device.made.device).during(action)?;
    let aside = Aside::new(folder, name)?;
    aside.file().set_len(device.bytes).during(action)?;
    let units = device.bytes.div_ceil(COPY_UNIT) as usize;
    parallel::each(
        units,
        || vec![0; COPY_UNIT as usize],
        |buffer, unit| {
            let start = unit as u64 * COPY_UNIT;
            let bytes = &mut buffer[..(device.bytes - start).min(COPY_UNIT) as usize];
            source.read_exact_at(bytes, start).during(action)?;
            write_sparse(aside.file(), bytes, start).during(action)
        },
    )?;
    aside.publish(IMAGE_MODE)
}

/// A second copy-on-write file, as the disk is at this moment (for `restore` of another id). The guest's writes wait
/// meanwhile.
pub fn branch(id: &str, cow: &Path, copy: &Path) -> Outcome<Copied> {
    let name = name_of(id)?;
    let action = || format!("branching disk {id}");
    control::suspend(&name).during(action)?;
    let copied = space::sparse_copy(cow, copy);
    let resumed = control::resume(&name).during(action);
    let copied = copied?;
    resumed?;
    File::open(copy).and_then(|file| file.sync_all()).during(action)?;
    Ok(copied)
}

fn set_up(name: &str, disk: &Disk) -> Outcome<Made> {
    let base = LOOPS.acquire(&disk.base)?;
    let cow = loops::attach_held(&disk.cow, false)?;
    let origin_name = format!("{name}{BASE_SUFFIX}");
    let outcome = base_device(&origin_name, &base, disk).and_then(|origin| {
        let words = format!("{} {} P {CHUNK_SECTORS}", words(origin), words(number_of(&cow)?));
        activate(
            name,
            &[Target {
                start: 0,
                length: disk.bytes / SECTOR,
                kind: "snapshot".to_owned(),
                words,
            }],
        )
    });
    if outcome
        .as_ref()
        .is_err_and(|failure| failure.code() != "already_exists")
    {
        // Whatever stays is told by `list`.
        let _ = remove_patiently(name);
        let _ = remove_patiently(&origin_name);
    }
    outcome.map(made)
}

/// What the disk is a snapshot of: the image's loop device, or with zeros behind it.
fn base_device(name: &str, base: &Held, disk: &Disk) -> Outcome<Number> {
    let mut bytes = 0u64;
    // SAFETY: BLKGETSIZE64 writes one word.
    let result = unsafe { libc::ioctl(base.node.as_raw_fd(), BLKGETSIZE64, &mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error()).during(|| format!("looking at {}", base.device.display()));
    }
    let (image, all) = (bytes / SECTOR, disk.bytes / SECTOR);
    let number = number_of(base)?;
    if image > all {
        return Err(Failure::invalid("bytes", "the disk is smaller than its base image"));
    }
    if image == all {
        return Ok(number);
    }
    let target = |start, length, kind: &str, words| Target {
        start,
        length,
        kind: kind.to_owned(),
        words,
    };
    let targets = [
        target(0, image, "linear", format!("{} 0", words(number))),
        target(image, all - image, "zero", String::new()),
    ];
    activate(name, &targets)
}

fn activate(name: &str, targets: &[Target]) -> Outcome<Number> {
    let action = || format!("setting up {name}");
    let number = control::create(name).map_err(|error| match error.raw_os_error() {
        // Device-mapper's word for a name that is taken.
        Some(libc::EBUSY) => io::Error::from_raw_os_error(libc::EEXIST),
        _ => error,
    });
    let number = number.during(action)?;
    let outcome = control::load(name, targets)
        .and_then(|()| control::resume(name))
        .during(action);
    if outcome.is_err() {
        remove_patiently(name)?;
    }
    outcome.map(|()| number)
}

fn remove_patiently(name: &str) -> Outcome<()> {
    let begun = Instant::now();
    loop {
        match control::remove(name) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && begun.elapsed() < BUSY_LIMIT => {
                // Nothing tells when a device is closed.
                thread::sleep(BUSY_PAUSE);
            }
            Err(error) => return Err(error).during(|| format!("removing {name}")),
        }
    }
}

fn name_of(id: &str) -> Outcome<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > 100 || id.ends_with(BASE_SUFFIX) || !id.bytes().all(plain) {
        return Err(Failure::invalid("id", "it is not a plain name"));
    }
    Ok(format!("{PREFIX}{id}"))
}

fn made(number: Number) -> Made {
    Made {
        device: PathBuf::from(format!("/dev/dm-{}", number.minor)),
        number,
    }
}

fn number_of(held: &Held) -> Outcome<Number> {
    let metadata = held
        .node
        .metadata()
        .during(|| format!("looking at {}", held.device.display()))?;
    Ok(Number {
        major: libc::major(metadata.rdev()),
        minor: libc::minor(metadata.rdev()),
    })
}

fn words(number: Number) -> String {
    format!("{}:{}", number.major, number.minor)
}

/// So large that a guest that writes all of its disk does not fill it.
fn cow_bytes(disk_bytes: u64) -> u64 {
    let chunk = CHUNK_SECTORS * SECTOR;
    disk_bytes + (disk_bytes / chunk).div_ceil(CHUNKS_PER_AREA) * chunk + SLACK_BYTES
}

/// `<used>/<all> <metadata>` in sectors.
fn parse_fill(words: &str) -> Option<(u64, u64)> {
    let (used, rest) = words.split_once('/')?;
    let all = rest.split(' ').next()?;
    Some((used.parse().ok()?, all.parse().ok()?))
}

fn write_sparse(file: &File, bytes: &[u8], start: u64) -> io::Result<()> {
    for (i, block) in bytes.chunks(ZEROS.len()).enumerate() {
        if block != &ZEROS[..block.len()] {
            file.write_all_at(block, start + (i * ZEROS.len()) as u64)?;
        }
    }
    Ok(())
}

fn missing(id: &str) -> Failure {
    Failure::System {
        action: format!("looking at disk {id}"),
        source: io::Error::from_raw_os_error(libc::ENOENT),
    }
}
