//! Slots for real: NET1 to NET5 against this machine's kernel, as root. Each test has slots of its own in 9000-9099.

mod common;

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    thread,
    time::Instant,
};

use common::{METADATA, anything_left, call, guest, neighbour, range, serve_on};
use wrenn_addon::{
    failure::Failure,
    net::{
        conntrack, host, namespace,
        netlink::Netlink,
        plan::Slot,
        rtnl, rules,
        slot::{self, STEPS, SlotOptions},
    },
};

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
