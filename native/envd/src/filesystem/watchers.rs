//! Watches that are read by polling: events wait here between two reads.

use super::watch::Watch;
use crate::fault::{Fault, Kind};
use crate::proto::filesystem::FilesystemEvent;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::task::AbortHandle;

/// More unread events than this end the watcher with an error: nothing is dropped silently.
const MAX_WAITING: usize = 65_536;

#[derive(Default)]
pub struct Watchers {
    by_id: Mutex<HashMap<String, Watcher>>,
}

struct Watcher {
    waiting: Arc<Mutex<Waiting>>,
    reader: AbortHandle,
}

#[derive(Default)]
struct Waiting {
    events: Vec<FilesystemEvent>,
    failed: Option<Fault>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Watchers {
    /// Starts to collect; the id cannot be guessed.
    pub fn add(&self, mut watch: Watch) -> String {
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let collected = waiting.clone();
        let reader = tokio::spawn(async move {
            loop {
                let event = watch.next().await;
                let mut waiting = collected.lock().unwrap();
                match event {
                    Ok(_) if waiting.events.len() >= MAX_WAITING => {
                        waiting.failed = Some(Fault::new(Kind::DataLoss, "too many unread events"));
                        return;
                    }
                    Ok(event) => waiting.events.push(event),
                    Err(fault) => {
                        waiting.failed = Some(fault);
                        return;
                    }
                }
            }
        });
        let id = random_id();
        self.by_id.lock().unwrap().insert(
            id.clone(),
            Watcher {
                waiting,
                reader: reader.abort_handle(),
            },
        );
        id
    }

    /// Events since the last call. A watch that failed says so after its last event.
    pub fn take_events(&self, id: &str) -> Result<Vec<FilesystemEvent>, Fault> {
        let by_id = self.by_id.lock().unwrap();
        let mut waiting = by_id.get(id).ok_or_else(|| unknown(id))?.waiting.lock().unwrap();
        match waiting.failed.clone() {
            Some(fault) if waiting.events.is_empty() => Err(fault),
            _ => Ok(std::mem::take(&mut waiting.events)),
        }
    }

    pub fn remove(&self, id: &str) -> Result<(), Fault> {
        self.by_id
            .lock()
            .unwrap()
            .remove(id)
            .map(drop)
            .ok_or_else(|| unknown(id))
    }
}

fn unknown(id: &str) -> Fault {
    Fault::not_found(format!("watcher '{id}' not found"))
}

/// 128 bits from the kernel, in hex.
fn random_id() -> String {
    let mut bytes = [0_u8; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled, Ok(bytes.len()), "the kernel gives up to 256 bytes at once");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
