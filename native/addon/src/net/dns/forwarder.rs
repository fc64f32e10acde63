//! The resolver of one guest: questions of allowed names go to the host's servers, and their addresses are opened before
//! the guest has the answer; the others get "no such name".
//!
//! Its sockets are in the guest's namespace, its questions to servers leave from the host. The guest is hostile: what it
//! may have open at a time is bounded, and its messages decide nothing but what is asked.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net as aio,
    sync::Semaphore,
    task,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::message::{self, Code, Question};
use crate::net::{
    egress::{Fate, LEAST_STAY, MOST_STAY, Policy, Resolving, open_addresses},
    netlink::Netlink,
    nft::TimedAddress,
};

const PORT: u16 = 53;
/// Questions of one guest that wait for servers at a time; more are dropped, and asked again by the guest.
const MOST_QUESTIONS: usize = 64;
const MOST_CONNECTIONS: usize = 16;
/// For a server's answer, before the next server is asked.
const SERVER_PATIENCE: Duration = Duration::from_secs(2);
/// For a guest's next question on a connection.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(10);
/// Not to spin on a socket that fails.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// With EDNS a datagram may be as long as IP allows.
const LONGEST: usize = 65_535;
/// Known addresses are forgotten in the end, the oldest first.
const MOST_KNOWN: usize = 4096;
/// Of one address.
const MOST_NAMES: usize = 16;
/// With a new policy, what allowed names were known to have is open for this long: enough for the next packet of a
/// connection that is open.
const KEPT: Duration = Duration::from_secs(600);

/// What is opened in a guest's namespace, by a thread that is in it.
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
    pub netlink: Netlink,
}

impl Sockets {
    pub fn open(address: Ipv4Addr) -> io::Result<Self> {
        let (udp, tcp) = (UdpSocket::bind((address, PORT))?, TcpListener::bind((address, PORT))?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let netlink = Netlink::netfilter()?;
        Ok(Self { udp, tcp, netlink })
    }
}

/// Answers until it is dropped.
pub struct Forwarder {
    shared: Arc<Shared>,
    closed: CancellationToken,
}

struct Shared {
    rules: RwLock<Rules>,
    opened: Mutex<Opened>,
    questions: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

struct Rules {
    policy: Arc<Policy>,
    servers: Vec<SocketAddr>,
}

/// What the guest may reach by name, and the way to change it.
struct Opened {
    netlink: Netlink,
    known: HashMap<Ipv4Addr, Known>,
}

struct Known {
    /// Names that were asked for and have it, the last one last.
    names: Vec<String>,
    until: Instant,
}

impl Known {
    fn note(&mut self, name: &str, until: Instant) {
        self.names.retain(|known| known != name);
        self.names.push(name.to_owned());
        if self.names.len() > MOST_NAMES {
            self.names.remove(0);
        }
        self.until = self.until.max(until);
    }
}

impl Forwarder {
    pub fn start(sockets: Sockets, policy: Arc<Policy>, resolving: Resolving) -> io::Result<Self> {
        let Resolving { servers, runtime } = resolving;
        let _entered = runtime.enter();
        let udp = Arc::new(aio::UdpSocket::from_std(sockets.udp)?);
        let tcp = aio::TcpListener::from_std(sockets.tcp)?;
        let shared = Arc::new(Shared {
            rules: RwLock::new(Rules { policy, servers }),
            opened: Mutex::new(Opened {
                netlink: sockets.netlink,
                known: HashMap::new(),
            }),
            questions: Arc::new(Semaphore::new(MOST_QUESTIONS)),
            connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
        });
        let closed = CancellationToken::new();
        task::spawn(until(
            closed.clone(),
            datagrams(udp, Arc::clone(&shared), closed.clone()),
        ));
        task::spawn(until(
            closed.clone(),
            connections(tcp, Arc::clone(&shared), closed.clone()),
        ));
        Ok(Self { shared, closed })
    }

    /// Another policy: `install` puts it in force, with the addresses that it allows of those that are known.
    pub fn exchange(
        &mut self,
        policy: &Arc<Policy>,
        resolving: &Resolving,
        install: impl FnOnce(&mut Netlink, &[TimedAddress]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut opened = self.shared.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let is_opened = |name: &String| policy.fate_of(name) == Fate::Opened;
        opened.known.retain(|_, known| known.names.iter().any(is_opened));
        let now = Instant::now();
        let stays = |until: Instant| until.saturating_duration_since(now).max(KEPT);
        let kept: Vec<TimedAddress> = opened
            .known
            .iter()
            .map(|(address, known)| TimedAddress {
                address: *address,
                stays: stays(known.until),
            })
            .collect();
        install(&mut opened.netlink, &kept)?;
        *self.shared.rules.write().unwrap_or_else(PoisonError::into_inner) = Rules {
            policy: Arc::clone(policy),
            servers: resolving.servers.clone(),
        };
        Ok(())
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

async fn until(closed: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = closed.cancelled() => {}
    }
}

async fn datagrams(socket: Arc<aio::UdpSocket>, shared: Arc<Shared>, closed: CancellationToken) {
    let mut buffer = vec![0; LONGEST];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(AFTER_FAILURE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&shared.questions).try_acquire_owned() else {
            continue;
        };
        let query = buffer[..length].to_vec();
        let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
        let answering = async move {
            let _permit = permit;
            if let Some(answer) = shared.answer(&query, Way::Datagram).await {
                let _ = socket.send_to(&answer, from).await;
            }
        };
        task::spawn(until(closed.clone(), answering));
    }
}

async fn connections(listener: aio::TcpListener, shared: Arc<Shared>, closed: CancellationToken) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(AFTER_FAILURE).await; // no descriptors: they come back
            continue;
        };
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            continue;
        };
        let shared = Arc::clone(&shared);
        let serving = async move {
            let _permit = permit;
            let _ = serve(stream, shared).await;
        };
        task::spawn(until(closed.clone(), serving));
    }
}

