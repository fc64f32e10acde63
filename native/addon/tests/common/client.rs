//! A second process that has its memory served as Firecracker has: it does the handshake, and then what it is told.
#![allow(dead_code, reason = "each program uses some of it")]

use std::{
    io,
    os::{fd::RawFd, unix::ffi::OsStrExt},
    path::Path,
    ptr,
};

use wrenn_addon::process::identity::Identity;

const BLOCK: usize = 4096;
const UFFDIO_API: libc::Ioctl = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00;
const EVENT_REMOVE: u64 = 1 << 3;

#[derive(Clone, Copy)]
pub enum Act {
    /// Reads a block: its first and last word must be these.
    Touch(u32, u64, u64),
    /// Overwrites a block with a word.
    Write(u32, u64),
    /// Gives so many blocks back (madvise).
    Remove(u32, u32),
    /// Waits for `go`.
    Wait,
}

/// Where the message differs from a right one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    None,
    /// One block less than it has.
    Size,
    NoJson,
    /// A pipe instead of a userfaultfd.
    Descriptor,
    NoDescriptor,
    /// In two pieces, with a wait between.
    Pieces,
}

pub struct Client {
    pub process: Identity,
    go: RawFd,
    waited: bool,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was as it should be.
    Right,
    /// The number of the act that was not.
    Wrong(i32),
    Signal(i32),
}

impl Client {
    /// Waits for `go` before it connects to the socket. Its memory is in two parts, the later one at the lower address.
    pub fn start(socket: &Path, blocks: usize, acts: &[Act], lie: Lie) -> Self {
        let memory = blocks * BLOCK;
        // SAFETY: a new anonymous mapping anywhere, for the child; here it is only an address.
        let start = unsafe {
            let (protection, flags) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            );
            libc::mmap(ptr::null_mut(), memory, protection, flags, -1, 0)
        } as usize;
        // The first part of the guest's memory lies behind the rest.
        let first = blocks / 3 * BLOCK;
        let (low, high) = (start, start + memory - first);
        let address = |block: u32| {
            let offset = block as usize * BLOCK;
            if offset < first {
                high + offset
            } else {
                low + offset - first
            }
        };
        let size = if lie == Lie::Size {
            memory - first - BLOCK
        } else {
            memory - first
        };
        let message = match lie {
            Lie::NoJson => "[}".to_owned(),
            _ => format!(
                r#"[{{"base_host_virt_addr":{high},"size":{first},"offset":0,"page_size":4096,"page_size_kib":4096}},{{"base_host_virt_addr":{low},"size":{size},"offset":{first},"page_size":4096,"page_size_kib":4096}}]"#
            ),
        };
        // SAFETY: all zeros is a valid address of a socket.
        let mut name: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        name.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in name.sun_path.iter_mut().zip(socket.as_os_str().as_bytes()) {
            *to = (*from).cast_signed();
        }
        let mut ends = [0; 2];
        // SAFETY: two new descriptors.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        let parent = std::process::id().cast_signed();
        // SAFETY: the child makes system calls and uses memory that is there already.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above; it ends by `_exit`.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // It may have died before it was asked to tell.
                if libc::getppid() != parent {
                    libc::_exit(1);
                }
                libc::close(ends[1]);
                wait(ends[0]);
                shake_hands(&name, message.as_bytes(), start, memory, lie, ends[0]);
                for (number, act) in acts.iter().enumerate() {
                    if !perform(*act, &address, ends[0]) {
                        libc::_exit(number as i32 % 200 + 1);
                    }
                }
                libc::_exit(0);
            }
        }
        assert!(pid > 0, "{}", io::Error::last_os_error());
        // SAFETY: ours, used by nobody here.
        unsafe {
            libc::munmap(start as *mut libc::c_void, memory);
            libc::close(ends[0]);
        }
        Self {
            process: Identity::of(pid).unwrap().unwrap(),
            go: ends[1],
            waited: false,
        }
    }

    pub fn go(&self) {
        // SAFETY: our end of the pipe.
        assert_eq!(unsafe { libc::write(self.go, b"g".as_ptr().cast(), 1) }, 1);
    }

    pub fn kill(&self) {
        self.process.kill(libc::SIGKILL).unwrap();
    }

    pub fn outcome(mut self) -> Outcome {
        let mut status = 0;
        // SAFETY: our child, waited for once.
        unsafe { libc::waitpid(self.process.pid, &mut status, 0) };
        self.waited = true;
        match libc::WEXITSTATUS(status) {
            _ if libc::WIFSIGNALED(status) => Outcome::Signal(libc::WTERMSIG(status)),
            0 => Outcome::Right,
            number => Outcome::Wrong(number - 1),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: our end of the pipe, and our child, waited for once.
        unsafe {
            libc::close(self.go);
            if !self.waited {
                libc::kill(self.process.pid, libc::SIGKILL);
                libc::waitpid(self.process.pid, ptr::null_mut(), 0);
            }
        }
    }
}

