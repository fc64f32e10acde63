//! VM9: one static binary, at most 5 MB resident when idle, up in at most 20 ms.
//!
//! Measures the release binary that images ship; skipped where it was not built.

mod common;

use common::{Envd, eventually};
use std::process::Command;
use std::time::{Duration, Instant};

const MAX_RESIDENT_KB: u64 = 5 * 1024;
const MAX_START: Duration = Duration::from_millis(20);

fn binary() -> Option<String> {
    let built = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target-static/x86_64-unknown-linux-gnu/release/envd"
    );
    let path = std::env::var("WRENN_ENVD_BIN").unwrap_or(built.to_owned());
    match std::fs::exists(&path) {
        Ok(true) => Some(path),
        _ => {
            eprintln!("skipped: no release binary at {path}");
            None
        }
    }
}

#[test]
fn is_static() {
    let Some(binary) = binary() else { return };
    // An interpreter is named by the program header PT_INTERP = 3 of an ELF file.
    let elf = std::fs::read(binary).unwrap();
    let u64_at = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().unwrap()) as usize;
    let u16_at = |at: usize| usize::from(u16::from_le_bytes(elf[at..at + 2].try_into().unwrap()));
    let (headers, size, count) = (u64_at(32), u16_at(54), u16_at(56));
    let kinds = (0..count).map(|index| u16_at(headers + index * size));
    assert!(
        count > 0 && kinds.into_iter().all(|kind| kind != 3),
        "it names a dynamic loader"
    );
}

#[tokio::test]
async fn starts_fast_and_stays_small() {
    let Some(binary) = binary() else { return };
    let mut starts: Vec<Duration> = (0..11)
        .map(|_| {
            let started = Instant::now();
            // Ready when it says so: the listener is bound then.
            let _envd = Envd::launch(Command::new(&binary), "127.0.0.1");
            started.elapsed()
        })
        .collect();
    starts.sort();
    assert!(starts[5] <= MAX_START, "median of 11 starts: {:?}", starts[5]);

    let envd = Envd::launch(Command::new(&binary), "127.0.0.1");
    assert_eq!(common::http::get(envd.address, "/health", &[]).await.status, 204);
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", envd.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap()
            .to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    eprintln!("start {:?}, resident {} kB", starts[5], resident());
    eventually("at most 5 MB are resident", || resident() <= MAX_RESIDENT_KB).await;
}
