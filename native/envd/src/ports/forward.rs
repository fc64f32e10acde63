//! Passes connections on.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Pause after the system refused a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts until it is aborted, which also ends its connections: their server is gone then.
pub async fn run(listener: StdListener, target: SocketAddr) {
    let Ok(listener) = listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
    else {
        return;
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(pass(stream, target));
                }
                Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(mut outer: TcpStream, target: SocketAddr) {
    let Ok(mut inner) = TcpStream::connect(target).await else {
        return;
    };
    let _ = outer.set_nodelay(true);
    let _ = inner.set_nodelay(true);
    let _ = copy_bidirectional(&mut outer, &mut inner).await;
}
