//! A program that publishes and merges generations is killed at any moment; what it had reported is all there (SN5).

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use wrenn_addon::snapshot::{
    base,
    build_id::BuildId,
    capture::Prepared,
    chain::{Chain, Reader},
    format::checksum,
    merge::merge,
    publish::publish,
    restore::restore,
    verify::verify,
};

#[path = "common/vmm.rs"]
mod vmm;
use vmm::Vmm;

const BLOCK: usize = 4096;
const BLOCKS: usize = 600;
const KILLS: u64 = 25;
/// Where the program to be killed finds its chain.
const CHAIN: &str = "WRENN_TEST_CHAIN";
/// It merges at so many files, to do it often.
const MERGE_AT: usize = 4;

fn content(chain: &Chain) -> Vec<u8> {
    let mut out = vec![0; chain.memory_bytes() as usize];
    Reader::new(chain).read_memory(0, &mut out).unwrap();
    out
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn sn5_kill_9_at_any_point_loses_nothing_that_was_reported() {
    let folder = Path::new("/var/tmp").join(format!("wrenn-crashes-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut random = seed;
    let memory: Vec<u8> = (0..BLOCKS * BLOCK).map(|i| (i / BLOCK % 7) as u8).collect();
    fs::write(folder.join("0"), &memory).unwrap();
    base::publish(
        &folder.join("0"),
        memory.len() as u64,
        &folder,
        "0",
        BuildId::random().unwrap(),
    )
    .unwrap();
    let (mut chain, mut expected) = (vec![folder.join("0")], checksum(&memory));
    let (mut generations, mut merges) = (0, 0);
    for _ in 0..KILLS {
        let mut program = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_program_to_be_killed", "--ignored", "--nocapture"])
            .env(CHAIN, join(&chain))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let mut reports = 0;
        let wanted = next(&mut random) % 5;
        while let Some(Ok(line)) = lines.next() {
            if let Some((kind, sum, paths)) = parse(&line) {
                (chain, expected) = (paths, sum);
                if kind == "merged" {
                    merges += 1
                } else {
                    generations += 1
                }
                reports += 1;
                if reports > wanted {
                    break;
                }
            }
        }
        // Somewhere in the next generation.
        let moment = Duration::from_micros(next(&mut random) % 8000);
        let begun = Instant::now();
        while begun.elapsed() < moment {
            std::hint::spin_loop();
        }
        program.kill().unwrap();
        // What it had still said before it died counts.
        for line in lines.map_while(Result::ok) {
            if let Some((_, sum, paths)) = parse(&line) {
                (chain, expected) = (paths, sum);
            }
        }
        program.wait().unwrap();
        let opened = Chain::open(&chain).unwrap();
        assert_eq!(checksum(&content(&opened)), expected, "seed {seed}");
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|end| end != "part") {
                verify(&path).unwrap();
            }
        }
    }
    println!("{generations} generations and {merges} merges before {KILLS} kills");
    assert!(generations > 0);
    fs::remove_dir_all(&folder).unwrap();
}

fn join(chain: &[PathBuf]) -> String {
    chain
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(":")
}

/// `ready|merged <checksum> <path>:<path>…`, anywhere in a line of the test runner's.
fn parse(line: &str) -> Option<(&str, u32, Vec<PathBuf>)> {
    let start = line.find("ready ").or_else(|| line.find("merged "))?;
    let mut words = line[start..].split(' ');
    let (kind, sum, paths) = (words.next()?, words.next()?, words.next()?);
    let end = words.next();
    (end == Some("end")).then_some(())?;
    Some((kind, sum.parse().ok()?, paths.split(':').map(PathBuf::from).collect()))
}

#[test]
#[ignore = "the test above runs and kills it"]
fn the_program_to_be_killed() {
    let mut chain: Vec<PathBuf> = std::env::var(CHAIN).unwrap().split(':').map(PathBuf::from).collect();
    let folder = chain[0].parent().unwrap().to_owned();
    let mut memory = content(&Chain::open(&chain).unwrap());
    let mut random = u64::from(std::process::id()) << 32 | 1;
    loop {
        let vmm = Vmm::start(&chain[0], memory.len(), 1);
        let opened = Chain::open(&chain).unwrap();
        restore(vmm.process, &chain[0], &opened).unwrap();
        for _ in 0..40 {
            let block = next(&mut random) as usize % BLOCKS;
            let fill = (next(&mut random) % 4) as u8;
            memory[block * BLOCK..][..BLOCK].fill(fill);
            vmm.write((block * BLOCK) as u64, &memory[block * BLOCK..][..BLOCK]);
        }
        let capture = Prepared::new(vmm.process, &chain[0]).unwrap().capture().unwrap();
        let build = BuildId::random().unwrap();
        let name = build.to_string();
        publish(&capture, &opened, &folder, &name, build).unwrap();
        chain.push(folder.join(name));
        println!("ready {} {} end", checksum(&memory), join(&chain));
        if chain.len() >= MERGE_AT {
            let build = BuildId::random().unwrap();
            let name = build.to_string();
            merge(&Chain::open(&chain).unwrap(), &folder, &name, build).unwrap();
            let merged = vec![chain[0].clone(), folder.join(name)];
            println!("merged {} {} end", checksum(&memory), join(&merged));
            let old = std::mem::replace(&mut chain, merged);
            old[1..].iter().for_each(|path| fs::remove_file(path).unwrap());
        }
    }
}
