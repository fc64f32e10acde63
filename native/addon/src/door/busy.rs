//! How many requests are under way, for a door that is to close.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

/// Requests under way.
#[derive(Default)]
pub struct Busy {
    count: AtomicUsize,
    idle: Notify,
}

impl Busy {
    pub fn enter(&self) -> BusyGuard<'_> {
        self.count.fetch_add(1, SeqCst);
        BusyGuard(self)
    }

    /// Resolves when no request is under way.
    pub async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.count.load(SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

pub struct BusyGuard<'a>(&'a Busy);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
