//! Where a process has a file mapped.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use crate::{
    failure::{During, Failure, Outcome},
    process::identity::Identity,
};

/// A file in a process's memory, without gaps from its beginning. One mapping may be several areas, where parts of it
/// were advised or protected in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Device and inode of the file.
    pub file: (u64, u64),
    areas: Vec<Area>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// In the process.
    pub address: u64,
    /// In the file.
    pub offset: u64,
    pub length: u64,
}

impl Mapping {
    /// Finds the private mapping of a file, by device and inode: names change, and guests' names lie.
    pub fn find(process: Identity, path: &Path) -> Outcome<Self> {
        let metadata = fs::metadata(path).during(|| format!("looking at {}", path.display()))?;
        let file = (metadata.dev(), metadata.ino());
        let pid = process.pid;
        let maps = match fs::read_to_string(format!("/proc/{pid}/maps")) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
                return Err(Failure::ProcessGone { pid });
            }
            maps => maps.during(|| format!("reading the mappings of process {pid}"))?,
        };
        let mut areas = vec![];
        for line in maps.lines() {
            let parsed = parse(line).ok_or_else(|| io::Error::other(format!("not understood: {line}")));
            let (area, private, inode) = parsed.during(|| format!("reading the mappings of process {pid}"))?;
            if inode == file.1 && is_of(pid, area, file)? {
                if !private {
                    return Err(Failure::invalid(
                        "path",
                        "the process shares it, it has no pages of its own",
                    ));
                }
                areas.push(area);
            }
        }
        areas.sort_by_key(|area| area.offset);
        let mut next = 0;
        for area in &areas {
            if area.offset != next {
                return Err(Failure::invalid("path", "the process has not mapped it once and whole"));
            }
            next += area.length;
        }
        if areas.is_empty() {
            // A process that is ending has no mappings any more.
            return Err(if process.alive()? {
                Failure::invalid("path", "the process has not mapped it")
            } else {
                Failure::ProcessGone { pid }
            });
        }
        Ok(Self { file, areas })
    }

    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    pub fn length(&self) -> u64 {
        self.areas.iter().map(|area| area.length).sum()
    }

    /// Addresses of a part of the file: (address, length) each.
    pub fn addresses(&self, offset: u64, length: u64) -> impl Iterator<Item = (u64, u64)> {
        let end = offset + length;
        self.areas.iter().filter_map(move |area| {
            let (from, to) = (area.offset.max(offset), (area.offset + area.length).min(end));
            (from < to).then(|| (area.address + from - area.offset, to - from))
        })
    }
}

/// The device in `maps` is not what stat says on every file system; the kernel's link to the file is.
fn is_of(pid: i32, area: Area, file: (u64, u64)) -> Outcome<bool> {
    let link = format!(
        "/proc/{pid}/map_files/{:x}-{:x}",
        area.address,
        area.address + area.length
    );
    match fs::metadata(&link) {
        Ok(found) => Ok((found.dev(), found.ino()) == file),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(false),
        Err(error) => Err(error).during(|| format!("looking at {link}")),
    }
}

/// `7f1c-7f2c rw-p 00000000 fd:00 1234   /path`: area, private, inode.
fn parse(line: &str) -> Option<(Area, bool, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let private = words.next()?.ends_with('p');
    let offset = words.next()?;
    let inode = words.nth(1)?.parse().ok()?;
    let address = u64::from_str_radix(start, 16).ok()?;
    let area = Area {
        address,
        offset: u64::from_str_radix(offset, 16).ok()?,
        length: u64::from_str_radix(end, 16).ok()?.checked_sub(address)?,
    };
    Some((area, private, inode))
}
