//! A process with everything it started.

use super::cgroup::Cgroup;
use super::proc_tree;
use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

/// Rounds of looking for processes that were forked while others were killed.
const MAX_ROUNDS: usize = 100;

pub struct Tree {
    pub root: i32,
    pub pidfd: OwnedFd,
    /// Taken when the process has ended and its output too.
    pub cgroup: Mutex<Option<Cgroup>>,
}

impl Tree {
    /// Signals every member.
    pub fn signal(&self, signal: Signal) {
        if let Some(cgroup) = &*self.cgroup.lock().unwrap() {
            return cgroup.signal(signal);
        }
        let mut signalled = HashSet::new();
        for _ in 0..MAX_ROUNDS {
            let new: Vec<i32> = proc_tree::members(self.root)
                .into_iter()
                .filter(|pid| signalled.insert(*pid))
                .collect();
            for pid in new.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                // The root by its descriptor: its number may be somebody else's by now.
                let _ = match pid.as_raw_nonzero().get() == self.root {
                    true => pidfd_send_signal(&self.pidfd, signal),
                    false => kill_process(pid, signal),
                };
            }
            // Only SIGKILL must reach those that were born meanwhile; others may fork in answer to the signal.
            if new.is_empty() || signal != Signal::KILL {
                return;
            }
        }
    }
}
