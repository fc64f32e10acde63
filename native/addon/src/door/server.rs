//! The listening side of the door.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{busy::Busy, client::House, tls::acceptor, ways::Ways};
use crate::{
    failure::{Failure, Outcome},
    h1::{pool::Pool, threads::Threads},
};

/// Below the 10 s after which the API's server closes an idle connection.
const IDLE_QUESTION_LIFE: Duration = Duration::from_secs(8);
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

pub struct DoorOptions {
    pub address: String,
    pub api: PathBuf,
    pub suffix: String,
    pub token: String,
    pub limit: u32,
}

/// A listening door. It ends, with all its connections, when it is closed or dropped.
pub struct Door {
    pub ways: Arc<Ways>,
    house: Arc<House>,
    plain: Threads,
    secure: Mutex<Option<Threads>>,
    acceptor: Arc<RwLock<Option<TlsAcceptor>>>,
}

impl Door {
    pub fn listen(options: DoorOptions) -> Outcome<Self> {
        let ways = Arc::new(Ways::default());
        let house = Arc::new(House {
            ways: Arc::clone(&ways),
            suffix: options.suffix,
            api: options.api,
            questions: Pool::new(IDLE_QUESTION_LIFE),
            token: options.token,
            limit: options.limit,
            closing: CancellationToken::new(),
            busy: Busy::default(),
        });
        let serving = Arc::clone(&house);
        let serve = move |stream, peer| {
            let house = Arc::clone(&serving);
            async move { house.serve(stream, peer, false).await }
        };
        let swept = Arc::clone(&house);
        let sweep = move || {
            swept.ways.sweep();
            swept.questions.sweep();
        };
        let plain = listen("wrenn-door", &options.address, serve, sweep)?;
        Ok(Self {
            ways,
            house,
            plain,
            secure: Mutex::default(),
            acceptor: Arc::default(),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.plain.address()
    }

    /// The same over TLS. Returns the port.
    pub fn listen_tls(&self, address: &str, certificate: &str, key: &str) -> Outcome<u16> {
        self.set_certificate(certificate, key)?;
        let (house, acceptor) = (Arc::clone(&self.house), Arc::clone(&self.acceptor));
        let serve = move |stream, peer| {
            let house = Arc::clone(&house);
            let acceptor = acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                let Some(acceptor) = acceptor else { return };
                if let Ok(Ok(stream)) = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
                    house.serve(stream, peer, true).await;
                }
            }
        };
        let threads = listen("wrenn-door-tls", address, serve, || {})?;
        let port = threads.address().port();
        *self.secure.lock().unwrap_or_else(PoisonError::into_inner) = Some(threads);
        Ok(port)
    }

    /// From the next connection on. Where the two do not fit, nothing changes.
    pub fn set_certificate(&self, certificate: &str, key: &str) -> Outcome<()> {
        let made = acceptor(certificate, key)?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = Some(made);
        Ok(())
    }

    /// Takes no new connections and ends those that wait.
    pub fn stop(&self) {
        self.plain.stop();
        if let Some(secure) = &*self.secure.lock().unwrap_or_else(PoisonError::into_inner) {
            secure.stop();
        }
        self.house.closing.cancel();
    }

    /// Waits until no request is under way. False: some were after `limit`.
    pub async fn drain(house: Arc<House>, limit: Duration) -> bool {
        timeout(limit, house.busy.idle()).await.is_ok()
    }

    pub fn house(&self) -> Arc<House> {
        Arc::clone(&self.house)
    }

    pub fn close(&self) {
        self.plain.close();
        self.secure.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn listen<S, F, W>(name: &str, address: &str, serve: S, sweep: W) -> Outcome<Threads>
where
    S: Fn(tokio::net::TcpStream, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
    W: Fn() + Clone + Send + 'static,
{
    let parsed = address
        .parse()
        .map_err(|_| Failure::invalid("address", format!("{address:?} is not ip:port")))?;
    Threads::listen(name, parsed, serve, sweep).map_err(|source| Failure::Listen {
        address: address.to_owned(),
        source,
    })
}
