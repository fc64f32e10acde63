//! One connection of a client, request after request.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixStream},
    sync::Notify,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    address::address,
    ask::Question,
    head::{self, Arrival},
    ways::{Open, Way, Ways},
};
use crate::h1::{
    conn::{Conn, Stream, tune_hop},
    exchange::{Broken, CONTINUE, Exchange, discard, linger, tunnel},
    framing::Framing,
    pool::Pool,
    request::{self, HeadError, Request, no_fields, put_field, put_number},
    response::Response,
};

/// Between two requests of a connection.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// From the first byte of a head to its last.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// An agent is one hop away; what has not answered by then does not.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// What is still sent of a body whose answer is out is read for so long.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);
/// The first agent, and the one that JavaScript names after that has refused.
const TRIES: usize = 3;
const NO_PORT: u16 = 0;
/// Signature of the PROXY protocol, version 2.
const PROXY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21";

/// What all connections of a door share.
pub struct House {
    pub ways: Arc<Ways>,
    /// `.domain`, lower case, without a port.
    pub suffix: String,
    /// The API's unix socket.
    pub api: PathBuf,
    pub questions: Pool<UnixStream>,
    /// Proves to JavaScript that the door asks.
    pub token: String,
    /// Requests and sockets that may be open to one sandbox.
    pub limit: u32,
    pub closing: CancellationToken,
    pub busy: Busy,
}

/// Requests under way.
#[derive(Default)]
pub struct Busy {
    count: AtomicUsize,
    idle: Notify,
}

impl Busy {
    fn enter(&self) -> BusyGuard<'_> {
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

struct BusyGuard<'a>(&'a Busy);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// Whether the connection goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Request,
    End,
}

/// What must be known of a request beside its head.
struct Asked {
    body: Framing,
    to_head: bool,
    keep_alive: bool,
    expects_continue: bool,
    upgrade: bool,
    idempotent: bool,
}

/// A request for a sandbox.
struct ForSandbox {
    open: Open,
    key: Option<Vec<u8>>,
    port: String,
    known: Option<Arc<Way>>,
    question: Question,
}

enum Relayed {
    Over(Next),
    Again(Question),
}

enum Told {
    Way(Arc<Way>),
    /// The client has its answer.
    Over(Next),
}

struct Visit<'a, C> {
    house: &'a House,
    client: Conn<C>,
    arrival: Arrival,
    peer: SocketAddr,
    /// This client's connection to the API.
    api: Option<Conn<UnixStream>>,
}

impl House {
    pub async fn serve<C: Stream>(&self, io: C, peer: SocketAddr, tls: bool) {
        let remote = peer.ip().to_canonical().to_string();
        let mut visit = Visit {
            house: self,
            client: Conn::new(io),
            arrival: Arrival { remote, tls },
            peer,
            api: None,
        };
        while visit.one().await == Next::Request {}
    }
}

