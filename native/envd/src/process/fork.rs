//! Forks and executes.
//!
//! Ours instead of the standard library's because of two things that it cannot do: the child is born in its control
//! group (`clone3` with `CLONE_INTO_CGROUP`; moving it later waits for a grace period of the kernel, 10 ms and more),
//! and comes with a pidfd, so that nothing handles SIGCHLD and a pid is never signalled after it was reused.

use super::oom;
use crate::descriptor;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// All that the child needs, made before the fork: between fork and exec nothing may allocate.
pub struct Image {
    pub program: CString,
    pub args: Vec<CString>,
    pub envs: Vec<CString>,
    pub cwd: CString,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub open_files: libc::rlimit,
    /// Standard input is this process's controlling terminal.
    pub terminal: bool,
}

/// The child's ends of its standard streams.
pub struct Streams<'a> {
    pub stdin: BorrowedFd<'a>,
    pub stdout: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
}

pub struct Child {
    pub pid: i32,
    /// Readable at the end.
    pub pidfd: Arc<AsyncFd<OwnedFd>>,
    /// False where the kernel refused to start it in the group.
    pub in_cgroup: bool,
    /// Delivers a `Failure` if the child could not execute; closes empty when it did.
    pub report: AsyncFd<OwnedFd>,
}

/// Which step of the child failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Setup,
    User,
    Cwd,
    Exec,
}

/// What the child writes to its report.
#[derive(Debug)]
pub struct Failure {
    pub step: Step,
    pub error: io::Error,
}

const REPORT_SIZE: usize = 5;

impl Failure {
    /// None when the report is empty.
    pub fn parse(report: &[u8]) -> Option<Self> {
        let (&step, errno) = report.split_first()?;
        let step = match step {
            1 => Step::User,
            2 => Step::Cwd,
            3 => Step::Exec,
            _ => Step::Setup,
        };
        let errno = errno.try_into().map_or(libc::EIO, i32::from_ne_bytes);
        Some(Self {
            step,
            error: io::Error::from_raw_os_error(errno),
        })
    }
}

/// Forks; the child executes or reports why it could not.
pub fn fork(image: &Image, streams: &Streams, cgroup: Option<BorrowedFd>) -> io::Result<Child> {
    let (report, report_end) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)?;
    let report = descriptor::watch(report, Interest::READABLE)?;
    let pointers = Pointers::of(image);
    // A handler that ran in the child would write to the event loop of the parent.
    let mask = block_signals();
    let mut pidfd = -1;
    let mut in_cgroup = cgroup.is_some();
    let expendable = oom::Expendable::start();
    let mut forked = clone3(cgroup, &mut pidfd);
    if forked.is_err() && in_cgroup {
        in_cgroup = false;
        forked = clone3(None, &mut pidfd);
    }
    if matches!(forked, Ok(0)) {
        let fds = [
            streams.stdin.as_raw_fd(),
            streams.stdout.as_raw_fd(),
            streams.stderr.as_raw_fd(),
        ];
        // SAFETY: this is the child of a fork; `become_image` only makes system calls and never returns.
        unsafe { become_image(image, &pointers, fds, report_end.as_raw_fd()) }
    }
    drop(expendable);
    restore_signals(&mask);
    let pid = forked?;
    // SAFETY: the kernel made this descriptor for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pidfd = watch_or_kill(pidfd)?;
    Ok(Child {
        pid,
        pidfd,
        in_cgroup,
        report,
    })
}

/// A child that nobody can watch must not run.
fn watch_or_kill(pidfd: OwnedFd) -> io::Result<Arc<AsyncFd<OwnedFd>>> {
    let kept = pidfd.try_clone();
    descriptor::watch(pidfd, Interest::READABLE)
        .map(Arc::new)
        .inspect_err(|_| {
            if let Ok(kept) = kept {
                let _ = pidfd_send_signal(&kept, Signal::KILL);
                let _ = waitid(WaitId::PidFd(kept.as_fd()), WaitIdOptions::EXITED);
            }
        })
}

/// NULL-terminated vectors that point into the image.
struct Pointers {
    args: Vec<*const libc::c_char>,
    envs: Vec<*const libc::c_char>,
}

impl Pointers {
    fn of(image: &Image) -> Self {
        let point = |texts: &[CString]| {
            texts
                .iter()
                .map(|text| text.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        Self {
            args: point(&image.args),
            envs: point(&image.envs),
        }
    }
}

/// Returns 0 in the child, as fork does; memory is copied.
fn clone3(cgroup: Option<BorrowedFd>, pidfd: &mut libc::c_int) -> io::Result<i32> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all zeros is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and with no stack this is fork: the child goes on with copies of everything.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as i32)
    }
}

fn block_signals() -> libc::sigset_t {
    // SAFETY: both sets are initialised by libc before they are used.
    unsafe {
        let (mut all, mut old) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        old
    }
}

fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: the set came from `block_signals`.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// The child's way to exec.
///
/// SAFETY: only in a freshly forked child. Makes system calls only, never allocates, never returns.
unsafe fn become_image(image: &Image, pointers: &Pointers, streams: [i32; 3], report: i32) -> ! {
    // SAFETY: pointers lead into the image, which the child has its own copy of; descriptors are inherited.
    unsafe {
        let step = match prepare(image, streams) {
            Ok(()) => {
                libc::execve(image.program.as_ptr(), pointers.args.as_ptr(), pointers.envs.as_ptr());
                3
            }
            Err(step) => step,
        };
        let mut message = [step; REPORT_SIZE];
        message[1..].copy_from_slice(&(*libc::__errno_location()).to_ne_bytes());
        libc::write(report, message.as_ptr().cast(), REPORT_SIZE);
        libc::_exit(127)
    }
}

/// Everything before exec; the error is the number of the step that failed, errno says why.
unsafe fn prepare(image: &Image, streams: [i32; 3]) -> Result<(), u8> {
    let check = |result: libc::c_long, step: u8| if result < 0 { Err(step) } else { Ok(()) };
    // SAFETY: system calls with values and pointers that live as long as the image. Credentials are set by the bare
    // system calls: the libc functions would signal threads that the child does not have.
    unsafe {
        libc::setsid();
        for (target, stream) in streams.into_iter().enumerate() {
            check(libc::dup2(stream, target as i32).into(), 0)?;
        }
        if image.terminal {
            check(libc::ioctl(0, libc::TIOCSCTTY, 0).into(), 0)?;
        }
        if libc::geteuid() == 0 {
            check(
                libc::syscall(libc::SYS_setgroups, image.groups.len(), image.groups.as_ptr()),
                1,
            )?;
            check(libc::syscall(libc::SYS_setresgid, image.gid, image.gid, image.gid), 1)?;
            check(libc::syscall(libc::SYS_setresuid, image.uid, image.uid, image.uid), 1)?;
        } else if libc::geteuid() != image.uid {
            *libc::__errno_location() = libc::EPERM;
            return Err(1);
        }
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const image.open_files);
        check(libc::chdir(image.cwd.as_ptr()).into(), 2)?;
        // Rust ignores SIGPIPE, and ignored signals stay ignored over exec.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    Ok(())
}
