//! Memory served to second processes that do Firecracker's handshake (SN6). As root.

use std::{fs, os::unix::fs::PermissionsExt, sync::atomic::Ordering};

use wrenn_addon::{
    snapshot::chain::Chain,
    uffd::server::{Options, Reason, Server},
};

#[path = "common/client.rs"]
mod client;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/served.rs"]
mod served;
#[path = "common/vmm.rs"]
mod vmm;
use client::{Act, Client, Lie, Outcome};
use served::{BLOCK, BLOCKS, Folder, Program, chain, ended, options, shuffled, touch, until};

#[test]
fn sn6_every_page_in_random_order_is_what_was_stored() {
    let folder = Folder::new();
    let chain = chain(&folder);
    let socket = folder.path("socket");
    let acts: Vec<Act> = shuffled(BLOCKS, 7).into_iter().map(touch).collect();
    let client = Client::start(&socket, BLOCKS, &acts, Lie::None);
    let server = Server::listen(options(&client, socket.clone()), Chain::open(&chain).unwrap()).unwrap();
    client.go();
    assert_eq!(client.outcome(), Outcome::Right);
    let end = ended(&server);
    assert_eq!((end.reason, end.failure), (Reason::VmEnded, None));
    let counters = server.counters();
    assert_eq!(counters.faults.load(Ordering::Relaxed), BLOCKS as u64);
    assert_eq!(counters.zeros.load(Ordering::Relaxed), BLOCKS.div_ceil(3) as u64);
    assert!(!socket.exists());
}

#[test]
fn sn6_four_vms_at_once() {
    let folder = Folder::new();
    let chain = chain(&folder);
    let clients: Vec<_> = (0..4)
        .map(|i| {
            let socket = folder.path(&format!("socket-{i}"));
            let acts: Vec<Act> = shuffled(BLOCKS, i).into_iter().map(touch).collect();
            let client = Client::start(&socket, BLOCKS, &acts, Lie::None);
            let server = Server::listen(options(&client, socket), Chain::open(&chain).unwrap()).unwrap();
            (client, server)
        })
        .collect();
    clients.iter().for_each(|(client, _)| client.go());
    for (client, server) in clients {
        assert_eq!(client.outcome(), Outcome::Right);
        assert_eq!(ended(&server).reason, Reason::VmEnded);
    }
}

#[test]
fn sn6_sn4_what_the_guest_gave_back_is_zeros() {
    let folder = Folder::new();
    let chain = chain(&folder);
    let socket = folder.path("socket");
    let mut acts = vec![];
    let order = shuffled(BLOCKS, 3);
    let (some, others) = order.split_at(BLOCKS / 2);
    acts.extend(some.iter().map(|block| touch(*block)));
    // Touched ones and untouched ones, singly and many in a row.
    let removed: Vec<usize> = (100..160).chain(500..503).chain([1, 2, 4, BLOCKS - 1]).collect();
    acts.push(Act::Write(101, 5));
    acts.push(Act::Remove(100, 60));
    acts.push(Act::Remove(500, 3));
    acts.extend([1, 2, 4, BLOCKS - 1].map(|block| Act::Remove(block as u32, 1)));
    acts.extend(removed.iter().map(|block| Act::Touch(*block as u32, 0, 0)));
    acts.extend([
        Act::Write(100, 9),
        Act::Touch(100, 9, 9),
        Act::Remove(100, 1),
        Act::Touch(100, 0, 0),
    ]);
    acts.extend(
        others
            .iter()
            .filter(|block| !removed.contains(block))
            .map(|block| touch(*block)),
    );
    let client = Client::start(&socket, BLOCKS, &acts, Lie::None);
    let mut options = options(&client, socket);
    // The pages that are removed are being brought in ahead meanwhile.
    let all: Vec<u32> = shuffled(BLOCKS, 9).into_iter().map(|block| block as u32).collect();
    wrenn_addon::uffd::working_set::save(&all, &folder.0, "set").unwrap();
    options.working_set = Some(folder.path("set"));
    let server = Server::listen(options, Chain::open(&chain).unwrap()).unwrap();
    client.go();
    assert_eq!(client.outcome(), Outcome::Right);
    assert_eq!(ended(&server).reason, Reason::VmEnded);
    assert_eq!(
        server.counters().removed_bytes.load(Ordering::Relaxed),
        ((removed.len() + 1) * BLOCK) as u64
    );
}

