//! All processes that clients can name.

use super::cgroup::Cgroups;
use super::running::Running;
use crate::fault::Fault;
use crate::proto::process::__buffa::oneof::process_selector::Selector;
use crate::proto::process::ProcessSelector;
use std::sync::{Arc, Mutex};

/// In order of their start.
pub struct Registry {
    processes: Mutex<Vec<Arc<Running>>>,
    pub cgroups: Cgroups,
}

impl Registry {
    pub fn new() -> Self {
        Self {
            processes: Mutex::default(),
            cgroups: Cgroups::new(),
        }
    }

    /// A pid that is used again replaces the process that had it before.
    pub fn add(&self, process: Arc<Running>) {
        let mut processes = self.processes.lock().unwrap();
        processes.retain(|other| other.pid != process.pid);
        processes.push(process);
    }

    pub fn forget(&self, process: &Arc<Running>) {
        self.processes
            .lock()
            .unwrap()
            .retain(|other| !Arc::ptr_eq(other, process));
    }

    pub fn live(&self) -> Vec<Arc<Running>> {
        self.processes
            .lock()
            .unwrap()
            .iter()
            .filter(|process| process.is_live())
            .cloned()
            .collect()
    }

    /// A process whose end is not told yet.
    pub fn find_live(&self, selector: &ProcessSelector) -> Result<Arc<Running>, Fault> {
        self.find(selector).and_then(|process| match process.is_live() {
            true => Ok(process),
            false => Err(unknown(selector)),
        })
    }

    /// A process, or one that has just ended. Of several with one tag the youngest live one.
    pub fn find(&self, selector: &ProcessSelector) -> Result<Arc<Running>, Fault> {
        let processes = self.processes.lock().unwrap();
        let found = match &selector.selector {
            Some(Selector::Pid(pid)) => processes.iter().find(|process| process.pid == *pid),
            Some(Selector::Tag(tag)) => {
                let mut tagged = processes
                    .iter()
                    .rev()
                    .filter(|process| process.tag.as_ref() == Some(tag));
                tagged
                    .clone()
                    .find(|process| process.is_live())
                    .or_else(|| tagged.next())
            }
            None => return Err(Fault::invalid("the process is not named: neither pid nor tag")),
        };
        found.cloned().ok_or_else(|| unknown(selector))
    }

    pub fn clean_up(&self) {
        self.cgroups.clean_up();
    }
}

fn unknown(selector: &ProcessSelector) -> Fault {
    Fault::not_found(match &selector.selector {
        Some(Selector::Pid(pid)) => format!("process with pid {pid} not found"),
        Some(Selector::Tag(tag)) => format!("process with tag '{tag}' not found"),
        None => "process not found".to_owned(),
    })
}
