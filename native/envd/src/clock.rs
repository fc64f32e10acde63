//! The guest's clock, set by the host after boot and resume.

use crate::fault::Fault;
use rustix::time::{ClockId, Timespec};

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
