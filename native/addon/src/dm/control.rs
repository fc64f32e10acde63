//! The ioctls of /dev/mapper/control (linux/dm-ioctl.h).

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd,
};

const VERSION: libc::Ioctl = 0xc138_fd00;
const LIST_DEVICES: libc::Ioctl = 0xc138_fd02;
const DEV_CREATE: libc::Ioctl = 0xc138_fd03;
const DEV_REMOVE: libc::Ioctl = 0xc138_fd04;
const DEV_SUSPEND: libc::Ioctl = 0xc138_fd06;
const DEV_STATUS: libc::Ioctl = 0xc138_fd07;
const TABLE_LOAD: libc::Ioctl = 0xc138_fd09;
const TABLE_STATUS: libc::Ioctl = 0xc138_fd0c;

const FLAG_SUSPEND: u32 = 1 << 1;
const FLAG_STATUS_TABLE: u32 = 1 << 4;
const FLAG_BUFFER_FULL: u32 = 1 << 8;

/// `struct dm_ioctl`.
const HEADER_BYTES: usize = 312;
const NAME_AT: usize = 48;
const NAME_BYTES: usize = 128;
/// `struct dm_target_spec`.
const TARGET_BYTES: usize = 40;
/// Enough for thousands of devices; more are asked for again with more room.
const FIRST_ROOM: usize = 64 << 10;

/// A stretch of a device and what it is made of. Sizes are sectors of 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub start: u64,
    pub length: u64,
    /// `linear`, `zero`, `snapshot`…
    pub kind: String,
    /// Parameters of a table, or the status that the target reports.
    pub words: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    pub major: u32,
    pub minor: u32,
}

pub fn version() -> io::Result<()> {
    call(VERSION, "", 0, &[]).map(|_| ())
}

/// Names of all devices, of whomever.
pub fn list() -> io::Result<Vec<String>> {
    let answer = call(LIST_DEVICES, "", 0, &[])?;
    let mut names = vec![];
    let mut at = answer.data_start();
    // `struct dm_name_list`: device (8), offset of the next (4), name. A device of number 0 means none.
    while let Some(entry) = answer.bytes.get(at..).filter(|entry| entry.len() >= 12) {
        if entry[..8] == [0; 8] {
            break;
        }
        names.push(text(&entry[12..]));
        match u32::from_ne_bytes(entry[8..12].try_into().expect("four bytes")) {
            0 => break,
            next => at += next as usize,
        }
    }
    Ok(names)
}

/// A device without a table.
pub fn create(name: &str) -> io::Result<Number> {
    call(DEV_CREATE, name, 0, &[]).map(|answer| answer.number())
}

/// `None`: there is no such device.
pub fn number(name: &str) -> io::Result<Option<Number>> {
    match call(DEV_STATUS, name, 0, &[]) {
        Ok(answer) => Ok(Some(answer.number())),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives the table that counts from the next `resume` on.
pub fn load(name: &str, targets: &[Target]) -> io::Result<()> {
    let mut payload = vec![];
    for target in targets {
        let length = (TARGET_BYTES + target.words.len() + 1).next_multiple_of(8);
        let start = payload.len();
        payload.extend(target.start.to_ne_bytes());
        payload.extend(target.length.to_ne_bytes());
        payload.extend(0u32.to_ne_bytes());
        payload.extend((length as u32).to_ne_bytes());
        payload.extend(target.kind.as_bytes());
        payload.resize(start + TARGET_BYTES, 0);
        payload.extend(target.words.as_bytes());
        payload.resize(start + length, 0);
    }
    let mut request = Request::new(name, 0, payload.len())?;
    request.bytes[20..24].copy_from_slice(&(targets.len() as u32).to_ne_bytes());
    request.bytes[HEADER_BYTES..][..payload.len()].copy_from_slice(&payload);
    request.call(TABLE_LOAD).map(|_| ())
}

/// Makes the loaded table count, and I/O go on.
pub fn resume(name: &str) -> io::Result<()> {
    call(DEV_SUSPEND, name, 0, &[]).map(|_| ())
}

/// Holds back I/O; what was under way is through, file systems on it are quiet.
pub fn suspend(name: &str) -> io::Result<()> {
    call(DEV_SUSPEND, name, FLAG_SUSPEND, &[]).map(|_| ())
}

/// Of a device in use: EBUSY.
pub fn remove(name: &str) -> io::Result<()> {
    call(DEV_REMOVE, name, 0, &[]).map(|_| ())
}

/// What each target reports of itself.
pub fn status(name: &str) -> io::Result<Vec<Target>> {
    call(TABLE_STATUS, name, 0, &[])?.targets()
}

/// The table.
pub fn table(name: &str) -> io::Result<Vec<Target>> {
    call(TABLE_STATUS, name, FLAG_STATUS_TABLE, &[])?.targets()
}

struct Request {
    bytes: Vec<u8>,
}

fn call(command: libc::Ioctl, name: &str, flags: u32, payload: &[u8]) -> io::Result<Request> {
    let mut room = FIRST_ROOM;
    loop {
        let mut request = Request::new(name, flags, room)?;
        request.bytes[HEADER_BYTES..][..payload.len()].copy_from_slice(payload);
        let answer = request.call(command)?;
        if answer.word(28) & FLAG_BUFFER_FULL == 0 {
            return Ok(answer);
        }
        room *= 4;
    }
}

impl Request {
    fn new(name: &str, flags: u32, room: usize) -> io::Result<Self> {
        if name.len() >= NAME_BYTES {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut bytes = vec![0; HEADER_BYTES + room];
        let size = bytes.len() as u32;
        // Version 4.0.0 of the interface; size; where the payload begins.
        for (at, word) in [(0, 4), (12, size), (16, HEADER_BYTES as u32), (28, flags)] {
            bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        bytes[NAME_AT..][..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self { bytes })
    }

    fn call(mut self, command: libc::Ioctl) -> io::Result<Self> {
        let control = control()?;
        // SAFETY: the buffer begins with a `struct dm_ioctl` and is as long as that says.
        let result = unsafe { libc::ioctl(control.as_raw_fd(), command, self.bytes.as_mut_ptr()) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(self)
        }
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    fn data_start(&self) -> usize {
        self.word(16) as usize
    }

    /// The kernel's `dev` is of its older format: 12 bits of major, 20 of minor, the minor split.
    fn number(&self) -> Number {
        let device = u64::from_ne_bytes(self.bytes[40..48].try_into().expect("eight bytes")) as u32;
        Number {
            major: (device & 0xf_ff00) >> 8,
            minor: (device & 0xff) | (device >> 12 & 0xf_ff00),
        }
    }

    fn targets(&self) -> io::Result<Vec<Target>> {
        let mut targets = vec![];
        let first = self.data_start();
        let mut at = first;
        for _ in 0..self.word(20) {
            let cut = || io::Error::other("device-mapper's answer is cut");
            let spec = self
                .bytes
                .get(at..)
                .filter(|spec| spec.len() > TARGET_BYTES)
                .ok_or_else(cut)?;
            let long = |from: usize| u64::from_ne_bytes(spec[from..from + 8].try_into().expect("eight bytes"));
            targets.push(Target {
                start: long(0),
                length: long(8),
                kind: text(&spec[24..TARGET_BYTES]),
                words: text(&spec[TARGET_BYTES..]),
            });
            // In answers the offset of the next is from the first.
            at = first + u32::from_ne_bytes(spec[20..24].try_into().expect("four bytes")) as usize;
        }
        Ok(targets)
    }
}

fn control() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/mapper/control")
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
