//! What snapshots cost, in one run beside what they are made of: `cargo run --release --example snapshots [folder]`.
//! One line per figure: `name value`.

use std::{
    fs::{self, File},
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use wrenn_addon::snapshot::{base, build_id::BuildId, capture::Prepared, chain::Chain, flatten, publish, restore};

#[path = "../tests/common/vmm.rs"]
mod vmm;
use vmm::Vmm;

const MIB: u64 = 1 << 20;
const MEMORY: u64 = 512 * MIB;
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
    fs::remove_dir_all(&folder).unwrap();
}

fn pause_and_resume(folder: &std::path::Path, chain: &Chain, dirty: u64, random: &mut Random) {
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
    let diffs = (0..ROUNDS).map(|_| time(|| drop(publish::compare(&capture, &chain).unwrap())));
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
    if std::env::var_os("MIN").is_some() {
        return times[0];
    }
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
