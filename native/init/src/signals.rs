//! What PID 1 waits for: the end of a child, or the wish that the guest ends.
//!
//! The signals are blocked and asked for one by one, so that none is lost between a look at the children and the wait.
//! Programs that are started get an empty mask: the standard library sees to that.

use std::{io, time::Duration};

/// Signals that ask for a shutdown.
const SHUTDOWN: [libc::c_int; 5] = [libc::SIGTERM, libc::SIGINT, libc::SIGPWR, libc::SIGUSR1, libc::SIGUSR2];

#[derive(Debug, PartialEq, Eq)]
pub enum Wake {
    /// A child may have ended.
    Child,
    Shutdown,
    /// The time is over.
    Timeout,
}

pub struct Signals(libc::sigset_t);

impl Signals {
    /// From now on the signals wait until they are asked for.
    pub fn block() -> Self {
        // SAFETY: sigset_t is plain data that sigemptyset initialises; all pointers are to this one local.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in SHUTDOWN.into_iter().chain([libc::SIGCHLD]) {
                libc::sigaddset(&mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            Self(set)
        }
    }

    /// The next of them; without a limit it waits for ever.
    pub fn next(&self, limit: Option<Duration>) -> Wake {
        let limit = limit.map(|limit| libc::timespec {
            tv_sec: limit.as_secs() as libc::time_t,
            tv_nsec: limit.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        loop {
            // SAFETY: the set and the limit outlive the call; no details of the signal are asked for.
            let signal = unsafe { libc::sigtimedwait(&self.0, std::ptr::null_mut(), limit) };
            match signal {
                libc::SIGCHLD => return Wake::Child,
                signal if signal > 0 => return Wake::Shutdown,
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {} // by a tracer: once more
                _ => return Wake::Timeout,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vm5_a_signal_that_came_before_the_wait_is_not_lost() {
        let signals = Signals::block();
        assert_eq!(signals.next(Some(Duration::ZERO)), Wake::Timeout);
        // SAFETY: plain system calls; the signals go to this thread, which has them blocked.
        unsafe {
            libc::pthread_kill(libc::pthread_self(), libc::SIGCHLD);
            libc::pthread_kill(libc::pthread_self(), libc::SIGPWR);
        }
        let mut seen = [signals.next(None), signals.next(None)].map(|wake| format!("{wake:?}"));
        seen.sort();
        assert_eq!(seen, ["Child", "Shutdown"]);
    }
}
