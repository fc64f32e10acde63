//! Memory that is served to second processes: what it holds, and whoever serves it.
#![allow(dead_code, reason = "each program uses some of it")]

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use wrenn_addon::{
    snapshot::{base, build_id::BuildId, capture::Prepared, chain::Chain, publish::publish},
    uffd::server::{End, Options, Server},
};

pub use crate::folder::Folder;
use crate::{
    client::{Act, Client},
    vmm::Vmm,
};

pub const BLOCK: usize = 4096;
pub const BLOCKS: usize = 900;
pub const LIMIT: Duration = Duration::from_secs(60);

/// A word of a block as generation 1 has it; every third block is zeros.
pub fn word(block: usize, at: usize) -> u64 {
    if block % 3 == 0 {
        0
    } else {
        ((block as u64) << 32 | at as u64)
            .wrapping_mul(0x9e37_79b9)
            .wrapping_add(generation(block))
    }
}

pub fn generation(block: usize) -> u64 {
    u64::from(block % 5 == 0 || block % 11 < 4)
}

pub fn bytes(block: usize, word: impl Fn(usize, usize) -> u64) -> Vec<u8> {
    (0..BLOCK / 8).flat_map(|at| word(block, at).to_le_bytes()).collect()
}

/// Generation 0 and one after it, so that `word` is what is in memory.
pub fn chain(folder: &Folder) -> Vec<PathBuf> {
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

pub fn touch(block: usize) -> Act {
    Act::Touch(block as u32, word(block, 0), word(block, BLOCK / 8 - 1))
}

/// Numbers in an order that depends on the seed alone.
pub fn shuffled(count: usize, seed: u64) -> Vec<usize> {
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

pub fn options(client: &Client, socket: PathBuf) -> Options {
    Options {
        socket,
        process: client.process,
        uid: 0,
        working_set: None,
    }
}

pub fn ended(server: &Server) -> End {
    server.join();
    server.end().borrow().clone().expect("it has ended")
}

pub fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        thread::yield_now();
    }
}

/// The program that the agent starts: it is none of our process, and ends with the VM.
pub struct Program(pub std::process::Child);

impl Program {
    pub fn serve(folder: &Folder, client: &Client, socket: &Path, chain: &[PathBuf]) -> Self {
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

    pub fn ask(folder: &Folder, line: &str) -> String {
        let mut stream = UnixStream::connect(folder.path("control")).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}
