//! The root file system fills its disk (FS4): a sandbox may have asked for a larger one than the image.

use crate::report::{Doing, Failure};
use std::{
    fs::File,
    io::{Seek, SeekFrom},
    os::{fd::AsRawFd, unix::fs::FileExt},
};

const DISK: &str = "/dev/vda";
/// `EXT4_IOC_RESIZE_FS` of linux/fs/ext4/ext4.h: `_IOW('f', 16, __u64)`, the new size in blocks.
const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;
/// Offsets in the ext4 superblock, which starts 1024 bytes into the device.
const SUPERBLOCK: u64 = 1024;
const BLOCKS_LOW: usize = 0x4;
const LOG_BLOCK_SIZE: usize = 0x18;
const BLOCKS_HIGH: usize = 0x150;

/// Grows the mounted root file system to the size of the device. Costs one read when there is nothing to do.
pub fn grow_root() -> Result<(), Failure> {
    let mut disk = File::open(DISK).doing("opening the disk")?;
    let bytes = disk.seek(SeekFrom::End(0)).doing("size of the disk")?;
    let mut superblock = [0_u8; 1024];
    disk.read_exact_at(&mut superblock, SUPERBLOCK)
        .doing("reading the superblock")?;
    let (block_size, used) = geometry(&superblock);
    let wanted = bytes / block_size;
    if wanted <= used {
        return Ok(());
    }
    let root = File::open("/").doing("opening /")?;
    // SAFETY: the descriptor is open, and the kernel reads one u64 from the pointer, which outlives the call.
    let answer = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_RESIZE_FS, &raw const wanted) };
    if answer == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error()).doing("growing the root file system")
    }
}

/// Block size in bytes, and size of the file system in blocks.
fn geometry(superblock: &[u8; 1024]) -> (u64, u64) {
    let word = |at: usize| {
        u32::from_le_bytes([
            superblock[at],
            superblock[at + 1],
            superblock[at + 2],
            superblock[at + 3],
        ])
    };
    let blocks = u64::from(word(BLOCKS_HIGH)) << 32 | u64::from(word(BLOCKS_LOW));
    (1024 << word(LOG_BLOCK_SIZE), blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fs4_reads_the_size_of_a_file_system() {
        let mut superblock = [0_u8; 1024];
        superblock[BLOCKS_LOW..BLOCKS_LOW + 4].copy_from_slice(&5_242_880_u32.to_le_bytes());
        superblock[LOG_BLOCK_SIZE] = 2;
        superblock[BLOCKS_HIGH] = 1;
        assert_eq!(geometry(&superblock), (4096, (1 << 32) + 5_242_880));
    }
}
