//! The listening side: HTTP/1.1, and HTTP/2 with prior knowledge for Connect and gRPC clients.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
};
use tokio_util::sync::CancellationToken;

use super::{identity::Identity, service::FrontService, table::Table, wire::AgentConnector};
use crate::failure::{Failure, Outcome};

/// Waited before accepting again where the machine had no descriptor left.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
const IDLE_AGENT_CONNECTION_LIFE: Duration = Duration::from_secs(4);

pub struct FrontOptions {
    pub address: String,
    /// The unix socket of the agent's own service.
    pub upstream: PathBuf,
    pub identity: Option<Identity>,
}

/// A listening front. It ends, with all its connections, when it is closed or dropped.
pub struct Front {
    address: SocketAddr,
    service: Arc<FrontService>,
    closed: CancellationToken,
}

impl Front {
    pub fn listen(options: FrontOptions, table: &'static Table, runtime: &Handle) -> Outcome<Self> {
        let failed = |source: io::Error| Failure::Listen {
            address: options.address.clone(),
            source,
        };
        let address: SocketAddr = options
            .address
            .parse()
            .map_err(|_| Failure::invalid("address", format!("{:?} is not ip:port", options.address)))?;
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let agent = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Below the 5 s after which a Node server closes an idle connection.
            .pool_idle_timeout(IDLE_AGENT_CONNECTION_LIFE)
            .build(AgentConnector(Arc::new(options.upstream)));
        let service = Arc::new(FrontService {
            table,
            agent,
            identity: RwLock::new(options.identity.map(Arc::new)),
        });
        let closed = CancellationToken::new();
        runtime.spawn(accept(listener, Arc::clone(&service), closed.clone()));
        Ok(Self {
            address,
            service,
            closed,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next request on.
    pub fn set_identity(&self, identity: Option<Identity>) {
        *self.service.identity.write().unwrap_or_else(PoisonError::into_inner) = identity.map(Arc::new);
    }

    pub fn close(&self) {
        self.closed.cancel();
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.close();
    }
}

async fn accept(listener: TcpListener, service: Arc<FrontService>, closed: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closed.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (service, closed) = (Arc::clone(&service), closed.clone());
                tokio::spawn(async move {
                    // How a connection ended is its caller's to know.
                    tokio::select! {
                        _ = serve(stream, service) => {}
                        () = closed.cancelled() => {}
                    }
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN_AFTER).await,
        }
    }
}

async fn serve(stream: TcpStream, service: Arc<FrontService>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let mut connection = auto::Builder::new(TokioExecutor::new());
    // No total limits (AG2), and an idle connection is its client's to close.
    connection.http1().timer(TokioTimer::new()).header_read_timeout(None);
    connection.http2().timer(TokioTimer::new()).adaptive_window(true);
    let answer = service_fn(move |request| Arc::clone(&service).handle(request));
    connection
        .serve_connection_with_upgrades(TokioIo::new(stream), answer)
        .await
}
