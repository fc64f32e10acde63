//! Egress policies for real (NET4), by address and by name, as root. Each test has slots of its own in 9000-9099.

mod common;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use common::{anything_left, call, guest, neighbour, range};
use wrenn_addon::{
    failure::Failure,
    net::{
        dns::message,
        egress::{self, Policy, Resolving},
        host,
        netlink::Netlink,
        plan::TAP_ADDRESS,
        rtnl,
        slot::{self, SlotOptions},
    },
};

/// NET4: a policy takes away, its exceptions come back, it changes while the guest talks, and the host still reaches it.
#[test]
fn net4_an_egress_policy_holds_and_changes_while_the_guest_runs() {
    let range = range(9090, 9094);
    host::prepare(range).unwrap();
    let slot = range.first;
    slot::create(slot, SlotOptions::default()).unwrap();
    let world = neighbour("wrenn-test-e", 5);
    let alice = guest(slot);
    world.serve(7005);
    alice.serve(7005);
    let there = Ipv4Addr::new(10, 99, 5, 2);
    let resolving = resolving(vec![]);
    let policy = |allow: &[&str], deny: &[&str]| egress::set(slot, policy(allow, deny), &resolving.0).unwrap();
    assert!(alice.call(there, 7005).is_some(), "without a policy");
    for (allow, deny, reached) in [
        (&[][..], &["0.0.0.0/0"][..], false),
        (&["10.99.5.2/32"], &["0.0.0.0/0"], true),
        (&["10.99.4.0/24"], &["10.0.0.0/8"], false),
        (&[], &["203.0.113.0/24"], true),
        (&[], &["10.99.5.0/24", "203.0.113.0/24"], false),
        (&[], &[], true),
    ] {
        policy(allow, deny);
        assert_eq!(alice.call(there, 7005).is_some(), reached, "{allow:?} before {deny:?}");
        assert!(
            call(slot.host_ip(), 7005).is_some(),
            "the host reaches its guest with {deny:?}"
        );
    }
    host::remove(range).unwrap();
}

fn policy(allow: &[&str], deny: &[&str]) -> Policy {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    Policy::parse(&owned(allow), &owned(deny)).unwrap()
}

/// With the runtime that it lives on.
fn resolving(servers: Vec<SocketAddr>) -> (Resolving, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    (
        Resolving {
            servers,
            runtime: handle,
        },
        runtime,
    )
}

/// Names of the test's world: every one below `example.com` is the one machine, below `example.org` the other.
fn address_of(name: &str) -> [u8; 4] {
    [10, 99, 6, if name.ends_with("example.com") { 2 } else { 3 }]
}

/// A name server for them, by datagrams and connections. Answers to names with `long` only fit the latter.
fn answer_as_name_server(query: &[u8], by_datagram: bool) -> Vec<u8> {
    let question = message::question_of_query(query).unwrap();
    let mut answer = message::answer(query, Some(&question), message::Code::Refused);
    answer[3] &= 0xf0;
    if by_datagram && question.name.contains("long") {
        answer[2] |= 2; // truncated
        return answer;
    }
    answer[7] = 1;
    answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04");
    answer.extend(address_of(&question.name));
    answer
}

fn serve_names(port: u16) {
    let (udp, tcp) = (
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap(),
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap(),
    );
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            udp.send_to(&answer_as_name_server(&buffer[..length], true), from)
                .unwrap();
        }
    });
    thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let query = read_framed(&mut stream);
            write_framed(&mut stream, &answer_as_name_server(&query, false));
        }
    });
}

fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).unwrap();
    message
}

fn write_framed(stream: &mut TcpStream, message: &[u8]) {
    let length = (message.len() as u16).to_be_bytes();
    stream.write_all(&[&length, message].concat()).unwrap();
}

fn question_for(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.extend(b"\x00\x00\x01\x00\x01");
    query
}

/// What a resolver in the guest would get: the addresses, or the response code. It asks a server that is nowhere.
fn look_up(name: &str) -> Result<Vec<Ipv4Addr>, u8> {
    let query = question_for(name);
    let server = (Ipv4Addr::new(203, 0, 113, 53), 53);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.send_to(&query, server).unwrap();
    let mut buffer = [0; 512];
    let (length, from) = socket.recv_from(&mut buffer).expect("an answer");
    assert_eq!(from, server.into(), "as if from the server that was asked");
    let mut answer = buffer[..length].to_vec();
    if answer[2] & 2 != 0 {
        let mut stream = TcpStream::connect(server).unwrap();
        write_framed(&mut stream, &query);
        answer = read_framed(&mut stream);
    }
    assert_eq!(answer[..2], query[..2]);
    match answer[3] & 0x0f {
        0 => {
            let question = message::question_of_response(&answer).unwrap();
            let found = message::addresses(&answer, &question);
            Ok(found.into_iter().map(|found| found.address).collect())
        }
        code => Err(code),
    }
}

