//! Slots for real: NET1 to NET4 against this machine's kernel, as root. Each test has slots of its own in 9000-9099.

mod common;

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use common::{METADATA, call, guest, neighbour, serve_on};
use wrenn_addon::{
    failure::Failure,
    net::{
        conntrack,
        dns::message,
        egress::{self, Policy, Resolving},
        host, namespace,
        netlink::Netlink,
        plan::{Slot, SlotRange, TAP_ADDRESS},
        rtnl, rules,
        slot::{self, STEPS, SlotOptions},
    },
};

/// The range, without what a run that failed has left of it.
fn range(first: u32, last: u32) -> SlotRange {
    let range = SlotRange::new(first, last).unwrap();
    host::remove(range).unwrap();
    range
}

fn anything_left(range: SlotRange) -> bool {
    !slot::list(range).unwrap().is_empty()
}

#[test]
fn net1_a_slot_is_made_listed_and_removed_whole() {
    let range = range(9000, 9009);
    let slot = range.first;
    slot::create(slot, SlotOptions::default()).unwrap();
    let found = slot::list(range).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].slot == slot && found[0].namespace && found[0].veth && found[0].route);
    let twice = slot::create(slot, SlotOptions::default());
    assert!(matches!(twice, Err(Failure::SlotExists { index: 9000 })), "{twice:?}");
    assert_eq!(slot::list(range).unwrap(), found, "a refused create changes nothing");
    slot::remove(slot).unwrap();
    assert!(!anything_left(range));
    slot::remove(slot).unwrap();
}

#[test]
fn net2_a_failure_at_any_step_leaves_nothing() {
    let range = range(9010, 9019);
    for step in STEPS {
        let options = SlotOptions {
            fail_at: Some(step),
            ..SlotOptions::default()
        };
        let failed = slot::create(range.first, options);
        assert!(
            matches!(failed, Err(Failure::SlotStep { step: at, .. }) if at == step),
            "{step}: {failed:?}"
        );
        assert!(!anything_left(range), "after {step}");
    }
    slot::create(range.first, SlotOptions::default()).expect("the slot is free again");
    slot::remove(range.first).unwrap();
}

#[test]
fn net3_ranges_side_by_side_do_not_see_each_other() {
    let (ours, others) = (range(9020, 9024), range(9025, 9029));
    for range in [ours, others] {
        host::prepare(range).unwrap();
        host::prepare(range).expect("preparing again is fine");
        slot::create(range.first, SlotOptions::default()).unwrap();
    }
    // What a crash leaves: a name without a namespace.
    fs::File::create(namespace::path(&Slot::new(9022).unwrap().namespace())).unwrap();
    assert_eq!(slot::list(ours).unwrap().len(), 2);
    host::remove(ours).unwrap();
    assert!(!anything_left(ours));
    assert_eq!(slot::list(others).unwrap().len(), 1, "the other agent's slot stays");
    host::remove(others).unwrap();
    host::remove(others).expect("removing again is fine");
    assert!(!anything_left(others));
}

/// On a host of its own (a namespace), so that no other agent's rules hide what ours do.
#[test]
fn net4_isolation() {
    namespace::on_own_thread(|| {
        namespace::enter_unnamed().unwrap();
        Netlink::route().unwrap().send(vec![rtnl::link_up(1)]).unwrap();
        guests_reach_the_world_but_neither_each_other_nor_the_host_nor_metadata();
        Ok(())
    })
    .unwrap();
}

fn guests_reach_the_world_but_neither_each_other_nor_the_host_nor_metadata() {
    let range = range(9030, 9039);
    let (one, two) = (Slot::new(9030).unwrap(), Slot::new(9031).unwrap());
    host::prepare(range).unwrap();
    for slot in [one, two] {
        slot::create(slot, SlotOptions::default()).unwrap();
    }
    let world = neighbour("wrenn-test-a", 1);
    let (alice, bob) = (guest(one), guest(two));
    world.serve(7001);
    alice.serve(7001);
    bob.serve(7001);
    let service = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let service_port = service.local_addr().unwrap().port();
    thread::spawn(move || serve_on(&service));

    let from_host = call(one.host_ip(), 7001).expect("the host reaches its guest (NET2)");
    assert_eq!(from_host, one.veth_host_ip().to_string());
    let seen_outside = alice
        .call(Ipv4Addr::new(10, 99, 1, 2), 7001)
        .expect("a guest reaches the world");
    assert_eq!(seen_outside, "10.99.1.1", "as its host");

    assert!(
        call(Ipv4Addr::new(10, 99, 1, 1), service_port).is_some(),
        "the host's service is up"
    );
    assert!(
        world.call(Ipv4Addr::new(10, 99, 1, 1), service_port).is_some(),
        "and reachable for others"
    );
    for address in [one.veth_host_ip(), two.veth_host_ip(), Ipv4Addr::new(10, 99, 1, 1)] {
        assert_eq!(alice.call(address, service_port), None, "host service at {address}");
    }
    for address in [
        two.host_ip(),
        two.veth_guest_ip(),
        one.veth_guest_ip(),
        Ipv4Addr::new(169, 254, 0, 22),
    ] {
        assert_eq!(alice.call(address, 7001), None, "other guest at {address}");
    }
    assert!(call(METADATA, 7001).is_some(), "the host reaches the metadata service");
    assert_eq!(alice.call(METADATA, 7001), None, "its guest does not");
    for address in [one.host_ip(), one.veth_guest_ip()] {
        assert_eq!(
            world.call(address, 7001),
            None,
            "nobody comes in from outside, at {address}"
        );
    }

    let mut netfilter = Netlink::netfilter().unwrap();
    rules::remove_host(&mut netfilter, range).unwrap();
    let unguarded = alice.call(Ipv4Addr::new(10, 99, 1, 1), service_port);
    assert!(unguarded.is_some(), "it was the rules that kept the guest out");
    host::prepare(range).unwrap();
    assert_eq!(alice.call(Ipv4Addr::new(10, 99, 1, 1), service_port), None);

    drop((alice, bob, world));
    assert!(conntrack::count(one).unwrap() > 0, "NAT remembers its connections");
    slot::remove(one).unwrap();
    assert_eq!(
        conntrack::count(one).unwrap(),
        0,
        "whoever gets the slot next inherits none"
    );
    rtnl::delete_link(&mut Netlink::route().unwrap(), "wrenn-test-a").unwrap();
    host::remove(range).unwrap();
    assert!(!anything_left(range));
}

#[test]
fn net5_a_slot_costs_little() {
    let range = range(9040, 9059);
    let started = Instant::now();
    for index in 9040..9060 {
        slot::create(Slot::new(index).unwrap(), SlotOptions::default()).unwrap();
    }
    let made = started.elapsed() / 20;
    let started = Instant::now();
    for index in 9040..9060 {
        slot::remove(Slot::new(index).unwrap()).unwrap();
    }
    println!("a slot is made in {made:?}, removed in {:?}", started.elapsed() / 20);
    assert!(!anything_left(range));
    // The aim is 30 ms on an idle machine; ten times that means something is wrong.
    assert!(made.as_millis() < 300, "{made:?}");
}

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
