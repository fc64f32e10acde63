//! One connection to the front, request after request.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{
    identity::Identity,
    plan::{To, plan},
    refusal::{ERROR_CODE, Refusal},
    route::{OpenStream, Route},
    table::Table,
    wire::GuestStream,
};
use crate::h1::{
    asked::Asked,
    conn::{Conn, Stream, tune_hop},
    exchange::{Broken, CONTINUE, Exchange, discard, linger, tunnel},
    framing::Framing,
    pool::Pool,
    request::{self, no_fields},
    response::{NoAnswer, Response},
};

/// What is still sent of a body whose answer is out is read for so long.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);
/// The agent's service is one connection pool without ports.
const NO_PORT: u16 = 0;

pub struct FrontService {
    pub table: &'static Table,
    /// The unix socket of the agent's own service.
    pub upstream: PathBuf,
    pub agent: Pool<UnixStream>,
    /// `None`: everyone is let in (development).
    pub identity: RwLock<Option<Arc<Identity>>>,
}

/// Whether the client's connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    End,
}

impl FrontService {
    pub async fn serve(self: Arc<Self>, stream: TcpStream) {
        // Its own failures are told by its reads and writes.
        let _ = tune_hop(&stream);
        let mut client = Conn::new(stream);
        while self.one(&mut client).await == Next::Request {}
    }

    async fn one(&self, client: &mut Conn<TcpStream>) -> Next {
        let length = match request::read(client).await {
            Ok(Some(length)) => length,
            Ok(None) => return Next::End,
            Err(error) => return refuse(client, &error.into(), None).await,
        };
        let identity = self.identity.read().unwrap_or_else(PoisonError::into_inner).clone();
        let planned = plan(&client.inbox()[..length], self.table, identity.as_deref());
        client.take(length);
        let mut planned = match planned {
            Ok(planned) => planned,
            Err(error) => return refuse(client, &error.into(), None).await,
        };
        match planned.to {
            Ok(To::Guest { route, port }) => {
                self.to_guest(client, &route, port, planned.asked, &mut planned.head)
                    .await
            }
            Ok(To::Agent) => {
                let connect = || async { UnixStream::connect(&self.upstream).await };
                relay(
                    client,
                    &self.agent,
                    NO_PORT,
                    connect,
                    planned.asked,
                    &mut planned.head,
                    Refusal::AgentUnreachable,
                )
                .await
            }
            Err(refusal) => refuse(client, &refusal, Some(&planned.asked)).await,
        }
    }

    async fn to_guest(
        &self,
        client: &mut Conn<TcpStream>,
        route: &Route,
        port: u16,
        asked: Asked,
        head: &mut Vec<u8>,
    ) -> Next {
        let _open = OpenStream::on(route);
        if !route.ready() {
            // It was closed after the look at it: whoever waits for the end of what is open must not miss this request.
            return refuse(client, &Refusal::NotRunning { status: 503 }, Some(&asked)).await;
        }
        let connect = || GuestStream::connect(route.guest_ip, port, &route.activity);
        relay(
            client,
            &route.pool,
            port,
            connect,
            asked,
            head,
            Refusal::GuestUnreachable,
        )
        .await
    }
}

async fn relay<U: Stream, F: Future<Output = io::Result<U>>>(
    client: &mut Conn<TcpStream>,
    pool: &Pool<U>,
    port: u16,
    connect: impl Fn() -> F,
    asked: Asked,
    head: &mut Vec<u8>,
    unreachable: Refusal,
) -> Next {
    if asked.expects_continue && client.send(CONTINUE).await.is_err() {
        return Next::End;
    }
    // That header says that the front refused; a guest may not say so. The agent's service has it for its own errors.
    let hidden = if unreachable == Refusal::AgentUnreachable {
        ""
    } else {
        ERROR_CODE
    };
    let mut idle = pool.take(port).await;
    loop {
        let again = idle.is_some() && asked.idempotent;
        let upstream = match idle.take() {
            Some(conn) => Ok(conn),
            None => connect().await.map(Conn::new),
        };
        let Ok(mut upstream) = upstream else {
            return refuse(client, &unreachable, Some(&asked)).await;
        };
        let mut exchange = Exchange::new(client, &mut upstream, asked.body.clone());
        let length = match exchange.begin(head, false).await {
            Ok(length) => length,
            // It was idle and closed without a word; nothing is lost by asking once more.
            Err(Broken::Upstream) if again && !exchange.begun && !exchange.answered => continue,
            Err(Broken::Upstream) => return refuse(client, &unreachable, Some(&asked)).await,
            Err(Broken::Request) => return refuse(client, &Refusal::Malformed("the body is malformed"), None).await,
            Err(Broken::Client) => return Next::End,
        };
        let Ok(answer) = Answer::read(&exchange.answer()[..length], &asked, hidden) else {
            return refuse(client, &unreachable, Some(&asked)).await;
        };
        if answer.upgraded {
            let sent = client.send(&answer.head).await;
            upstream.take(length);
            if sent.is_ok() {
                tunnel(client, &mut upstream).await;
            }
            return Next::End;
        }
        if exchange.finish(length, answer.head, answer.body).await.is_err() {
            return Next::End; // by its connection the client learns that the answer is not whole
        }
        let sent = exchange.sent();
        let mut rest = exchange.into_rest();
        if sent && answer.keep_alive {
            pool.give(port, upstream);
        }
        if !sent && !matches!(timeout(DISCARD_LIMIT, discard(client, &mut rest)).await, Ok(Ok(()))) {
            return Next::End;
        }
        return next(client, asked.keep_alive).await;
    }
}

struct Answer {
    head: Vec<u8>,
    body: Framing,
    /// Of the guest's connection.
    keep_alive: bool,
    upgraded: bool,
}

impl Answer {
    /// `hidden`: a field that the client does not get.
    fn read(head: &[u8], asked: &Asked, hidden: &str) -> Result<Self, NoAnswer> {
        let mut fields = no_fields();
        let response = Response::parse(head, &mut fields, asked.to_head)?;
        let upgraded = response.status == 101;
        if upgraded && !asked.upgrade {
            return Err(NoAnswer);
        }
        let mut out = Vec::with_capacity(head.len() + 64);
        response.put_head(&mut out, hidden, b"", !asked.keep_alive);
        Ok(Self {
            head: out,
            keep_alive: response.keep_alive,
            body: response.body,
            upgraded,
        })
    }
}

async fn next(client: &mut Conn<TcpStream>, keep_alive: bool) -> Next {
    if keep_alive {
        return Next::Request;
    }
    linger(client).await;
    Next::End
}

/// `asked`: what is known of the request; a body that is not wanted is not waited for.
async fn refuse(client: &mut Conn<TcpStream>, refusal: &Refusal, asked: Option<&Asked>) -> Next {
    let keep_alive = asked.is_some_and(|asked| asked.keep_alive && asked.body.done());
    let to_head = asked.is_some_and(|asked| asked.to_head);
    if client.send(&refusal.answer(to_head, !keep_alive)).await.is_err() {
        return Next::End;
    }
    next(client, keep_alive).await
}
