//! What becomes of a VM and of its server when one of them fails, hangs or lies (SN6). As root.

use std::{
    fs,
    io::Read,
    os::unix::net::UnixStream,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use wrenn_addon::{
    failure::Outcome as Answer,
    snapshot::chain::Chain,
    uffd::{
        pages::{Page, Pages},
        server::{Options, Reason, Server},
    },
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
use served::{BLOCK, BLOCKS, Folder, Program, bytes, chain, ended, options, shuffled, touch, until, word};

#[test]
fn sn6_a_program_that_fails_kills_its_vm_and_says_so() {
    let folder = Folder::new();
    let mut chain = chain(&folder);
    let socket = folder.path("socket");
    let client = Client::start(&socket, BLOCKS, &[touch(1)], Lie::Size);
    let mut program = Program::serve(&folder, &client, &socket, &chain);
    client.go();
    assert_eq!(client.outcome(), Outcome::Signal(libc::SIGKILL));
    assert!(!program.0.wait().unwrap().success());

    // One that cannot even begin leaves the VM alone: nobody was told of the socket yet.
    let other = Client::start(&folder.path("other"), BLOCKS, &[], Lie::None);
    chain.push(folder.path("missing"));
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_wrenn-faults"));
    program.arg("--socket").arg(folder.path("other"));
    program.args(["--pid", &other.process.pid.to_string()]).args(&chain);
    assert!(!program.status().unwrap().success());
    other.kill();
    assert_eq!(other.outcome(), Outcome::Signal(libc::SIGKILL));
}

/// A disk that gives nothing until it is let.
struct Stuck {
    open: Arc<(Mutex<bool>, Condvar)>,
    asked: Arc<AtomicU32>,
}

impl Pages for Stuck {
    fn memory_bytes(&self) -> u64 {
        (BLOCKS * BLOCK) as u64
    }

    fn read(&mut self, block: u32, out: &mut [u8; BLOCK]) -> Answer<Page> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (open, changed) = &*self.open;
        drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        out.copy_from_slice(&bytes(block as usize, word));
        Ok(Page::Bytes)
    }
}

#[test]
fn sn6_a_slow_disk_delays_only_its_own_vm() {
    let folder = Folder::new();
    let chain = chain(&folder);
    let acts: Vec<Act> = shuffled(BLOCKS, 2).into_iter().map(touch).collect();
    let open = Arc::new((Mutex::new(false), Condvar::new()));
    let asked = Arc::new(AtomicU32::new(0));
    let pages = || {
        Box::new(Stuck {
            open: Arc::clone(&open),
            asked: Arc::clone(&asked),
        })
    };
    let slow = Client::start(&folder.path("slow"), BLOCKS, &acts, Lie::None);
    let slow_server = Server::serve(options(&slow, folder.path("slow")), pages(), pages()).unwrap();
    slow.go();
    until("the slow disk is asked", || asked.load(Ordering::Relaxed) == 1);

    let fast = Client::start(&folder.path("fast"), BLOCKS, &acts, Lie::None);
    let server = Server::listen(options(&fast, folder.path("fast")), Chain::open(&chain).unwrap()).unwrap();
    fast.go();
    assert_eq!(fast.outcome(), Outcome::Right);
    assert_eq!(ended(&server).reason, Reason::VmEnded);

    assert_eq!(slow_server.counters().faults.load(Ordering::Relaxed), 0);
    *open.0.lock().unwrap() = true;
    open.1.notify_all();
    assert_eq!(slow.outcome(), Outcome::Right);
    assert_eq!(ended(&slow_server).reason, Reason::VmEnded);
}

#[test]
fn sn6_a_server_that_fails_kills_its_vm() {
    let folder = Folder::new();
    let chain = chain(&folder);
    let mut bytes = fs::read(&chain[1]).unwrap();
    let end = bytes.len();
    // Every byte of the data but the index before them.
    let data = end - Chain::open(&chain).unwrap().layers()[1].data_length() as usize - 200;
    bytes[data..end - 200].iter_mut().for_each(|byte| *byte ^= 1);
    fs::write(folder.path("bad"), bytes).unwrap();
    let bad = Chain::open(&[chain[0].clone(), folder.path("bad")]).unwrap();
    let acts: Vec<Act> = (0..BLOCKS).map(touch).collect();
    let client = Client::start(&folder.path("socket"), BLOCKS, &acts, Lie::None);
    let server = Server::listen(options(&client, folder.path("socket")), bad).unwrap();
    client.go();
    assert_eq!(client.outcome(), Outcome::Signal(libc::SIGKILL));
    let end = ended(&server);
    assert_eq!(
        (end.reason, end.failure.map(|(code, _)| code)),
        (Reason::Failed, Some("snapshot_damaged"))
    );
}

#[test]
fn sn6_a_handshake_that_is_wrong_ends_the_vm_and_one_in_pieces_is_fine() {
    let folder = Folder::new();
    let chain = chain(&folder);
    for lie in [Lie::Size, Lie::NoJson, Lie::Descriptor, Lie::NoDescriptor] {
        let client = Client::start(&folder.path("socket"), BLOCKS, &[touch(1)], lie);
        let server = Server::listen(options(&client, folder.path("socket")), Chain::open(&chain).unwrap()).unwrap();
        client.go();
        assert_eq!(client.outcome(), Outcome::Signal(libc::SIGKILL));
        assert_eq!(ended(&server).reason, Reason::Failed);
    }
    let client = Client::start(&folder.path("socket"), BLOCKS, &[touch(1)], Lie::Pieces);
    let server = Server::listen(options(&client, folder.path("socket")), Chain::open(&chain).unwrap()).unwrap();
    client.go();
    client.go();
    assert_eq!(client.outcome(), Outcome::Right);
    assert_eq!(ended(&server).reason, Reason::VmEnded);
}

#[test]
fn sn6_nobody_but_the_vmm_is_served() {
    let folder = Folder::new();
    let chain = chain(&folder);
    let socket = folder.path("socket");
    let client = Client::start(&socket, BLOCKS, &[touch(1)], Lie::None);
    let server = Server::listen(options(&client, socket.clone()), Chain::open(&chain).unwrap()).unwrap();
    // The right user, another process.
    let mut stranger = UnixStream::connect(&socket).unwrap();
    assert_eq!(stranger.read(&mut [0]).unwrap(), 0, "it is closed");
    client.go();
    assert_eq!(client.outcome(), Outcome::Right);
    assert_eq!(ended(&server).reason, Reason::VmEnded);
    // The right process, another user.
    let client = Client::start(&socket, BLOCKS, &[touch(1)], Lie::None);
    let other = Options {
        uid: 1234,
        ..options(&client, socket.clone())
    };
    let server = Server::listen(other, Chain::open(&chain).unwrap()).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(&socket).unwrap()),
        1234
    );
    client.go();
    server.close();
    assert_eq!(ended(&server).reason, Reason::Closed);
    assert_eq!(server.counters().faults.load(Ordering::Relaxed), 0);
}

