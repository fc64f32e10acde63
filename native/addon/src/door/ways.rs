//! What JavaScript has said of sandboxes, and what is open to them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::net::TcpStream;

use crate::h1::pool::Pool;

/// An idle connection to an agent is given up after this time.
const IDLE_AGENT_CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// Answers kept of one sandbox: each client may have a credential of its own.
const MAX_WAYS: usize = 256;

/// JavaScript's answer: where a request goes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaySpec {
    pub sandbox_id: String,
    pub port: u16,
    /// The agent's, `ip:port`.
    pub address: String,
    /// What the agent asks of us.
    pub authorization: String,
    pub incarnation: u32,
    /// What the guest is shown as `Host` instead of the real one.
    pub mask_host: Option<String>,
    /// Path and query for the guest, where it is not what the client wrote.
    pub target: Option<String>,
    /// A cookie for the client.
    pub set_cookie: Option<String>,
    /// The answer holds for so long for all requests with the same credentials; 0: for this one.
    pub keep_ms: u64,
}

pub struct Way {
    pub address: SocketAddr,
    pub pool: Arc<Pool<TcpStream>>,
    /// Before the target.
    pub prefix: String,
    /// Fields for the agent.
    pub fields: Vec<u8>,
    pub incarnation: u32,
    pub mask_host: Option<String>,
    pub target: Option<String>,
    /// A whole field line, or nothing.
    pub set_cookie: Vec<u8>,
    until: Instant,
}

#[derive(Default)]
pub struct Ways {
    sandboxes: Mutex<HashMap<String, Arc<Sandbox>>>,
    agents: Mutex<HashMap<SocketAddr, Arc<Pool<TcpStream>>>>,
}

#[derive(Default)]
pub struct Sandbox {
    /// Requests and sockets.
    open: AtomicU32,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// How often everything was forgotten.
    forgotten: u64,
    ways: HashMap<Vec<u8>, Arc<Way>>,
}

impl Ways {
    /// Counts one more that is open to this sandbox, until it is dropped.
    pub fn enter(self: &Arc<Self>, sandbox_id: &str) -> Open {
        let mut sandboxes = lock(&self.sandboxes);
        let sandbox = match sandboxes.get(sandbox_id) {
            Some(sandbox) => Arc::clone(sandbox),
            None => Arc::clone(sandboxes.entry(sandbox_id.to_owned()).or_default()),
        };
        sandbox.open.fetch_add(1, SeqCst);
        Open {
            ways: Arc::clone(self),
            sandbox,
        }
    }

    /// Something about this sandbox has changed: JavaScript is asked anew.
    pub fn forget(&self, sandbox_id: &str) {
        if let Some(sandbox) = lock(&self.sandboxes).get(sandbox_id) {
            sandbox.forget();
        }
    }

    pub fn forget_all(&self) {
        for sandbox in lock(&self.sandboxes).values() {
            sandbox.forget();
        }
    }

    pub fn read(&self, spec: WaySpec) -> Option<Way> {
        let address = spec.address.parse().ok()?;
        let pool = Arc::clone(
            lock(&self.agents)
                .entry(address)
                .or_insert_with(|| Arc::new(Pool::new(IDLE_AGENT_CONNECTION_LIFE))),
        );
        let incarnation = spec.incarnation;
        let fields = format!(
            "wrenn-authorization: {}\r\nwrenn-incarnation: {incarnation}\r\n",
            spec.authorization
        );
        Some(Way {
            address,
            pool,
            prefix: format!("/proxy/{}/{}", spec.sandbox_id, spec.port),
            fields: fields.into_bytes(),
            incarnation,
            mask_host: spec.mask_host,
            target: spec.target,
            set_cookie: spec
                .set_cookie
                .map_or_else(Vec::new, |cookie| format!("set-cookie: {cookie}\r\n").into_bytes()),
            until: Instant::now() + Duration::from_millis(spec.keep_ms),
        })
    }

