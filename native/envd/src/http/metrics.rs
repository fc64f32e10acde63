//! `GET /metrics`: what the guest uses of its machine.

use crate::fault::Fault;
use crate::guest::Guest;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const MIB: u64 = 1 << 20;

/// Bytes, and the same in MiB where the name says so.
#[derive(Serialize)]
pub struct Metrics {
    /// Unix seconds.
    ts: u64,
    cpu_count: usize,
    /// Share of all CPUs since the last call (since boot at the first), 0–100.
    cpu_used_pct: f64,
    mem_total: u64,
    mem_used: u64,
    mem_cache: u64,
    mem_total_mib: u64,
    mem_used_mib: u64,
    mem_cache_mib: u64,
    disk_used: u64,
    disk_total: u64,
}

/// Ticks since boot.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct CpuSample {
    busy: u64,
    total: u64,
}

pub async fn metrics(State(guest): State<Arc<Guest>>) -> Result<Json<Metrics>, Fault> {
    let stat = read("/proc/stat")?;
    let now = parse_cpu(&stat).ok_or_else(|| Fault::internal("cannot read CPU times"))?;
    let before = std::mem::replace(&mut *guest.cpu.lock().unwrap(), now);
    let meminfo = read("/proc/meminfo")?;
    let memory = parse_memory(&meminfo);
    let of = |name: &str| memory.get(name).copied().unwrap_or(0);
    let disk = rustix::fs::statvfs("/").map_err(|error| Fault::io("cannot read disk usage", &error.into()))?;
    let (total, used) = (of("MemTotal"), of("MemTotal").saturating_sub(of("MemAvailable")));
    let cache = of("Cached");
    Ok(Json(Metrics {
        ts: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs()),
        cpu_count: count_cpus(&stat),
        cpu_used_pct: used_percent(before, now),
        mem_total: total,
        mem_used: used,
        mem_cache: cache,
        mem_total_mib: total / MIB,
        mem_used_mib: used / MIB,
        mem_cache_mib: cache / MIB,
        disk_used: (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        disk_total: disk.f_blocks * disk.f_frsize,
    }))
}

fn read(path: &str) -> Result<String, Fault> {
    fs::read_to_string(path).map_err(|error| Fault::io(format!("cannot read {path}"), &error))
}

/// First line: `cpu user nice system idle iowait irq softirq steal guest guest_nice`; guest times are part of user.
fn parse_cpu(stat: &str) -> Option<CpuSample> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let total: u64 = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Some(CpuSample {
        busy: total - idle,
        total,
    })
}

fn count_cpus(stat: &str) -> usize {
    let is_cpu = |line: &&str| {
        line.strip_prefix("cpu")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    stat.lines().filter(is_cpu).count()
}

/// Two decimals, as charts show them.
fn used_percent(before: CpuSample, now: CpuSample) -> f64 {
    let total = now.total.saturating_sub(before.total);
    let busy = now.busy.saturating_sub(before.busy);
    if total == 0 {
        0.0
    } else {
        (busy as f64 * 10_000.0 / total as f64).round() / 100.0
    }
}

/// Name → bytes.
fn parse_memory(meminfo: &str) -> HashMap<&str, u64> {
    meminfo
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
            Some((name, kib * 1024))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 50 0 25 400 25 0 0 0 0 0\ncpu1 1 1 1 1 1 1 1 1\nintr 5\n";

    #[test]
    fn reads_cpu_times() {
        assert_eq!(parse_cpu(STAT), Some(CpuSample { busy: 150, total: 1000 }));
        assert_eq!(count_cpus(STAT), 2);
        assert_eq!(
            used_percent(CpuSample { busy: 0, total: 0 }, CpuSample { busy: 150, total: 1000 }),
            15.0
        );
        assert_eq!(
            used_percent(CpuSample { busy: 5, total: 5 }, CpuSample { busy: 5, total: 5 }),
            0.0
        );
    }

    #[test]
    fn reads_memory() {
        assert_eq!(
            parse_memory("MemTotal:  10 kB\nHugePages_Total: 0\n")["MemTotal"],
            10 * 1024
        );
    }
}
