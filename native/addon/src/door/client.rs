//! One connection of a client, request after request: for a sandbox (`to_sandbox`) or for the API (`to_api`).

mod to_api;
mod to_sandbox;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::UnixStream, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    address::address,
    ask::Question,
    busy::Busy,
    head::{self, Arrival},
    ways::{Open, Way, Ways},
};
use crate::h1::{
    asked::Asked,
    conn::{Conn, Stream},
    exchange::{discard, linger},
    framing::Framing,
    pool::Pool,
    request::{self, HeadError, Request, no_fields, put_field, put_number},
};

/// Between two requests of a connection.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// From the first byte of a head to its last.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// What is still sent of a body whose answer is out is read for so long.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);

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

/// Whether the connection goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Request,
    End,
}

/// A request for a sandbox.
struct ForSandbox {
    open: Open,
    key: Option<Vec<u8>>,
    port: String,
    known: Option<Arc<Way>>,
    question: Question,
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
        let asked = Asked::from(&request);
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
