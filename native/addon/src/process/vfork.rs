//! A child that borrows our memory until it execs, as posix_spawn makes it. A fork would copy the page tables of a Node
//! program: tens of milliseconds where the machine is itself a guest, and page faults in every thread afterwards.

use std::{
    io, mem, ptr,
    sync::atomic::{AtomicI32, Ordering::SeqCst},
};

use super::child::{Child, Pointers};

const STACK_BYTES: usize = 64 * 1024;

struct Start<'a> {
    child: &'a Child,
    pointers: Pointers,
    errno: AtomicI32,
}

/// Returns when the child has exec'd or failed to; the calling thread stands still meanwhile, others do not.
pub(super) fn start(child: &Child) -> io::Result<i32> {
    let start = Start {
        child,
        pointers: child.pointers(),
        errno: AtomicI32::new(0),
    };
    let mut stack = vec![0u128; STACK_BYTES / mem::size_of::<u128>()];
    let argument = ptr::from_ref(&start).cast_mut().cast();
    // A handler of ours that ran in the child would work on our memory: all signals wait until it has none.
    let signals = BlockedSignals::block()?;
    // SAFETY: stack and argument outlive the child's use of them, since CLONE_VFORK holds us until it has execed or
    // exited. The stack grows down from its aligned end.
    let pid = unsafe {
        let top = stack.as_mut_ptr_range().end.cast();
        libc::clone(run, top, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, argument)
    };
    let born = if pid < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(pid)
    };
    drop(signals);
    let pid = born?;
    match start.errno.load(SeqCst) {
        0 => Ok(pid),
        errno => {
            // SAFETY: the child has exited and is ours.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

extern "C" fn run(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `start` passes a Start that lives until we have execed or exited.
    let start = unsafe { &*argument.cast::<Start<'_>>() };
    default_signals();
    let error = start.child.exec(&start.pointers);
    start.errno.store(error.raw_os_error().unwrap_or(libc::EINVAL), SeqCst);
    // SAFETY: ends the child without running anything of ours.
    unsafe { libc::_exit(127) }
}

/// Every signal as a new program expects it. The handlers are the child's own copy.
fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: an all-zero action is the default one. Where it cannot be set there is nothing to set.
        unsafe {
            let action: libc::sigaction = mem::zeroed();
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
    // SAFETY: a set on our stack, emptied before it is used.
    unsafe {
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// All signals of the calling thread wait while this lives.
struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    fn block() -> io::Result<Self> {
        // SAFETY: both sets are on our stack; the full one is filled before it is used.
        unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (mem::zeroed(), mem::zeroed());
            libc::sigfillset(&mut all);
            match libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) {
                0 => Ok(Self { before }),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by pthread_sigmask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
    }
}
