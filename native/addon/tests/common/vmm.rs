//! A second process that has a file mapped privately, as a VMM has its guest's memory. The test is its guest.
#![allow(dead_code, reason = "each program uses some of it")]

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    ptr,
};

use wrenn_addon::{process::identity::Identity, snapshot::mapping::Mapping};

pub struct Vmm {
    pub process: Identity,
    pub path: PathBuf,
    mapping: Mapping,
    memory: File,
}

impl Vmm {
    /// Maps the first `length` bytes. `areas`: in how many areas the kernel keeps them.
    pub fn start(path: &Path, length: usize, areas: usize) -> Self {
        let file = File::open(path).unwrap();
        let mut ends = [0; 2];
        // SAFETY: two new descriptors.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        let parent = std::process::id().cast_signed();
        // SAFETY: the child only makes system calls.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: system calls on our own memory; nothing of the parent's other threads is touched.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // It may have died before it was asked to tell.
                if libc::getppid() != parent {
                    libc::_exit(1);
                }
                let protection = libc::PROT_READ | libc::PROT_WRITE;
                let start = libc::mmap(
                    ptr::null_mut(),
                    length,
                    protection,
                    libc::MAP_PRIVATE,
                    file.as_raw_fd(),
                    0,
                );
                for area in (0..areas).skip(1).step_by(2) {
                    let part = length / areas;
                    libc::madvise(start.add(area * part), part, libc::MADV_DONTFORK);
                }
                libc::write(ends[1], b"r".as_ptr().cast(), 1);
                loop {
                    libc::pause();
                }
            }
        }
        assert!(pid > 0, "{}", io::Error::last_os_error());
        let mut byte = 0u8;
        // SAFETY: one byte is ours to write to; the descriptors are closed once.
        unsafe {
            assert_eq!(libc::read(ends[0], (&raw mut byte).cast(), 1), 1);
            libc::close(ends[0]);
            libc::close(ends[1]);
        }
        let process = Identity::of(pid).unwrap().unwrap();
        Self {
            process,
            path: path.to_owned(),
            mapping: Mapping::find(process, path).unwrap(),
            memory: OpenOptions::new()
                .read(true)
                .write(true)
                .open(format!("/proc/{pid}/mem"))
                .unwrap(),
        }
    }

    pub fn areas(&self) -> usize {
        self.mapping.areas().len()
    }

    pub fn addresses(&self) -> Vec<std::ops::Range<u64>> {
        let areas = self.mapping.areas().iter();
        areas.map(|area| area.address..area.address + area.length).collect()
    }

    pub fn write(&self, offset: u64, mut bytes: &[u8]) {
        for (address, length) in self.mapping.addresses(offset, bytes.len() as u64) {
            self.memory.write_all_at(&bytes[..length as usize], address).unwrap();
            bytes = &bytes[length as usize..];
        }
    }

    pub fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let mut out = vec![];
        for (address, length) in self.mapping.addresses(offset, length) {
            let start = out.len();
            out.resize(start + length as usize, 0);
            self.memory.read_exact_at(&mut out[start..], address).unwrap();
        }
        out
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.process.kill(libc::SIGKILL).unwrap();
        // SAFETY: our own child, waited for once.
        unsafe { libc::waitpid(self.process.pid, ptr::null_mut(), 0) };
    }
}
