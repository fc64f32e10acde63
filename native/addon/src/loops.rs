//! Loop devices (FS1, FS3), straight through the kernel's control node.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use crate::failure::{During, Failure, Outcome};

// linux/loop.h
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LOOP_CLR_FD: libc::Ioctl = 0x4c01;
const LOOP_GET_STATUS64: libc::Ioctl = 0x4c05;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// How often another program may take the free device before us.
const TRIES: usize = 64;

#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
struct LoopConfig {
    descriptor: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

#[derive(Debug, PartialEq, Eq)]
pub struct LoopDevice {
    pub device: PathBuf,
    /// As the kernel names it: ` (deleted)` behind a file that has no name any more.
    pub backing_file: String,
}

/// A device that goes when its last user does: this, a mount, or a device made of it.
#[derive(Debug)]
pub struct Held {
    pub device: PathBuf,
    pub node: File,
}

/// Makes a file a block device. It stays until it is detached, also after we end.
pub fn attach(file: &Path, readonly: bool) -> Outcome<PathBuf> {
    let flags = if readonly { LO_FLAGS_READ_ONLY } else { 0 };
    Ok(attach_with(file, readonly, flags)?.device)
}

/// Makes a file a block device for as long as somebody uses it.
pub fn attach_held(file: &Path, readonly: bool) -> Outcome<Held> {
    let flags = LO_FLAGS_AUTOCLEAR | if readonly { LO_FLAGS_READ_ONLY } else { 0 };
    attach_with(file, readonly, flags)
}

/// Opens a held device that has this file (device and inode) and is only read. `None`: there is none.
pub fn find_held(file: (u64, u64)) -> Outcome<Option<Held>> {
    for LoopDevice { device, .. } in list()? {
        let Ok(node) = File::open(&device) else { continue };
        // Asked after it was opened: as long as that is, it stays.
        let shared = status(&node).is_some_and(|info| {
            let flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
            (info.device, info.inode) == file && info.offset == 0 && info.flags & flags == flags
        });
        if shared {
            return Ok(Some(Held { device, node }));
        }
    }
    Ok(None)
}

/// `None`: it has no file.
fn status(node: &File) -> Option<LoopInfo> {
    // SAFETY: all-zero is a valid `LoopInfo`.
    let mut info: LoopInfo = unsafe { std::mem::zeroed() };
    // SAFETY: `info` has the kernel's layout and outlives the call.
    let result = unsafe { libc::ioctl(node.as_raw_fd(), LOOP_GET_STATUS64, &mut info) };
    (result == 0).then_some(info)
}

fn attach_with(file: &Path, readonly: bool, flags: u32) -> Outcome<Held> {
    let action = || format!("attaching {} to a loop device", file.display());
    let backing = OpenOptions::new()
        .read(true)
        .write(!readonly)
        .open(file)
        .during(action)?;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control");
    let control = control.during(|| "opening /dev/loop-control".to_owned())?;
    for _ in 0..TRIES {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument.
        let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) }).during(action)?;
        let device = PathBuf::from(format!("/dev/loop{number}"));
        match configure(&device, &backing, readonly, flags) {
            Ok(node) => return Ok(Held { device, node }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {} // another was faster
            Err(error) => return Err(error).during(action),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY)).during(action)
}

fn configure(device: &Path, backing: &File, readonly: bool, flags: u32) -> io::Result<File> {
    let node = OpenOptions::new().read(true).write(!readonly).open(device)?;
    // SAFETY: all-zero is a valid `LoopConfig`: no offset, no limit, not cleared by itself.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.descriptor = backing.as_raw_fd().cast_unsigned();
    config.info.flags = flags;
    // SAFETY: `config` has the kernel's layout and outlives the call; both descriptors are open.
    check(unsafe { libc::ioctl(node.as_raw_fd(), LOOP_CONFIGURE, &config) }).map(|_| node)
}

/// Takes the file away from a device; one that has none, or is not there, is fine. While it is mounted or open the
/// kernel waits with it for the last user.
pub fn detach(device: &Path) -> Outcome<()> {
    let number = device
        .to_str()
        .and_then(|name| name.strip_prefix("/dev/loop"))
        .and_then(|number| number.parse::<u32>().ok());
    if number.is_none() {
        return Err(Failure::invalid(
            "device",
            format!("{} is no loop device", device.display()),
        ));
    }
    let node = match File::open(device) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO)) => return Ok(()),
        node => node.during(|| format!("opening {}", device.display()))?,
    };
    // SAFETY: LOOP_CLR_FD takes no argument.
    match check(unsafe { libc::ioctl(node.as_raw_fd(), LOOP_CLR_FD) }) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
        outcome => outcome.map(|_| ()).during(|| format!("detaching {}", device.display())),
    }
}

/// The devices that have a file, of whomever.
pub fn list() -> Outcome<Vec<LoopDevice>> {
    let mut found = vec![];
    for entry in fs::read_dir("/sys/block")
        .during(|| "listing /sys/block".to_owned())?
        .flatten()
    {
        let name = entry.file_name();
        if let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) {
            found.push(LoopDevice {
                device: Path::new("/dev").join(name),
                backing_file: file.trim_end_matches('\n').to_owned(),
            });
        }
    }
    found.sort_by(|one, other| one.device.cmp(&other.device));
    Ok(found)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
