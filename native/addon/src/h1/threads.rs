//! The threads that serve a listening port. Each has its own loop and serves a connection from its first byte to its
//! last, so that nothing is handed from one thread to another.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::{Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    time::{Instant, interval_at, sleep},
};
use tokio_util::sync::CancellationToken;

/// A hop is mostly the kernel's work: half of the cores, and no more than these.
const MOST: usize = 4;
/// Waited before accepting again where the machine had no descriptor left.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
const SWEEP_EVERY: Duration = Duration::from_secs(5);
const BACKLOG: i32 = 4_096;

/// A port that is served until this is closed or dropped, with all its connections.
pub struct Threads {
    address: SocketAddr,
    /// Nothing new is taken.
    stopped: CancellationToken,
    closed: CancellationToken,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// `serve` one connection; `sweep` is called now and then, to give up what is idle.
    pub fn listen<S, F, W>(name: &str, address: SocketAddr, serve: S, sweep: W) -> io::Result<Self>
    where
        S: Fn(TcpStream, SocketAddr) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
        W: Fn() + Clone + Send + 'static,
    {
        let listener = bind(address)?;
        let address = listener.local_addr()?;
        let (stopped, closed) = (CancellationToken::new(), CancellationToken::new());
        let count = thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, MOST));
        let mut handles = Vec::new();
        for _ in 0..count {
            let listener = listener.try_clone()?;
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (serve, sweep) = (serve.clone(), sweep.clone());
            let (stopped, closed) = (stopped.clone(), closed.clone());
            let run = move || {
                runtime.block_on(async {
                    let accepting = accept(listener, serve, sweep);
                    tokio::select! {
                        _ = accepting => {}
                        () = stopped.cancelled() => {}
                    }
                    closed.cancelled().await;
                });
            };
            handles.push(thread::Builder::new().name(name.to_owned()).spawn(run)?);
        }
        Ok(Self {
            address,
            stopped,
            closed,
            handles: Mutex::new(handles),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connections; those that are open go on.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    /// When this returns the port is free and every connection is cut.
    pub fn close(&self) {
        self.stopped.cancel();
        self.closed.cancel();
        for handle in self.handles.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = handle.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.close();
    }
}

fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?; // the standard library's own is 128
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn accept<S, F, W>(listener: StdListener, serve: S, sweep: W) -> io::Result<()>
where
    S: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
    W: Fn(),
{
    let listener = TcpListener::from_std(listener)?;
    let mut sweeping = interval_at(Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = sweeping.tick() => {
                sweep();
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                // Its own failures are told by its reads and writes.
                let _ = stream.set_nodelay(true);
                let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
                tokio::spawn(serve(stream, peer));
            }
            Err(_) => sleep(ACCEPT_AGAIN_AFTER).await,
        }
    }
}