/// One question after the other, each with its length before it.
async fn serve(mut stream: aio::TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    loop {
        let query = timeout(CONNECTION_PATIENCE, read_message(&mut stream)).await??;
        let Some(answer) = shared.answer(&query, Way::Connection).await else {
            return Ok(());
        };
        timeout(CONNECTION_PATIENCE, write_message(&mut stream, &answer)).await??;
    }
}

async fn read_message(stream: &mut aio::TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut aio::TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(message);
    stream.write_all(&framed).await
}

/// An answer that does not fit a datagram says so, and the guest comes again over a connection.
#[derive(Clone, Copy)]
enum Way {
    Datagram,
    Connection,
}

impl Shared {
    /// Nothing for what is no message at all.
    async fn answer(self: &Arc<Self>, query: &[u8], way: Way) -> Option<Vec<u8>> {
        if query.len() < message::HEADER {
            return None;
        }
        let Some(question) = message::question_of_query(query) else {
            return Some(message::answer(query, None, Code::Refused));
        };
        let (policy, servers) = {
            let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&rules.policy), rules.servers.clone())
        };
        let fate = policy.fate_of(&question.name);
        if fate == Fate::NoSuchName {
            return Some(message::answer(query, Some(&question), Code::NoSuchName));
        }
        for server in servers {
            let Ok(answer) = timeout(SERVER_PATIENCE, ask(server, query, &question, way)).await else {
                continue;
            };
            match answer {
                Ok(answer) if fate == Fate::Asked => return Some(answer),
                Ok(answer) => {
                    let shared = Arc::clone(self);
                    let found = timed_addresses(&answer, &question);
                    let name = question.name.clone();
                    let opened = task::spawn_blocking(move || shared.open(&name, &found)).await;
                    return match opened {
                        Ok(Ok(())) => Some(answer),
                        _ => Some(message::answer(query, Some(&question), Code::ServerFailure)),
                    };
                }
                Err(_) => {} // the next one
            }
        }
        Some(message::answer(query, Some(&question), Code::ServerFailure))
    }

    fn open(&self, name: &str, found: &[TimedAddress]) -> io::Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        // The policy may have changed while the server was asked.
        if rules.policy.fate_of(name) != Fate::Opened {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        open_addresses(&mut opened.netlink, found)?;
        for TimedAddress { address, stays } in found {
            let until = Instant::now() + *stays;
            let known = opened.known.entry(*address).or_insert(Known { names: vec![], until });
            known.note(name, until);
        }
        while opened.known.len() > MOST_KNOWN {
            let oldest = opened.known.iter().min_by_key(|(_, known)| known.until);
            let Some(address) = oldest.map(|(address, _)| *address) else {
                break;
            };
            opened.known.remove(&address);
        }
        Ok(())
    }
}

/// Each once, with the longest time of its records.
fn timed_addresses(answer: &[u8], question: &Question) -> Vec<TimedAddress> {
    let mut found: HashMap<Ipv4Addr, Duration> = HashMap::new();
    for message::Address { address, ttl } in message::addresses(answer, question) {
        // A name's owner says what is behind it: not the guest's own machine, and nobody that is reached without a router.
        if address.is_unspecified() || address.is_loopback() || address.is_link_local() || address.octets()[0] >= 224 {
            continue;
        }
        let stays = Duration::from_secs(ttl.into()).clamp(LEAST_STAY, MOST_STAY);
        let longest = found.entry(address).or_default();
        *longest = stays.max(*longest);
    }
    found
        .into_iter()
        .map(|(address, stays)| TimedAddress { address, stays })
        .collect()
}

/// The server's answer to this question, under the guest's id. From a port and under an id that nobody can guess, so that
/// nobody but the server can answer.
async fn ask(server: SocketAddr, query: &[u8], question: &Question, way: Way) -> io::Result<Vec<u8>> {
    let mut id = [0; 2];
    getrandom(&mut id, GetRandomFlags::empty())?;
    let sent = message::with_id(query, id);
    let theirs = message::id_of(query).ok_or(io::ErrorKind::InvalidData)?;
    let is_answer = |answer: &[u8]| {
        message::id_of(answer) == Some(id)
            && message::question_of_response(answer).is_some_and(|answered| answered == *question)
    };
    match way {
        Way::Datagram => {
            let any: SocketAddr = match server {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = aio::UdpSocket::bind(any).await?;
            socket.connect(server).await?;
            socket.send(&sent).await?;
            let mut buffer = vec![0; LONGEST];
            loop {
                let length = socket.recv(&mut buffer).await?;
                if is_answer(&buffer[..length]) {
                    return Ok(message::with_id(&buffer[..length], theirs));
                }
            }
        }
        Way::Connection => {
            let mut stream = aio::TcpStream::connect(server).await?;
            write_message(&mut stream, &sent).await?;
            let answer = read_message(&mut stream).await?;
            if is_answer(&answer) {
                return Ok(message::with_id(&answer, theirs));
            }
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}
