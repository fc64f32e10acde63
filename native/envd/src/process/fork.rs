//! Forks and executes.
//!
//! Ours instead of the standard library's because of two things that it cannot do: the child is born in its control
//! group (`clone3` with `CLONE_INTO_CGROUP`; moving it later waits for a grace period of the kernel, 10 ms and more),
//! and comes with a pidfd, so that nothing handles SIGCHLD and a pid is never signalled after it was reused.
//!
//! The child borrows our memory, and we stand still, until it executes or exits (vfork). So no page table is copied, no
//! page is written to twice, and when we go on we know whether it became its program.

use super::oom;
use crate::descriptor;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::arch::asm;
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
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
}

/// Which step failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Setup,
    User,
    Cwd,
    Exec,
}

/// Why there is no child.
#[derive(Debug)]
pub struct Failure {
    pub step: Step,
    pub error: io::Error,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            step: Step::Setup,
            error,
        }
    }
}

/// Starts the image. Its control group must not be frozen: we would wait for a child that waits for us.
pub fn fork(image: &Image, streams: &Streams, cgroup: Option<BorrowedFd>) -> Result<Child, Failure> {
    let pointers = Pointers::of(image);
    let mut birth = Birth {
        image,
        pointers: &pointers,
        streams: [&streams.stdin, &streams.stdout, &streams.stderr].map(AsRawFd::as_raw_fd),
        failure: None,
    };
    // Until the child has its own handlers, which are none, a signal must not run one of ours in it.
    let mask = block_signals();
    let mut in_cgroup = cgroup.is_some();
    let expendable = oom::Expendable::start();
    let mut forked = vfork(cgroup, &mut birth);
    if forked.is_err() && in_cgroup {
        in_cgroup = false;
        forked = vfork(None, &mut birth);
    }
    drop(expendable);
    restore_signals(&mask);
    let (pid, pidfd) = forked?;
    if let Some((step, errno)) = birth.failure {
        let _ = descriptor::retry(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED));
        let error = io::Error::from_raw_os_error(errno);
        return Err(Failure { step, error });
    }
    let pidfd = watch_or_kill(pidfd)?;
    Ok(Child { pid, pidfd, in_cgroup })
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

/// What parent and child both have before them.
struct Birth<'a> {
    image: &'a Image,
    pointers: &'a Pointers,
    streams: [i32; 3],
    /// The child's last words: the step that failed, and errno.
    failure: Option<(Step, i32)>,
}

/// The child's way to exec needs little.
const STACK: usize = 16 << 10;

/// Returns in the parent only, when the child has executed or exited.
fn vfork(cgroup: Option<BorrowedFd>, birth: &mut Birth) -> io::Result<(i32, OwnedFd)> {
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut stack = [MaybeUninit::<u128>::uninit(); STACK / size_of::<u128>()];
    let mut pidfd = -1;
    // SAFETY: all zeros is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64 | CLONE_CLEAR_SIGHAND;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args.stack = stack.as_mut_ptr() as u64;
    args.stack_size = STACK as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    let result: i64;
    // SAFETY: the child, whose call answers 0, has a stack of its own and never leaves `become_image`; what it uses is ours
    // and stays there, since this thread waits for it. The parent finds all registers but the three named as they were.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size_of_val(&args),
            in("r12") become_image as unsafe extern "C" fn(*mut Birth) -> !,
            in("r13") std::ptr::from_mut(birth),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result as i32));
    }
    // SAFETY: the kernel made this descriptor for us.
    Ok((result as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
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
/// SAFETY: only in a child of `vfork`. Makes system calls only, never allocates, never returns.
unsafe extern "C" fn become_image(birth: *mut Birth) -> ! {
    // SAFETY: the parent waits, so that nobody else uses what it has lent us.
    unsafe {
        let Birth {
            image,
            pointers,
            streams,
            ..
        } = *birth;
        let step = match prepare(image, streams) {
            Ok(()) => {
                libc::execve(image.program.as_ptr(), pointers.args.as_ptr(), pointers.envs.as_ptr());
                Step::Exec
            }
            Err(step) => step,
        };
        (*birth).failure = Some((step, *libc::__errno_location()));
        libc::_exit(127)
    }
}

/// Everything before exec; the error is the step that failed, errno says why.
unsafe fn prepare(image: &Image, streams: [i32; 3]) -> Result<(), Step> {
    let check = |result: libc::c_long, step: Step| if result < 0 { Err(step) } else { Ok(()) };
    // SAFETY: system calls with values and pointers that live as long as the image. Credentials are set by the bare
    // system calls: the libc functions would tell our other threads to take them, too.
    unsafe {
        libc::setsid();
        for (target, stream) in streams.into_iter().enumerate() {
            check(libc::dup2(stream, target as i32).into(), Step::Setup)?;
        }
        if image.terminal {
            check(libc::ioctl(0, libc::TIOCSCTTY, 0).into(), Step::Setup)?;
        }
        if libc::geteuid() == 0 {
            check(
                libc::syscall(libc::SYS_setgroups, image.groups.len(), image.groups.as_ptr()),
                Step::User,
            )?;
            check(
                libc::syscall(libc::SYS_setresgid, image.gid, image.gid, image.gid),
                Step::User,
            )?;
            check(
                libc::syscall(libc::SYS_setresuid, image.uid, image.uid, image.uid),
                Step::User,
            )?;
        } else if libc::geteuid() != image.uid {
            *libc::__errno_location() = libc::EPERM;
            return Err(Step::User);
        }
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const image.open_files);
        check(libc::chdir(image.cwd.as_ptr()).into(), Step::Cwd)?;
        // Rust ignores SIGPIPE, and ignored signals stay ignored over exec.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    Ok(())
}
