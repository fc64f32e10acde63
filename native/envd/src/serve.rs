//! The listener and its connections.

use crate::args::Args;
use crate::freezer::Birth;
use crate::guest::Guest;
use crate::http::asker::Asker;
use crate::http::router;
use crate::ports;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// How long a connection may wait for its next request; the proxies in front close theirs after 600 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(640);
/// Pause after the system refused a connection (no descriptors left).
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves until SIGTERM or SIGINT. Processes that it started go on.
pub async fn run(args: Args) -> io::Result<()> {
    let listener = TcpListener::bind((args.host, args.port)).await?;
    let address = listener.local_addr()?;
    eprintln!("envd {} listens on {address}", crate::VERSION);
    let guest = Arc::new(Guest::new(args.user, args.sole.then_some(address.port())));
    let service = TowerToHyperService::new(router(guest.clone()));
    // An agent that only this machine may reach must not open what only this machine may reach.
    if !args.host.is_loopback() {
        tokio::spawn(ports::run(guest.clone()));
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(connection) => serve(connection, service.clone(), guest.freezer.birth()),
                Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    guest.processes.clean_up();
    Ok(())
}

fn serve((stream, _): (TcpStream, SocketAddr), service: TowerToHyperService<axum::Router>, birth: Birth) {
    // Output is sent in small pieces that must not wait for each other.
    let _ = stream.set_nodelay(true);
    let Ok(asker) = Asker::of(&stream) else { return };
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(asker.clone());
        service.call(request)
    });
    tokio::spawn(async move {
        // A connection that breaks has told its own requests; nobody else needs to know.
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            _ = served => {}
            () = birth.inherited() => {}
        }
    });
}