#[test]
fn sn6_closing_kills_a_vm_that_is_served() {
    let folder = Folder::new();
    let chain = chain(&folder);
    let client = Client::start(&folder.path("socket"), BLOCKS, &[touch(4), Act::Wait], Lie::None);
    let server = Server::listen(options(&client, folder.path("socket")), Chain::open(&chain).unwrap()).unwrap();
    client.go();
    until("a page is served", || {
        server.counters().faults.load(Ordering::Relaxed) == 1
    });
    server.close();
    assert_eq!(client.outcome(), Outcome::Signal(libc::SIGKILL));
    assert_eq!(ended(&server).reason, Reason::Closed);
}

#[test]
fn sn6_regions_that_cannot_be_are_refused() {
    use wrenn_addon::uffd::handshake::{Region, regions};
    let memory = 8 * BLOCK as u64;
    let parse = |text: &str| regions(&serde_json::from_str(text).unwrap(), memory);
    let one = |address: u64, size: u64, offset: u64| {
        format!(r#"{{"base_host_virt_addr":{address},"size":{size},"offset":{offset}}}"#)
    };
    let block = BLOCK as u64;
    let whole = format!("[{}]", one(1 << 30, memory, 0));
    let expected = Region {
        address: 1 << 30,
        offset: 0,
        length: memory,
    };
    assert_eq!(parse(&whole).unwrap(), [expected]);
    let halves = format!(
        "[{},{}]",
        one(1 << 20, memory / 2, memory / 2),
        one(1 << 30, memory / 2, 0)
    );
    assert_eq!(
        parse(&halves)
            .unwrap()
            .iter()
            .map(|region| region.address)
            .collect::<Vec<_>>(),
        [1 << 20, 1 << 30]
    );
    let bad = [
        "{}".to_owned(),
        "[]".to_owned(),
        "[7]".to_owned(),
        r#"[{"size":32768,"offset":0}]"#.to_owned(),
        format!("[{}]", one(1 << 30, memory - block, 0)),
        format!("[{}]", one(1 << 30, memory, block)),
        format!("[{}]", one((1 << 30) + 1, memory, 0)),
        format!("[{}]", one(u64::MAX - block + 1, memory, 0)),
        format!("[{}]", one(1 << 30, 0, 0)),
        format!(
            "[{},{}]",
            one(1 << 30, memory, 0),
            one(1 << 31, u64::MAX - block + 1, memory)
        ),
        format!("[{},{}]", one(1 << 30, memory / 2, 0), one(1 << 31, memory / 2, 0)),
        format!(
            "[{},{}]",
            one(1 << 30, memory / 2, 0),
            one((1 << 30) + block, memory / 2, memory / 2)
        ),
        whole.replace("\"offset\":0", r#""offset":0,"page_size":2097152"#),
        whole.replace("\"offset\":0", r#""offset":0,"page_size_kib":2097152"#),
    ];
    for text in bad {
        assert!(parse(&text).is_err(), "{text}");
    }
}
