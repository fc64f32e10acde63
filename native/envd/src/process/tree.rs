//! A process with everything it started.

use super::cgroup::Cgroup;
use super::proc_tree;
use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use tokio::io::unix::AsyncFd;

/// Rounds of looking for processes that were forked while others were killed.
const MAX_ROUNDS: usize = 100;

pub struct Tree {
    root: i32,
    handles: Mutex<Option<Handles>>,
}

/// What names the members for certain, however numbers are used again.
pub struct Handles {
    pub pidfd: Arc<AsyncFd<OwnedFd>>,
    pub cgroup: Option<Cgroup>,
}

impl Tree {
    pub fn new(root: i32, handles: Handles) -> Self {
        Self {
            root,
            handles: Mutex::new(Some(handles)),
        }
    }

    /// Signals every member; nobody once it is released.
    pub fn signal(&self, signal: Signal) {
        let handles = self.handles.lock().unwrap();
        let Some(handles) = &*handles else { return };
        match &handles.cgroup {
            Some(cgroup) => cgroup.signal(signal),
            None => self.signal_found(handles.pidfd.get_ref(), signal),
        }
    }

    /// The end is about to be told; whoever still lives goes on by himself.
    pub fn release(&self) -> Option<Handles> {
        self.handles.lock().unwrap().take()
    }

    fn signal_found(&self, pidfd: &OwnedFd, signal: Signal) {
        let mut signalled = HashSet::new();
        for _ in 0..MAX_ROUNDS {
            let new: Vec<i32> = proc_tree::members(self.root)
                .into_iter()
                .filter(|pid| signalled.insert(*pid))
                .collect();
            for pid in new.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                // The root by its descriptor: its number may be somebody else's by now.
                let _ = match pid.as_raw_nonzero().get() == self.root {
                    true => pidfd_send_signal(pidfd, signal),
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
