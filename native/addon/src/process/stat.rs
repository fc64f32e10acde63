//! What a process uses.

use std::{fs, io};

use super::identity::{self, Identity};
use crate::failure::{During, Outcome};

pub struct Usage {
    pub start_time: u64,
    pub rss_bytes: u64,
    pub cpu_usec: u64,
    /// Memory that nobody shares with it. `None` where the kernel does not say (no smaps_rollup).
    pub private_bytes: Option<u64>,
}

/// `None`: no such process.
pub fn usage(pid: i32) -> Outcome<Option<Usage>> {
    read(pid).during(|| format!("looking at process {pid}"))
}

fn read(pid: i32) -> io::Result<Option<Usage>> {
    let (Some(stat), Some(status)) = (identity::stat(pid)?, text(pid, "status")?) else {
        return Ok(None);
    };
    let rollup = text(pid, "smaps_rollup").unwrap_or_default();
    // A process that ended in between is gone, not half there.
    if Identity::of(pid)?.map(|now| now.start_time) != Some(stat.start_time) {
        return Ok(None);
    }
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Ok(Some(Usage {
        start_time: stat.start_time,
        rss_bytes: kilobytes(&status, "VmRSS:").unwrap_or(0) * 1024,
        cpu_usec: (stat.user_ticks + stat.system_ticks) * 1_000_000 / ticks_per_second,
        private_bytes: rollup.map(|text| {
            let own = ["Private_Clean:", "Private_Dirty:"];
            own.iter().filter_map(|key| kilobytes(&text, key)).sum::<u64>() * 1024
        }),
    }))
}

fn text(pid: i32, file: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(format!("/proc/{pid}/{file}")) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