    /// Gives up what nobody has used for long.
    pub fn sweep(&self) {
        lock(&self.sandboxes).retain(|_, sandbox| !sandbox.is_unused(Instant::now()));
        lock(&self.agents).retain(|_, pool| {
            pool.sweep();
            Arc::strong_count(pool) > 1 || !pool.is_empty()
        });
    }
}

impl Sandbox {
    fn forget(&self) {
        let mut known = lock(&self.known);
        known.forgotten += 1;
        known.ways.clear();
    }

    fn is_unused(&self, now: Instant) -> bool {
        self.open.load(SeqCst) == 0 && lock(&self.known).ways.values().all(|way| way.until < now)
    }
}

/// One request or socket of a sandbox.
pub struct Open {
    ways: Arc<Ways>,
    sandbox: Arc<Sandbox>,
}

impl Open {
    /// How many are open, with this one.
    pub fn count(&self) -> u32 {
        self.sandbox.open.load(SeqCst)
    }

    pub fn find(&self, key: &[u8]) -> Option<Arc<Way>> {
        let known = lock(&self.sandbox.known);
        known.ways.get(key).filter(|way| way.until > Instant::now()).cloned()
    }

    /// To be taken before JavaScript is asked: what it says then is not kept if it has been overtaken meanwhile.
    pub fn ticket(&self) -> u64 {
        lock(&self.sandbox.known).forgotten
    }

    pub fn keep(&self, ticket: u64, key: Vec<u8>, way: &Arc<Way>) {
        let mut known = lock(&self.sandbox.known);
        if known.forgotten != ticket || way.until <= Instant::now() {
            return;
        }
        if known.ways.len() >= MAX_WAYS {
            known.ways.clear();
        }
        known.ways.insert(key, Arc::clone(way));
    }

    pub fn forget(&self) {
        self.sandbox.forget();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.sandbox.open.fetch_sub(1, SeqCst) == 1 && lock(&self.sandbox.known).ways.is_empty() {
            // Names that are no sandbox's must not fill the memory.
            lock(&self.ways.sandboxes).retain(|_, each| {
                !Arc::ptr_eq(each, &self.sandbox) || each.open.load(SeqCst) > 0 || !lock(&each.known).ways.is_empty()
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(keep_ms: u64) -> WaySpec {
        serde_json::from_value(serde_json::json!({
            "sandboxId": "sb1", "port": 80, "address": "127.0.0.1:1", "authorization": "Bearer x", "incarnation": 2,
            "keepMs": keep_ms,
        }))
        .unwrap()
    }

    #[test]
    fn px1_an_answer_that_was_overtaken_is_not_kept() {
        let ways = Arc::new(Ways::default());
        let open = ways.enter("sb1");
        let way = Arc::new(ways.read(spec(60_000)).unwrap());
        let ticket = open.ticket();
        open.keep(ticket, b"key".to_vec(), &way);
        assert!(open.find(b"key").is_some() && open.find(b"other").is_none());
        ways.forget("sb1");
        assert!(open.find(b"key").is_none());
        open.keep(ticket, b"key".to_vec(), &way);
        assert!(open.find(b"key").is_none(), "asked before, answered after");
        open.keep(open.ticket(), b"key".to_vec(), &Arc::new(ways.read(spec(0)).unwrap()));
        assert!(open.find(b"key").is_none(), "it holds for one request");
    }

    #[test]
    fn px3_what_is_open_is_counted_by_sandbox_and_names_do_not_pile_up() {
        let ways = Arc::new(Ways::default());
        let one = ways.enter("sb1");
        let other = ways.enter("sb1");
        assert_eq!((one.count(), ways.enter("sb2").count()), (2, 1));
        drop(other);
        assert_eq!(one.count(), 1);
        drop(one);
        assert!(lock(&ways.sandboxes).is_empty());
    }
}
