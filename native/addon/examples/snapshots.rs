//! What snapshots cost, in one run beside what they are made of: `cargo run --release --example snapshots [folder]`.
//! One line per figure: `name value`.

use std::{
    fs::{self, File},
    hint::black_box,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};
use wrenn_addon::{
    snapshot::{base, build_id::BuildId, capture::Prepared, chain::Chain, compare, flatten, publish, restore},
    uffd::{
        faults::{Event, Placed},
        handshake::{Handshake, Peer, Socket},
        server::{Options, Server},
    },
};

#[path = "../tests/common/client.rs"]
mod client;
#[path = "../tests/common/vmm.rs"]
mod vmm;
use client::{Act, Client, Lie};
use vmm::Vmm;

const MIB: u64 = 1 << 20;
const MEMORY: u64 = 512 * MIB;
const BLOCK: usize = 4096;
/// Medians of so many.
const ROUNDS: usize = 9;

fn main() {
    let parent = std::env::args().nth(1).unwrap_or_else(|| "/var/tmp".to_owned());
    let folder = PathBuf::from(parent).join(format!("wrenn-bench-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let memory = folder.join("memory");
    let mut bytes = vec![0; MEMORY as usize];
    let mut random = Random(1);
    random.fill(&mut bytes[..128 * MIB as usize]);
    fs::write(&memory, &bytes).unwrap();
    let begun = Instant::now();
    base::publish(&memory, MEMORY, &folder, "base.mem", BuildId::random().unwrap()).unwrap();
    say("publish the base (512 MiB, 128 filled), ms", begun.elapsed());
    let chain = Chain::open(&[folder.join("base.mem")]).unwrap();
    for dirty in [12, 64] {
        pause_and_resume(&folder, &chain, dirty * MIB, &mut random);
    }
    faults(&folder, &bytes, &mut random);
    fs::remove_dir_all(&folder).unwrap();
}

/// A guest that touches what the base has in random order, by turns: our server, and a loop that has it all in memory.
fn faults(folder: &Path, memory: &[u8], random: &mut Random) {
    let blocks = 128 * MIB as usize / BLOCK;
    let mut order: Vec<usize> = (0..blocks).collect();
    for i in (1..blocks).rev() {
        order.swap(i, random.next() as usize % (i + 1));
    }
    let word = |at: usize| u64::from_le_bytes(memory[at..at + 8].try_into().unwrap());
    let touch = |block: &usize| Act::Touch(*block as u32, word(block * BLOCK), word(block * BLOCK + BLOCK - 8));
    let acts: Vec<Act> = order.iter().map(touch).collect();
    let socket = folder.join("socket");
    let (mut ours, mut minimal) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let client = Client::start(&socket, MEMORY as usize / BLOCK, &acts, Lie::None);
        let options = Options {
            socket: socket.clone(),
            process: client.process,
            uid: 0,
            working_set: None,
        };
        let server = Server::listen(options, Chain::open(&[folder.join("base.mem")]).unwrap()).unwrap();
        ours.push(time(|| {
            client.go();
            assert_eq!(client.outcome(), client::Outcome::Right);
        }));
        server.join();
        let client = Client::start(&socket, MEMORY as usize / BLOCK, &acts, Lie::None);
        let listening = Socket::listen(&socket, 0).unwrap();
        minimal.push(thread::scope(|scope| {
            let (listening, pid) = (&listening, client.process.pid);
            scope.spawn(move || serve_from_memory(listening, pid, memory));
            time(|| {
                client.go();
                assert_eq!(client.outcome(), client::Outcome::Right);
            })
        }));
    }
    let rate = |times| blocks as f64 / median(times).as_secs_f64();
    println!("faults served, pages/s {:.0}", rate(ours));
    println!(
        "faults served by a minimal loop from memory, pages/s {:.0}",
        rate(minimal)
    );
}

/// As little as there can be between a fault and its page.
fn serve_from_memory(socket: &Socket, pid: i32, memory: &[u8]) {
    let wait = |descriptor: BorrowedFd<'_>| {
        let mut ends = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
        poll(&mut ends, None).unwrap();
        ends[0].revents()
    };
    wait(socket.listener().as_fd());
    let stream = socket.accept(Peer { pid, uid: 0 }).unwrap().unwrap();
    wait(stream.as_fd());
    let (regions, mut faults) = Handshake::default().receive(&stream, MEMORY).unwrap().unwrap();
    let ends = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::PidfdFlags::empty(),
    );
    let ends = ends.unwrap();
    let mut events: Vec<Event> = vec![];
    loop {
        let mut both = [
            PollFd::from_borrowed_fd(faults.descriptor(), PollFlags::IN),
            PollFd::new(&ends, PollFlags::IN),
        ];
        poll(&mut both, None).unwrap();
        if !both[1].revents().is_empty() {
            return;
        }
        events.clear();
        faults.read(&mut events).unwrap();
        for event in &events {
            let Event::Fault(address) = *event else {
                panic!("{event:?}")
            };
            let region = regions
                .iter()
                .find(|region| (region.address..region.address + region.length).contains(&address));
            let offset = region.map(|region| region.offset + address - region.address).unwrap() as usize;
            assert_eq!(
                faults.copy(address, &memory[offset..offset + BLOCK]).unwrap(),
                Placed::Bytes(BLOCK as u64)
            );
        }
    }
}