impl<C: Stream> Visit<'_, C> {
    async fn one(&mut self) -> Next {
        if self.client.inbox().is_empty() {
            self.client.shrink();
            let first = tokio::select! {
                first = timeout(IDLE_LIMIT, self.client.fill()) => first,
                () = self.house.closing.cancelled() => return Next::End,
            };
            if !matches!(first, Ok(Ok(1..))) {
                return Next::End;
            }
        }
        let length = match timeout(HEAD_LIMIT, request::read(&mut self.client)).await {
            Ok(Ok(Some(length))) => length,
            Ok(Err(error)) => return self.fault(error).await,
            Ok(Ok(None)) | Err(_) => return Next::End,
        };
        let house = self.house;
        let busy = house.busy.enter();
        let raw = self.client.inbox()[..length].to_vec();
        self.client.take(length);
        let (asked, wanted) = match self.read(&raw) {
            Ok(read) => read,
            Err(error) => return self.fault(error).await,
        };
        let next = match wanted {
            Some(wanted) => self.sandbox(&raw, &asked, wanted, busy).await,
            None => self.to_api(&raw, &asked, busy).await,
        };
        if next == Next::Request && house.closing.is_cancelled() {
            linger(&mut self.client).await;
            return Next::End;
        }
        next
    }

    fn read(&self, raw: &[u8]) -> Result<(Asked, Option<ForSandbox>), HeadError> {
        let mut fields = no_fields();
        let request = Request::parse(raw, &mut fields)?;
        let asked = Asked {
            body: request.body.clone(),
            to_head: request.method == "HEAD",
            keep_alive: request.keep_alive,
            expects_continue: request.expects_continue,
            upgrade: request.upgrade.is_some(),
            idempotent: request.is_idempotent(),
        };
        let Some(found) = address(&request, &self.house.suffix) else {
            return Ok((asked, None));
        };
        let open = self.house.ways.enter(found.sandbox_id);
        // The table of sandboxes, and so what takes an answer back, is by their ids as they are: in lower case.
        let plain = !found.sandbox_id.bytes().any(|byte| byte.is_ascii_uppercase());
        let key = head::key(&request, found.port).filter(|_| plain);
        let mut known = key.as_deref().and_then(|key| open.find(key));
        let mut question = Question::First;
        if open.count() > self.house.limit {
            (known, question) = (None, Question::Full);
        } else if let Some(protocol) = foreign_upgrade(&request) {
            (known, question) = (None, Question::Upgrade(protocol.to_owned()));
        }
        let wanted = ForSandbox {
            open,
            key,
            port: found.port.to_owned(),
            known,
            question,
        };
        Ok((asked, Some(wanted)))
    }

    async fn sandbox(&mut self, raw: &[u8], asked: &Asked, wanted: ForSandbox, busy: BusyGuard<'_>) -> Next {
        let ForSandbox {
            open,
            key,
            port,
            mut known,
            mut question,
        } = wanted;
        let mut busy = Some(busy);
        let mut continued = false;
        for tries in 0..TRIES {
            let way = match known.take() {
                Some(way) => way,
                None => match self.ask(raw, asked, &question, &open, key.as_ref()).await {
                    Told::Way(way) => way,
                    Told::Over(next) => return next,
                },
            };
            if asked.expects_continue && !continued {
                if self.client.send(CONTINUE).await.is_err() {
                    return Next::End;
                }
                continued = true;
            }
            match self.relay(raw, asked, &way, &port, tries == 0, &mut busy).await {
                Relayed::Over(next) => return next,
                Relayed::Again(why) => {
                    open.forget();
                    question = why;
                }
            }
        }
        Next::End
    }

    async fn ask(
        &mut self,
        raw: &[u8],
        asked: &Asked,
        question: &Question,
        open: &Open,
        key: Option<&Vec<u8>>,
    ) -> Told {
        let house = self.house;
        let ticket = open.ticket();
        let mut head = Vec::with_capacity(raw.len() + 128);
        {
            let mut fields = no_fields(); // large: gone before anything is waited for
            let Ok(request) = Request::parse(raw, &mut fields) else {
                return Told::Over(Next::End); // it was parsed before
            };
            head::for_question(&request, &question.fields(&house.token, self.arrival.tls), &mut head);
        }
        let mut idle = house.questions.take(NO_PORT).await;
        loop {
            let again = idle.is_some();
            let conn = match idle.take() {
                Some(conn) => Ok(conn),
                None => UnixStream::connect(&house.api).await.map(Conn::new),
            };
            let Ok(mut conn) = conn else {
                return Told::Over(Next::End);
            };
            let mut exchange = Exchange::new(&mut self.client, &mut conn, Framing::NONE);
            let length = match exchange.begin(&mut head, false).await {
                Ok(length) => length,
                Err(Broken::Upstream) if again && !exchange.answered => continue,
                Err(_) => return Told::Over(Next::End),
            };
            // A body that is not wanted is not waited for.
            let close = !asked.keep_alive || !asked.body.done();
            let mut out = Vec::new();
            let read = {
                let mut fields = no_fields();
                match Response::parse(&exchange.answer()[..length], &mut fields, asked.to_head) {
                    Err(_) => return Told::Over(Next::End),
                    Ok(response) => match response.field("wrenn-way") {
                        Some(way) => Err(serde_json::from_slice(way).ok().and_then(|spec| house.ways.read(spec))),
                        None => {
                            response.put_head(&mut out, "", b"", close);
                            Ok((response.body, response.keep_alive))
                        }
                    },
                }
            };
            let (body, keep_alive) = match read {
                Ok(answer) => answer,
                Err(None) => return Told::Over(Next::End), // no way that can be read
                Err(Some(way)) => {
                    let way = Arc::new(way);
                    conn.take(length);
                    house.questions.give(NO_PORT, conn);
                    if let Some(key) = key {
                        open.keep(ticket, key.clone(), &way);
                    }
                    return Told::Way(way);
                }
            };
            if exchange.finish(length, out, body).await.is_err() {
                return Told::Over(Next::End);
            }
            if keep_alive {
                house.questions.give(NO_PORT, conn);
            }
            return Told::Over(self.next(!close).await);
        }
    }

    /// `first`: the request may be sent to another place afterwards.
    async fn relay(
        &mut self,
        raw: &[u8],
        asked: &Asked,
        way: &Way,
        port: &str,
        first: bool,
        busy: &mut Option<BusyGuard<'_>>,
    ) -> Relayed {
        let mut head = Vec::with_capacity(raw.len() + 384);
        {
            let mut fields = no_fields();
            let Ok(mut request) = Request::parse(raw, &mut fields) else {
                return Relayed::Over(Next::End); // it was parsed before
            };
            if !is_websocket(&request) {
                request.upgrade = None; // `h2c` may be ignored
            }
            head::for_agent(&request, way, &self.arrival, port, &mut head);
        }
        let mut idle = way.pool.take(NO_PORT).await;
        loop {
            let again = idle.is_some() && asked.idempotent;
            let upstream = match idle.take() {
                Some(conn) => Some(conn),
                None => connect(way.address).await,
            };
            let Some(mut upstream) = upstream else {
                return Relayed::Again(Question::Failed { connected: false });
            };
            let mut exchange = Exchange::new(&mut self.client, &mut upstream, asked.body.clone());
            let length = match exchange.begin(&mut head, false).await {
                Ok(length) => length,
                // It was idle and closed without a word; nothing is lost by asking once more.
                Err(Broken::Upstream) if again && !exchange.begun && !exchange.answered => continue,
                Err(Broken::Upstream) => return Relayed::Again(Question::Failed { connected: true }),
                Err(Broken::Request) => {
                    let malformed = HeadError::Malformed("The body is malformed.");
                    return Relayed::Over(self.fault(malformed).await);
                }
                Err(Broken::Client) => return Relayed::Over(Next::End),
            };
            let mut out = Vec::with_capacity(length + 64);
            let (status, body, keep_alive) = {
                let mut fields = no_fields();
                let Ok(response) = Response::parse(&exchange.answer()[..length], &mut fields, asked.to_head) else {
                    return Relayed::Again(Question::Failed { connected: true });
                };
                if let Some(code) = response.field("wrenn-error-code") {
                    return Relayed::Again(Question::Refused {
                        code: String::from_utf8_lossy(code).into_owned(),
                        incarnation: way.incarnation,
                        repeatable: first && !exchange.begun,
                    });
                }
                response.put_head(&mut out, "", &way.set_cookie, !asked.keep_alive);
                (response.status, response.body, response.keep_alive)
            };
            if status == 101 {
                let sent = self.client.send(&out).await;
                upstream.take(length);
                if sent.is_ok() {
                    *busy = None;
                    tokio::select! {
                        () = tunnel(&mut self.client, &mut upstream) => {}
                        () = self.house.closing.cancelled() => {}
                    }
                }
                return Relayed::Over(Next::End);
            }
            if exchange.finish(length, out, body).await.is_err() {
                return Relayed::Over(Next::End); // by its connection the client learns that the answer is not whole
            }
            let sent = exchange.sent();
            let rest = exchange.into_rest();
            if sent && keep_alive {
                way.pool.give(NO_PORT, upstream);
            }
            return Relayed::Over(self.after(asked, sent, rest).await);
        }
    }

    /// The API gets what came as it came, on a connection that is this client's alone.
    async fn to_api(&mut self, raw: &[u8], asked: &Asked, busy: BusyGuard<'_>) -> Next {
        let mut head = Vec::with_capacity(raw.len() + 64);
        let quiet = match self.api.take() {
            Some(mut conn) => is_quiet(&mut conn).await.then_some(conn),
            None => None,
        };
        let mut api = match quiet {
            Some(conn) => conn,
            None => {
                let Ok(stream) = UnixStream::connect(&self.house.api).await else {
                    return Next::End;
                };
                put_proxy_header(&mut head, self.peer);
                Conn::new(stream)
            }
        };
        head.extend_from_slice(raw);
        let mut exchange = Exchange::new(&mut self.client, &mut api, asked.body.clone());
        let length = match exchange.begin(&mut head, true).await {
            Ok(length) => length,
            Err(Broken::Request) => return self.fault(HeadError::Malformed("The body is malformed.")).await,
            Err(Broken::Client | Broken::Upstream) => return Next::End,
        };
        let (status, body, keep_alive) = {
            let mut fields = no_fields();
            match Response::parse(&exchange.answer()[..length], &mut fields, asked.to_head) {
                Ok(response) if response.body != Framing::UntilClose => {
                    (response.status, response.body, response.keep_alive)
                }
                _ => return Next::End,
            }
        };
        let out = exchange.answer()[..length].to_vec();
        if status == 101 && asked.upgrade {
            let sent = self.client.send(&out).await;
            api.take(length);
            drop(busy);
            if sent.is_ok() {
                tunnel(&mut self.client, &mut api).await;
            }
            return Next::End;
        }
        if exchange.finish(length, out, body).await.is_err() {
            return Next::End;
        }
        let sent = exchange.sent();
        let rest = exchange.into_rest();
        if !keep_alive {
            linger(&mut self.client).await;
            return Next::End;
        }
        if sent {
            self.api = Some(api);
        }
        self.after(asked, sent, rest).await
    }

    /// After an answer: what is left of the request is read, so that the next one is found.
    async fn after(&mut self, asked: &Asked, sent: bool, mut rest: Framing) -> Next {
        if !sent
            && !matches!(
                timeout(DISCARD_LIMIT, discard(&mut self.client, &mut rest)).await,
                Ok(Ok(()))
            )
        {
            return Next::End;
        }
        self.next(asked.keep_alive).await
    }

    async fn next(&mut self, keep_alive: bool) -> Next {
        if keep_alive {
            return Next::Request;
        }
        linger(&mut self.client).await;
        Next::End
    }

    async fn fault(&mut self, error: HeadError) -> Next {
        if self.client.send(&fault(error)).await.is_ok() {
            linger(&mut self.client).await;
        }
        Next::End
    }
}