#[test]
fn sn6_the_working_set_is_brought_in_ahead() {
    let folder = Folder::new();
    let chain = chain(&folder);
    let open = || Chain::open(&chain).unwrap();
    let filled: Vec<usize> = shuffled(BLOCKS, 5)
        .into_iter()
        .filter(|block| block % 3 != 0)
        .take(300)
        .collect();
    let acts: Vec<Act> = filled.iter().map(|block| touch(*block)).collect();
    let first = Client::start(&folder.path("one"), BLOCKS, &acts, Lie::None);
    let server = Server::listen(options(&first, folder.path("one")), open()).unwrap();
    first.go();
    assert_eq!(first.outcome(), Outcome::Right);
    ended(&server);
    assert_eq!(server.save_working_set(&folder.0, "set").unwrap(), 300);
    assert_eq!(server.save_first_touches(&folder.0, "first", 100).unwrap(), 100);

    let mut later = vec![Act::Wait];
    later.extend(&acts);
    let second = Client::start(&folder.path("two"), BLOCKS, &later, Lie::None);
    let mut with_set = options(&second, folder.path("two"));
    with_set.working_set = Some(folder.path("set"));
    let server = Server::listen(with_set, open()).unwrap();
    second.go();
    until("the working set comes in", || {
        server.counters().prefetched.load(Ordering::Relaxed) == 300
    });
    second.go();
    assert_eq!(second.outcome(), Outcome::Right);
    ended(&server); // it counts a page when it has placed it
    assert_eq!(server.counters().faults.load(Ordering::Relaxed), 0);

    // With what was touched first, those pages are there, and others are waited for.
    let begun = Client::start(&folder.path("begun"), BLOCKS, &later[..=120], Lie::None);
    let mut with_set = options(&begun, folder.path("begun"));
    with_set.working_set = Some(folder.path("first"));
    let server = Server::listen(with_set, open()).unwrap();
    begun.go();
    until("what was touched first comes in", || {
        server.counters().prefetched.load(Ordering::Relaxed) == 100
    });
    begun.go();
    assert_eq!(begun.outcome(), Outcome::Right);
    ended(&server);
    assert_eq!(server.counters().faults.load(Ordering::Relaxed), 20);

    // A damaged one is passed over.
    let mut bytes = fs::read(folder.path("set")).unwrap();
    bytes[40] ^= 1;
    fs::write(folder.path("bad"), bytes).unwrap();
    let third = Client::start(&folder.path("three"), BLOCKS, &acts, Lie::None);
    let mut with_set = options(&third, folder.path("three"));
    with_set.working_set = Some(folder.path("bad"));
    let server = Server::listen(with_set, open()).unwrap();
    third.go();
    assert_eq!(third.outcome(), Outcome::Right);
    assert_eq!(server.counters().prefetched.load(Ordering::Relaxed), 0);
}

#[test]
fn sn6_vm3_a_program_of_its_own_serves_and_ends_with_its_vm() {
    let folder = Folder::new();
    let chain = chain(&folder);
    let socket = folder.path("socket");
    let mut acts: Vec<Act> = shuffled(BLOCKS, 21).into_iter().map(touch).collect();
    acts.push(Act::Wait);
    let client = Client::start(&socket, BLOCKS, &acts, Lie::None);
    let mut program = Program::serve(&folder, &client, &socket, &chain);
    assert_eq!(
        fs::metadata(folder.path("control")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    client.go();
    until("all is served", || {
        Program::ask(&folder, "stats").starts_with(&format!("{{\"faults\":{BLOCKS},"))
    });
    let filled = BLOCKS - BLOCKS.div_ceil(3);
    let save = format!("save {} set", folder.0.display());
    assert_eq!(Program::ask(&folder, &save), format!("ok {filled}\n"));
    assert!(folder.path("set").exists());
    let save_first = format!("save {} first 7", folder.0.display());
    assert_eq!(Program::ask(&folder, &save_first), "ok 7\n");
    assert_eq!(
        Program::ask(&folder, &format!("{save_first}x")),
        "error not a command\n"
    );
    assert!(Program::ask(&folder, "save /nowhere set").starts_with("error "));
    assert_eq!(Program::ask(&folder, "nonsense"), "error not a command\n");
    client.go();
    assert_eq!(client.outcome(), Outcome::Right);
    assert!(program.0.wait().unwrap().success());
}

#[test]
fn sn6_the_server_ends_with_its_vm() {
    let folder = Folder::new();
    let chain = chain(&folder);
    let open = || Chain::open(&chain).unwrap();
    // Before the handshake.
    let client = Client::start(&folder.path("one"), BLOCKS, &[], Lie::None);
    let server = Server::listen(options(&client, folder.path("one")), open()).unwrap();
    client.kill();
    assert_eq!(ended(&server).reason, Reason::VmEnded);
    assert!(!folder.path("one").exists());
    // In the middle of it.
    let client = Client::start(&folder.path("two"), BLOCKS, &[], Lie::Pieces);
    let server = Server::listen(options(&client, folder.path("two")), open()).unwrap();
    client.go();
    client.kill();
    assert_eq!(ended(&server).reason, Reason::VmEnded);
    // While it is served.
    let client = Client::start(&folder.path("three"), BLOCKS, &[touch(4), Act::Wait], Lie::None);
    let server = Server::listen(options(&client, folder.path("three")), open()).unwrap();
    client.go();
    until("a page is served", || {
        server.counters().faults.load(Ordering::Relaxed) == 1
    });
    client.kill();
    assert_eq!(ended(&server).reason, Reason::VmEnded);
    // There is none.
    let process = client.process;
    drop(client);
    let gone = Options {
        socket: folder.path("four"),
        process,
        uid: 0,
        working_set: None,
    };
    assert_eq!(
        Server::listen(gone, open()).err().map(|failure| failure.code()),
        Some("process_gone")
    );
}
