//! What the byte path's hop costs: the same small request straight to a server and through a front, in one run.
//!   cargo run --release --example hop

use std::{
    net::Ipv4Addr,
    sync::LazyLock,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use wrenn_addon::front::{
    route::RouteSpec,
    server::{Front, FrontOptions},
    table::Table,
};

static TABLE: LazyLock<Table> = LazyLock::new(Table::default);
const GUEST: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
const RUN_FOR: Duration = Duration::from_secs(3);

fn main() {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind((GUEST, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(serve(listener));
    TABLE.set(&RouteSpec {
        sandbox_id: "sb1".into(),
        incarnation: 1,
        guest_ip: GUEST,
        access_token: String::new(),
        ready: true,
    });
    let options = FrontOptions {
        address: "127.0.0.1:0".into(),
        upstream: "/none".into(),
        identity: None,
    };
    let front = Front::listen(options, &TABLE).unwrap();
    for connections in [1, 32] {
        let direct = runtime.block_on(measure((GUEST, port), "/".into(), connections));
        let through = runtime.block_on(measure(
            (Ipv4Addr::LOCALHOST, front.address().port()),
            format!("/proxy/sb1/{port}/"),
            connections,
        ));
        println!("{connections:>2} connections: direct {direct}, through the front {through}");
    }
}

async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let (mut buffer, mut read) = ([0; 4096], 0);
            while let Ok(count @ 1..) = stream.read(&mut buffer[read..]).await {
                read += count;
                if buffer[..read].ends_with(b"\r\n\r\n") {
                    read = 0;
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                    stream.write_all(answer).await.unwrap();
                }
            }
        });
    }
}

async fn measure(address: (Ipv4Addr, u16), path: String, connections: usize) -> String {
    let clients = (0..connections).map(|_| tokio::spawn(ask(address, path.clone())));
    let mut times = vec![];
    for client in clients.collect::<Vec<_>>() {
        times.extend(client.await.unwrap());
    }
    times.sort();
    let at = |share: f64| times[(times.len() as f64 * share) as usize];
    format!(
        "{:.0}/s, p50 {:?}, p99 {:?}",
        times.len() as f64 / RUN_FOR.as_secs_f64(),
        at(0.5),
        at(0.99)
    )
}

async fn ask(address: (Ipv4Addr, u16), path: String) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let (mut times, mut buffer, started) = (vec![], [0; 4096], Instant::now());
    while started.elapsed() < RUN_FOR {
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = 0;
        while !buffer[..read].ends_with(b"hello") {
            read += stream.read(&mut buffer[read..]).await.unwrap();
        }
        times.push(sent.elapsed());
    }
    times
}
