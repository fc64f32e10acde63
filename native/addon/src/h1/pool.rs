//! Idle keep-alive connections to one place, the one used last first.

use std::{
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::conn::{Conn, Stream};

const MAX_IDLE: usize = 256;

pub struct Pool<S> {
    /// An idle connection is given up after this time.
    life: Duration,
    /// Oldest first. `None`: nothing is kept any more.
    idle: Mutex<Option<Vec<Idle<S>>>>,
}

struct Idle<S> {
    port: u16,
    conn: Conn<S>,
    since: Instant,
}

impl<S: Stream> Pool<S> {
    pub fn new(life: Duration) -> Self {
        Self {
            life,
            idle: Mutex::new(Some(Vec::new())),
        }
    }

    /// A connection that was used before, and that nothing has come from since.
    pub async fn take(&self, port: u16) -> Option<Conn<S>> {
        poll_fn(|context| {
            loop {
                let Some(mut conn) = self.pop(port) else {
                    return Poll::Ready(None);
                };
                if conn.is_quiet(context) {
                    return Poll::Ready(Some(conn));
                }
            }
        })
        .await
    }

    pub fn give(&self, port: u16, conn: Conn<S>) {
        let mut idle = self.lock();
        let Some(idle) = idle.as_mut().filter(|_| conn.inbox().is_empty()) else {
            return;
        };
        if idle.len() >= MAX_IDLE {
            idle.remove(0);
        }
        let since = Instant::now();
        idle.push(Idle { port, conn, since });
    }

    /// Closes what has been idle for too long, and what its peer has closed.
    pub fn sweep(&self) {
        let mut context = Context::from_waker(Waker::noop());
        if let Some(idle) = self.lock().as_mut() {
            idle.retain_mut(|each| each.since.elapsed() < self.life && each.conn.is_quiet(&mut context));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lock().as_ref().is_none_or(Vec::is_empty)
    }

    /// Closes what is idle, and keeps nothing from now on.
    pub fn close(&self) {
        let idle = self.lock().take();
        drop(idle);
    }

    fn pop(&self, port: u16) -> Option<Conn<S>> {
        let mut idle = self.lock();
        let idle = idle.as_mut()?;
        let at = idle.iter().rposition(|each| each.port == port)?;
        let found = idle.remove(at);
        (found.since.elapsed() < self.life).then_some(found.conn)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Idle<S>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
