//! Sparse files: what they really take, and copies that stay sparse.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::Path,
};

use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, fstatvfs, ioctl_ficlone, seek};

use crate::failure::{During, Outcome};

/// Bytes on disk, not the apparent size (FS6).
pub fn allocated_bytes(path: &Path) -> Outcome<u64> {
    let metadata = fs::metadata(path).during(|| format!("looking at {}", path.display()))?;
    Ok(metadata.blocks() * 512)
}

/// Gives a file (made if need be) its first `bytes` for sure: later writes there cannot run out of space. Where the disk
/// has not so much it takes nothing: the kernel would keep what it found, and leave none to anybody else.
pub fn allocate(path: &Path, bytes: u64) -> Outcome<()> {
    let write = || -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let before = file.metadata()?.blocks() * 512;
        let disk = fstatvfs(&file)?;
        if disk.f_bavail * disk.f_frsize < bytes.saturating_sub(before) {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        let allocated = fallocate(&file, FallocateFlags::empty(), 0, bytes);
        if allocated.is_err() && before == 0 {
            // Somebody else was faster.
            let _ = fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, bytes);
        }
        Ok(allocated?)
    };
    write().during(|| format!("allocating {bytes} bytes for {}", path.display()))
}

/// Makes a hole in a file; its size stays.
pub fn punch(path: &Path, offset: u64, bytes: u64) -> Outcome<()> {
    let write = || {
        let file = OpenOptions::new().write(true).open(path)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok::<_, io::Error>(fallocate(&file, flags, offset, bytes)?)
    };
    write().during(|| format!("punching {bytes} bytes at {offset} out of {}", path.display()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Both files share their blocks until one changes.
    Reflink,
    /// The data was copied, the holes were left out.
    Data,
}

/// Copies to a name that must be free; what a failure left of it is removed. Not durable yet: the caller syncs.
pub fn sparse_copy(source: &Path, target: &Path) -> Outcome<Copied> {
    let action = || format!("copying {} to {}", source.display(), target.display());
    let from = File::open(source).during(action)?;
    let mode = from.metadata().during(action)?.mode() & 0o7777;
    let to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(target)
        .during(action)?;
    let copied = match ioctl_ficlone(&to, &from) {
        Ok(()) => Ok(Copied::Reflink),
        // Not this file system, not these two file systems, or not this kind of file.
        Err(
            rustix::io::Errno::OPNOTSUPP
            | rustix::io::Errno::XDEV
            | rustix::io::Errno::INVAL
            | rustix::io::Errno::NOTTY,
        ) => copy_data(&from, &to).map(|()| Copied::Data),
        Err(error) => Err(error.into()),
    };
    if copied.is_err() {
        fs::remove_file(target).during(|| format!("removing {}", target.display()))?;
    }
    copied.during(action)
}

fn copy_data(from: &File, to: &File) -> io::Result<()> {
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut position = 0;
    while position < size {
        let start = match seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break, // only a hole is left
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(start))?;
        copy_range(from, to, start, end)?;
        position = end;
    }
    Ok(())
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let wanted = usize::try_from(end - read_at).unwrap_or(usize::MAX).min(1 << 30);
        let copied = copy_file_range(
            from.as_fd(),
            Some(&mut read_at),
            to.as_fd(),
            Some(&mut write_at),
            wanted,
        );
        let copied = match copied {
            Err(rustix::io::Errno::XDEV) => return copy_bytes(from, to, read_at, end), // between these two file systems
            copied => copied?,
        };
        if copied == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the source became shorter",
            ));
        }
    }
    Ok(())
}

fn copy_bytes(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 20];
    let mut at = start;
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(bytes.len());
        from.read_exact_at(&mut bytes[..length], at)?;
        to.write_all_at(&bytes[..length], at)?;
        at += length as u64;
    }
    Ok(())
}