fn is_websocket(request: &Request<'_, '_>) -> bool {
    request
        .upgrade
        .is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

fn foreign_upgrade<'b>(request: &Request<'_, 'b>) -> Option<&'b str> {
    let ignored = |protocol: &&str| !protocol.eq_ignore_ascii_case("h2c");
    request.upgrade.filter(|_| !is_websocket(request)).filter(ignored)
}

async fn connect(address: SocketAddr) -> Option<Conn<TcpStream>> {
    let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await.ok()?.ok()?;
    tune_hop(&stream).ok()?;
    Some(Conn::new(stream))
}

async fn is_quiet(conn: &mut Conn<UnixStream>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(conn.is_quiet(context))).await
}

/// Tells the API whose connection this is.
fn put_proxy_header(out: &mut Vec<u8>, peer: SocketAddr) {
    out.extend_from_slice(PROXY);
    match peer {
        SocketAddr::V4(peer) => {
            out.extend_from_slice(&[0x11, 0, 12]);
            out.extend_from_slice(&peer.ip().octets());
            out.extend_from_slice(&[0; 4]);
        }
        SocketAddr::V6(peer) => {
            out.extend_from_slice(&[0x21, 0, 36]);
            out.extend_from_slice(&peer.ip().octets());
            out.extend_from_slice(&[0; 16]);
        }
    }
    out.extend_from_slice(&peer.port().to_be_bytes());
    out.extend_from_slice(&[0; 2]);
}

/// What is no request gets an answer that depends on nothing of it.
fn fault(error: HeadError) -> Vec<u8> {
    let (status, message) = match error {
        HeadError::Malformed(message) => ("400 Bad Request", message),
        HeadError::TooLarge => (
            "431 Request Header Fields Too Large",
            "The head of the request is too large.",
        ),
        HeadError::Version => (
            "505 HTTP Version Not Supported",
            "Only HTTP/1.1 is spoken here, to a path.",
        ),
    };
    let body = serde_json::json!({ "error": { "code": "bad_request", "message": message, "details": {} } }).to_string();
    let mut out = format!("HTTP/1.1 {status}\r\n").into_bytes();
    put_field(&mut out, "content-type", b"application/json; charset=utf-8");
    put_number(&mut out, "content-length", body.len() as u64);
    put_field(&mut out, "connection", b"close");
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body.as_bytes());
    out
}