unsafe fn wait(pipe: RawFd) {
    let mut byte = 0u8;
    // SAFETY: one byte of ours.
    unsafe { libc::read(pipe, (&raw mut byte).cast(), 1) };
}

unsafe fn perform(act: Act, address: &impl Fn(u32) -> usize, pipe: RawFd) -> bool {
    // SAFETY: all addresses are of the memory that was mapped for this.
    unsafe {
        match act {
            Act::Touch(block, first, last) => {
                let start = address(block) as *const u64;
                ptr::read_volatile(start) == first && ptr::read_volatile(start.add(BLOCK / 8 - 1)) == last
            }
            Act::Write(block, word) => {
                let start = address(block) as *mut u64;
                (0..BLOCK / 8).for_each(|i| ptr::write_volatile(start.add(i), word));
                true
            }
            Act::Remove(block, count) => (block..block + count)
                .all(|block| libc::madvise(address(block) as *mut libc::c_void, BLOCK, libc::MADV_DONTNEED) == 0),
            Act::Wait => {
                wait(pipe);
                true
            }
        }
    }
}

/// As Firecracker: a userfaultfd that does not block, with removals told, sent with one message.
unsafe fn shake_hands(name: &libc::sockaddr_un, message: &[u8], start: usize, memory: usize, lie: Lie, pipe: RawFd) {
    // SAFETY: system calls with structures of the kernel's layout, on our stack.
    unsafe {
        let faults = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) as RawFd;
        let mut api = [0xaa, EVENT_REMOVE, 0];
        let mut register = [start as u64, memory as u64, 1, 0];
        if libc::ioctl(faults, UFFDIO_API, &mut api) != 0 || libc::ioctl(faults, UFFDIO_REGISTER, &mut register) != 0 {
            libc::_exit(250);
        }
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        if libc::connect(
            socket,
            ptr::from_ref(name).cast(),
            size_of::<libc::sockaddr_un>() as u32,
        ) != 0
        {
            libc::_exit(251);
        }
        let sent = if lie == Lie::Descriptor { pipe } else { faults };
        let half = if lie == Lie::Pieces {
            message.len() / 2
        } else {
            message.len()
        };
        let mut part = libc::iovec {
            iov_base: message.as_ptr() as *mut libc::c_void,
            iov_len: half,
        };
        let mut control = [0u64; 4];
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &mut part;
        header.msg_iovlen = 1;
        if lie != Lie::NoDescriptor {
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = libc::CMSG_SPACE(4) as usize;
            let first = libc::CMSG_FIRSTHDR(&header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(4) as usize;
            ptr::write_unaligned(libc::CMSG_DATA(first).cast::<RawFd>(), sent);
        }
        if libc::sendmsg(socket, &header, 0) != half as isize {
            libc::_exit(252);
        }
        if half < message.len() {
            wait(pipe);
            libc::write(socket, message[half..].as_ptr().cast(), message.len() - half);
        }
        // The userfaultfd stays open, as a VMM's does.
    }
}
