//! A request for the API.

use std::net::SocketAddr;

use tokio::net::UnixStream;

use super::{Next, Visit};
use crate::{
    door::busy::BusyGuard,
    h1::{
        asked::Asked,
        conn::{Conn, Stream},
        exchange::{Broken, Exchange, linger, tunnel},
        framing::Framing,
        request::{HeadError, no_fields},
        response::Response,
    },
};

/// Signature of the PROXY protocol, version 2.
const PROXY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21";

impl<C: Stream> Visit<'_, C> {
    /// The API gets what came as it came, on a connection that is this client's alone.
    pub(super) async fn to_api(&mut self, raw: &[u8], asked: &Asked, busy: BusyGuard<'_>) -> Next {
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
