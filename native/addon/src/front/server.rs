//! The listening side: HTTP/1.1.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use super::{identity::Identity, relay::FrontService, table::Table};
use crate::{
    failure::{Failure, Outcome},
    h1::{pool::Pool, threads::Threads},
};

/// Below the 5 s after which a Node server closes an idle connection.
const IDLE_AGENT_CONNECTION_LIFE: Duration = Duration::from_secs(4);

pub struct FrontOptions {
    pub address: String,
    /// The unix socket of the agent's own service.
    pub upstream: PathBuf,
    pub identity: Option<Identity>,
}

/// A listening front. It ends, with all its connections, when it is closed or dropped.
pub struct Front {
    service: Arc<FrontService>,
    threads: Threads,
}

impl Front {
    pub fn listen(options: FrontOptions, table: &'static Table) -> Outcome<Self> {
        let address: SocketAddr = options
            .address
            .parse()
            .map_err(|_| Failure::invalid("address", format!("{:?} is not ip:port", options.address)))?;
        let service = Arc::new(FrontService {
            table,
            upstream: options.upstream,
            agent: Pool::new(IDLE_AGENT_CONNECTION_LIFE),
            identity: RwLock::new(options.identity.map(Arc::new)),
        });
        let serving = Arc::clone(&service);
        let serve = move |stream, _| Arc::clone(&serving).serve(stream);
        let swept = Arc::clone(&service);
        let sweep = move || {
            table.sweep();
            swept.agent.sweep();
        };
        let threads = Threads::listen("wrenn-front", address, serve, sweep).map_err(|source| Failure::Listen {
            address: options.address,
            source,
        })?;
        Ok(Self { service, threads })
    }

    pub fn address(&self) -> SocketAddr {
        self.threads.address()
    }

    /// From the next request on.
    pub fn set_identity(&self, identity: Option<Identity>) {
        *self.service.identity.write().unwrap_or_else(PoisonError::into_inner) = identity.map(Arc::new);
    }

    pub fn close(&self) {
        self.threads.close();
    }
}