/// NET4: with domain names a guest reaches the addresses of allowed names, once it has asked for them, and no others.
#[test]
fn net4_a_policy_of_names_opens_what_they_resolve_to() {
    const NO_SUCH_NAME: u8 = 3;
    let range = range(9080, 9084);
    host::prepare(range).unwrap();
    let slot = range.first;
    slot::create(slot, SlotOptions::default()).unwrap();
    let world = neighbour("wrenn-test-f", 6);
    let [com, org, stranger] = [2, 3, 4].map(|last| Ipv4Addr::new(10, 99, 6, last));
    world.run(move || {
        let mut netlink = Netlink::route().unwrap();
        let more = [org, stranger].map(|address| rtnl::new_address(2, address, 24));
        netlink.send(more.into()).unwrap();
        serve_names(7053);
    });
    let victim = world.run(move || UdpSocket::bind((stranger, 7055)).unwrap());
    world.serve(7006);
    let alice = guest(slot);
    // The first server is not there: the second one is asked.
    let nobody = SocketAddr::from((com, 7054));
    let (resolving, runtime) = resolving(vec![nobody, (com, 7053).into()]);
    let set = |allow: &[&str], deny: &[&str]| egress::set(slot, policy(allow, deny), &resolving).unwrap();
    let ask = |name: &'static str| alice.run(move || look_up(name));
    let reaches = |address| alice.call(address, 7006).is_some();

    set(&["*.example.com", "example.com"], &["0.0.0.0/0"]);
    assert!(!reaches(com), "nobody has asked for its name");
    assert_eq!(ask("www.Example.com"), Ok(vec![com]));
    assert!(reaches(com), "its name has been asked for");
    assert_eq!(ask("example.org"), Err(NO_SUCH_NAME));
    assert_eq!(ask("notexample.com"), Err(NO_SUCH_NAME));
    assert!(!reaches(org));
    assert_eq!(ask("long.example.com"), Ok(vec![com]), "over a connection");

    // A question in the name of a stranger is not answered: he would get whatever the guest says.
    alice.run(move || {
        let mut netlink = Netlink::route().unwrap();
        let card = rtnl::link_index(&mut netlink, "eth0").unwrap();
        netlink.send(vec![rtnl::new_address(card, stranger, 32)]).unwrap();
        let socket = UdpSocket::bind((stranger, 7055)).unwrap();
        socket
            .send_to(&question_for("secret.example.org"), (TAP_ADDRESS, 53))
            .unwrap();
    });
    assert_eq!(ask("example.org"), Err(NO_SUCH_NAME), "asked after it");
    victim.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(victim.recv(&mut [0; 512]).is_err(), "an answer got out");

    // A connection that is open is kept by a policy that still has the name, and cut by one that has not.
    world.run(|| {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7007)).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).unwrap();
            }
        });
    });
    let stream = alice.run(move || TcpStream::connect((com, 7007)).unwrap());
    let echoes = |patience: Duration| {
        let mut stream = stream.try_clone().unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).is_ok()
    };
    let (soon, long) = (Duration::from_millis(400), Duration::from_secs(20));
    assert!(echoes(long));
    set(&["www.example.com", "*.example.org"], &["0.0.0.0/0"]);
    assert!(echoes(long), "the name is still allowed");
    assert_eq!(ask("a.example.org"), Ok(vec![org]));
    assert!(reaches(org));
    set(&["*.example.org"], &["0.0.0.0/0"]);
    assert!(!echoes(soon), "its name is allowed no more");
    assert!(!reaches(com));
    assert!(reaches(org), "known, and still allowed");

    // Without a general prohibition only what is named is away.
    set(&[], &["*.example.org"]);
    assert_eq!(ask("example.com"), Ok(vec![com]));
    assert_eq!(ask("a.example.org"), Err(NO_SUCH_NAME));
    set(&[], &["0.0.0.0/0"]);
    assert!(!reaches(com) && !reaches(org));
    set(&[], &[]);
    assert!(reaches(com) && reaches(org));

    // An agent that has been away takes over a policy that is in force.
    set(&["example.com"], &["0.0.0.0/0"]);
    assert_eq!(ask("example.com"), Ok(vec![com]));
    egress::forget(slot);
    assert!(reaches(com), "what is open stays open without the agent");
    let served = || egress::serve(slot, policy(&["example.com"], &["0.0.0.0/0"]), &resolving);
    while let Err(error) = served() {
        assert!(matches!(error, Failure::System { .. }), "{error}"); // its sockets are being closed
        thread::yield_now();
    }
    assert_eq!(ask("example.com"), Ok(vec![com]));
    assert!(!reaches(org));
    host::remove(range).unwrap();
    assert!(!anything_left(range));
    drop(runtime);
}
