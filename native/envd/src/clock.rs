//! The guest's clock, set by the host after boot and resume.

use crate::fault::Fault;
use rustix::time::{ClockId, Timespec};

/// Sets the real-time clock, in nanoseconds since 1970, and says by how many milliseconds that moved it.
pub fn step(time_ns: u64) -> Result<f64, Fault> {
    let before = rustix::time::clock_gettime(ClockId::Realtime);
    let time = Timespec {
        tv_sec: (time_ns / 1_000_000_000) as i64,
        tv_nsec: (time_ns % 1_000_000_000) as i64,
    };
    rustix::time::clock_settime(ClockId::Realtime, time)
        .map_err(|error| Fault::io("cannot set the clock", &error.into()))?;
    let seconds = (time.tv_sec - before.tv_sec) as f64;
    Ok(seconds * 1e3 + (time.tv_nsec - before.tv_nsec) as f64 / 1e6)
}

/// Sets the real-time clock to an RFC 3339 time.
pub fn set(timestamp: &str) -> Result<(), Fault> {
    let time: jiff::Timestamp = timestamp
        .parse()
        .map_err(|error| Fault::invalid(format!("bad timestamp '{timestamp}': {error}")))?;
    let time = Timespec {
        tv_sec: time.as_second(),
        tv_nsec: time.subsec_nanosecond().into(),
    };
    rustix::time::clock_settime(ClockId::Realtime, time)
        .map_err(|error| Fault::io("cannot set the clock", &error.into()))
}
