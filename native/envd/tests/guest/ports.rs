//! Wire facts §2.4: listeners on 127.0.0.1 are reachable by the guest's outer address.

use crate::common::Envd;
use rustix::thread::UnshareFlags;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

const OUTER: &str = "10.111.0.1";

#[test]
fn inner_listeners_are_reachable_outside_while_they_listen() {
    // A network of our own, for this thread and the agent that it starts.
    // SAFETY: no other thread of the test shares what is unshared here.
    if unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.is_err() {
        eprintln!("skipped: no network namespaces here");
        return;
    }
    for words in [
        "link set lo up",
        "link add eth0 type veth peer name peer0",
        &format!("addr add {OUTER}/24 dev eth0"),
        "link set eth0 up",
        "link set peer0 up",
    ] {
        let status = Command::new("ip").args(words.split(' ')).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("skipped: cannot 'ip {words}'");
            return;
        }
    }
    let _envd = Envd::launch(Command::new(crate::common::BINARY), "0.0.0.0");
    let inner = TcpListener::bind("127.0.0.1:8123").unwrap();
    let outer: SocketAddr = format!("{OUTER}:8123").parse().unwrap();
    let mut client = eventually(|| TcpStream::connect(outer).ok());
    let (mut server, peer) = inner.accept().unwrap();
    assert!(peer.ip().is_loopback());
    client.write_all(b"ping").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).unwrap();
    server.write_all(b"pong").unwrap();
    drop(server);
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "pingpong");
    drop(inner);
    eventually(|| TcpStream::connect(outer).err());
    // What listens everywhere is left alone.
    let everywhere = TcpListener::bind("0.0.0.0:8124").unwrap();
    let mut client = eventually(|| TcpStream::connect((OUTER, 8124)).ok());
    let (_server, peer) = everywhere.accept().unwrap();
    assert_eq!(peer.ip(), client.local_addr().unwrap().ip());
    let _ = client.flush();
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(20));
    }
}
