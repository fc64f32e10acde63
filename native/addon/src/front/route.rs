//! One sandbox as the byte path sees it: where it is, whether it may be reached, what goes on with it.

use std::{
    collections::HashSet,
    net::Ipv4Addr,
    os::fd::RawFd,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::wire::GuestStream;
use crate::h1::pool::Pool;

const IDLE_CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// What JavaScript says of a sandbox. `/guest` and `/proxy` serve it only while it is ready.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    pub sandbox_id: String,
    pub incarnation: u32,
    pub guest_ip: Ipv4Addr,
    pub access_token: String,
    pub ready: bool,
}

/// One incarnation. It has its own pool of connections, since the next one may have the same address.
pub struct Route {
    pub incarnation: u32,
    pub guest_ip: Ipv4Addr,
    pub pool: Pool<GuestStream>,
    pub activity: Arc<Activity>,
    ready: AtomicBool,
    access_token: RwLock<Arc<str>>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct ActivityReport {
    pub sandbox_id: String,
    pub last_active: Duration,
    pub open_streams: u32,
    /// To the guest.
    pub bytes_in: u64,
    /// From the guest.
    pub bytes_out: u64,
}

impl Route {
    pub fn new(spec: &RouteSpec) -> Self {
        Self {
            incarnation: spec.incarnation,
            guest_ip: spec.guest_ip,
            pool: Pool::new(IDLE_CONNECTION_LIFE),
            activity: Arc::new(Activity::new()),
            ready: AtomicBool::new(spec.ready),
            access_token: RwLock::new(spec.access_token.as_str().into()),
        }
    }

    /// Takes over what may change within an incarnation. False: this is another incarnation.
    pub fn update(&self, spec: &RouteSpec) -> bool {
        if (self.incarnation, self.guest_ip) != (spec.incarnation, spec.guest_ip) {
            return false;
        }
        *self.access_token.write().unwrap_or_else(PoisonError::into_inner) = spec.access_token.as_str().into();
        self.ready.store(spec.ready, Relaxed);
        true
    }

    /// Lets nothing new in.
    pub fn close(&self) {
        self.ready.store(false, Relaxed);
    }

    pub fn ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    pub fn access_token(&self) -> Arc<str> {
        Arc::clone(&self.access_token.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The sandbox is gone: its connections are reset, also those that wait for a request.
    pub fn reset(&self) {
        self.activity.reset();
        self.pool.close();
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.reset();
    }
}

/// What was last heard of a sandbox, and its open connections.
pub struct Activity {
    started: Instant,
    /// Milliseconds after `started`.
    last_active: AtomicU64,
    open_streams: AtomicU32,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub deleted: CancellationToken,
    /// Told when nothing is open any more.
    idle: Notify,
    connections: Mutex<HashSet<RawFd>>,
}

impl Activity {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            last_active: AtomicU64::new(0),
            open_streams: AtomicU32::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            deleted: CancellationToken::new(),
            idle: Notify::new(),
            connections: Mutex::default(),
        }
    }

    /// Something happened just now.
    pub fn touch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_active.store(now, Relaxed);
    }

    pub fn report(&self, sandbox_id: &str) -> ActivityReport {
        let last_active = Duration::from_millis(self.last_active.load(Relaxed));
        ActivityReport {
            sandbox_id: sandbox_id.to_owned(),
            last_active: self.started.elapsed().saturating_sub(last_active),
            open_streams: self.open_streams.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
        }
    }

    /// Resolves when no request is under way and no upgraded connection is open.
    pub async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.open_streams.load(Relaxed) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// A connection that must be reset when the sandbox goes. Taken back by `closed` before the descriptor closes.
    pub fn connected(&self, descriptor: RawFd) {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(descriptor);
        if self.deleted.is_cancelled() {
            self.reset();
        }
    }

    pub fn closed(&self, descriptor: RawFd) {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&descriptor);
    }

    /// The sandbox is gone: whoever waits for it is told at once, and its peers get a reset.
    pub fn reset(&self) {
        self.deleted.cancel();
        for descriptor in self.connections.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            super::wire::reset(*descriptor);
        }
    }
}

/// Counted as open while it lives: from a request's head to the last byte of its answer, or an upgrade's end.
pub struct OpenStream(Arc<Activity>);

impl OpenStream {
    pub fn on(route: &Route) -> Self {
        let activity = Arc::clone(&route.activity);
        activity.touch();
        activity.open_streams.fetch_add(1, Relaxed);
        Self(activity)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.touch();
        if self.0.open_streams.fetch_sub(1, Relaxed) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