fn pause_and_resume(folder: &Path, chain: &Chain, dirty: u64, random: &mut Random) {
    let label = dirty / MIB;
    let base = folder.join("base.mem");
    let vmm = Vmm::start(&base, MEMORY as usize, 1);
    let mut block = [0; 8192];
    for _ in 0..dirty / 8192 {
        random.fill(&mut block);
        vmm.write(random.next() % (MEMORY / 8192) * 8192, &block);
    }
    let mut captures = vec![];
    let mut prepares = vec![];
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let prepared = Prepared::new(vmm.process, &base).unwrap();
        prepares.push(begun.elapsed());
        let begun = Instant::now();
        black_box(prepared.capture().unwrap());
        captures.push(begun.elapsed());
    }
    say(&format!("prepare ({label} MiB dirty), ms"), median(prepares));
    say(&format!("capture ({label} MiB dirty), ms"), median(captures));

    let capture = Prepared::new(vmm.process, &base).unwrap().capture().unwrap();
    let held: u64 = capture.dirty_bytes();
    let copy = vec![1u8; held as usize];
    let mut target = vec![0u8; held as usize];
    let copies = (0..ROUNDS).map(|_| time(|| black_box(&mut target).copy_from_slice(black_box(&copy))));
    say(
        &format!("memcpy of as much ({label} MiB), ms"),
        median(copies.collect()),
    );

    let build = BuildId::random().unwrap();
    let publishes =
        (0..ROUNDS).map(|_| time(|| drop(publish::publish(&capture, chain, folder, "1.gen", build).unwrap())));
    say(&format!("publish ({label} MiB dirty), ms"), median(publishes.collect()));
    // The same capture against a chain that has it all: nothing is written but an index.
    let chain = Chain::open(&[base.clone(), folder.join("1.gen")]).unwrap();
    let diffs = (0..ROUNDS).map(|_| time(|| drop(compare::compare(&capture, &chain).unwrap())));
    gigabytes(&format!("diff ({label} MiB), GB/s"), held, median(diffs.collect()));
    target.copy_from_slice(&copy);
    let compares = (0..ROUNDS).map(|_| time(|| assert!(black_box(&copy) == black_box(&target))));
    gigabytes(&format!("memcmp ({label} MiB), GB/s"), held, median(compares.collect()));

    let restores = (0..ROUNDS).map(|_| {
        let clone = Vmm::start(&base, MEMORY as usize, 1);
        time(|| assert!(restore::restore(clone.process, &base, &chain).unwrap() > 0))
    });
    say(&format!("restore ({label} MiB dirty), ms"), median(restores.collect()));
    let flattens = (0..3).map(|_| time(|| drop(flatten::flatten(&chain, folder, "flat.mem", build).unwrap())));
    say(&format!("flatten (128 + {label} MiB), ms"), median(flattens.collect()));
    File::open(folder).unwrap().sync_all().unwrap();
}

fn time(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn say(name: &str, took: Duration) {
    println!("{name} {:.2}", took.as_secs_f64() * 1e3);
}

fn gigabytes(name: &str, bytes: u64, took: Duration) {
    println!("{name} {:.2}", bytes as f64 / took.as_secs_f64() / 1e9);
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.as_chunks_mut::<8>().0 {
            *word = self.next().to_le_bytes();
        }
    }
}
