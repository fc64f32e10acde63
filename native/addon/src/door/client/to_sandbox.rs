//! A request for a sandbox: JavaScript names the way, the sandbox's agent gets the request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{ForSandbox, Next, Visit, is_websocket};
use crate::{
    door::{
        ask::Question,
        busy::BusyGuard,
        head,
        ways::{Open, Way},
    },
    h1::{
        asked::Asked,
        conn::{Conn, Stream, tune_hop},
        exchange::{Broken, CONTINUE, Exchange, tunnel},
        framing::Framing,
        request::{HeadError, Request, no_fields},
        response::Response,
    },
};

/// An agent is one hop away; what has not answered by then does not.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The first agent, and the one that JavaScript names after that has refused.
const TRIES: usize = 3;
const NO_PORT: u16 = 0;

enum Relayed {
    Over(Next),
    Again(Question),
}

enum Told {
    Way(Arc<Way>),
    /// The client has its answer.
    Over(Next),
}

impl<C: Stream> Visit<'_, C> {
    pub(super) async fn sandbox(&mut self, raw: &[u8], asked: &Asked, wanted: ForSandbox, busy: BusyGuard<'_>) -> Next {
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
}

async fn connect(address: SocketAddr) -> Option<Conn<TcpStream>> {
    let stream = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await.ok()?.ok()?;
    tune_hop(&stream).ok()?;
    Some(Conn::new(stream))
}
