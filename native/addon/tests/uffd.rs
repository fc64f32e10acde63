//! Memory served to second processes that do Firecracker's handshake (SN6). As root.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use wrenn_addon::{
    failure::Outcome as Answer,
    snapshot::{base, build_id::BuildId, capture::Prepared, chain::Chain, publish::publish},
    uffd::{
        pages::{Page, Pages},
        server::{End, Options, Reason, Server},
    },
};

#[path = "common/client.rs"]
mod client;
#[path = "common/vmm.rs"]
mod vmm;
use client::{Act, Client, Lie, Outcome};
use vmm::Vmm;

const BLOCK: usize = 4096;
const BLOCKS: usize = 900;
const LIMIT: Duration = Duration::from_secs(60);

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "wrenn-uffd-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = Path::new("/var/tmp").join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A word of a block as generation 1 has it; every third block is zeros.
fn word(block: usize, at: usize) -> u64 {
    if block % 3 == 0 {
        0
    } else {
        ((block as u64) << 32 | at as u64) * 0x9e37_79b9 + generation(block)
    }
}

fn generation(block: usize) -> u64 {
    u64::from(block % 5 == 0 || block % 11 < 4)
}

fn bytes(block: usize, word: impl Fn(usize, usize) -> u64) -> Vec<u8> {
    (0..BLOCK / 8).flat_map(|at| word(block, at).to_le_bytes()).collect()
}

/// Generation 0 and one after it, so that `word` is what is in memory.
fn chain(folder: &Folder) -> Vec<PathBuf> {
    let old = |block, at| if generation(block) == 1 { 77 } else { word(block, at) };
    let memory: Vec<u8> = (0..BLOCKS).flat_map(|block| bytes(block, old)).collect();
    fs::write(folder.path("base"), &memory).unwrap();
    let id = || BuildId::random().unwrap();
    base::publish(&folder.path("base"), memory.len() as u64, &folder.0, "base", id()).unwrap();
    let vmm = Vmm::start(&folder.path("base"), memory.len(), 1);
    for block in (0..BLOCKS).filter(|block| generation(*block) == 1) {
        vmm.write((block * BLOCK) as u64, &bytes(block, word));
    }
    let capture = Prepared::new(vmm.process, &vmm.path).unwrap().capture().unwrap();
    let before = Chain::open(&[folder.path("base")]).unwrap();
    publish(&capture, &before, &folder.0, "1", id()).unwrap();
    vec![folder.path("base"), folder.path("1")]
}

fn touch(block: usize) -> Act {
    Act::Touch(block as u32, word(block, 0), word(block, BLOCK / 8 - 1))
}

/// Numbers in an order that depends on the seed alone.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut state = seed | 1;
    for i in (1..count).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        order.swap(i, (state >> 33) as usize % (i + 1));
    }
    order
}

fn options(client: &Client, socket: PathBuf) -> Options {
    Options {
        socket,
        process: client.process,
        uid: 0,
        working_set: None,
    }
}

fn ended(server: &Server) -> End {
    server.join();
    server.end().borrow().clone().expect("it has ended")
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        thread::yield_now();
    }
}

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

/// The program that the agent starts: it is none of our process, and ends with the VM.
struct Program(std::process::Child);

impl Program {
    fn serve(folder: &Folder, client: &Client, socket: &Path, chain: &[PathBuf]) -> Self {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_wrenn-faults"));
        program.arg("--socket").arg(socket);
        program.arg("--control").arg(folder.path("control"));
        program.args(["--pid", &client.process.pid.to_string()]);
        program.args(["--start-time", &client.process.start_time.to_string()]);
        program.args(["--uid", "0"]).args(chain);
        let program = Self(program.spawn().unwrap());
        until("it listens", || folder.path("control").exists());
        program
    }

    fn ask(folder: &Folder, line: &str) -> String {
        let mut stream = UnixStream::connect(folder.path("control")).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
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
