//! How fast this machine's time stamp counter runs: guests under emulation read it, and cannot measure it themselves on
//! a busy machine.

use std::{thread, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use crate::failure::{Failure, Outcome};

/// Long enough that reading two clocks one after the other costs less than a thousandth.
const SAMPLE: Duration = Duration::from_millis(10);
/// The median of these: one in which we were not running between two reads is an outlier.
const SAMPLES: usize = 5;

/// Kilohertz, from the counter and the clock that nobody adjusts.
#[cfg(target_arch = "x86_64")]
pub fn khz() -> Outcome<u32> {
    let mut measured = [(); SAMPLES].map(|()| sample());
    measured.sort_unstable();
    u32::try_from(measured[SAMPLES / 2])
        .ok()
        .filter(|khz| *khz > 0)
        .ok_or_else(|| Failure::invalid("time stamp counter", "it does not count"))
}

#[cfg(target_arch = "x86_64")]
fn sample() -> u64 {
    let (ticks, nanoseconds) = now();
    thread::sleep(SAMPLE);
    let (later_ticks, later_nanoseconds) = now();
    let elapsed = later_nanoseconds - nanoseconds;
    (u128::from(later_ticks.wrapping_sub(ticks)) * 1_000_000 / u128::from(elapsed.max(1))) as u64
}

/// The clock between two reads of the counter: their mean is the counter at that moment.
#[cfg(target_arch = "x86_64")]
fn now() -> (u64, u64) {
    // SAFETY: every x86-64 processor has the instruction.
    let ticks = || unsafe { std::arch::x86_64::_rdtsc() };
    let before = ticks();
    let clock = clock_gettime(ClockId::MonotonicRaw);
    let after = ticks();
    let nanoseconds = clock.tv_sec.cast_unsigned() * 1_000_000_000 + clock.tv_nsec.cast_unsigned();
    (before + (after - before) / 2, nanoseconds)
}

#[cfg(not(target_arch = "x86_64"))]
pub fn khz() -> Outcome<u32> {
    Err(Failure::invalid("time stamp counter", "this is no x86-64 machine"))
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree_within_a_hundredth() {
        let (one, other) = (khz().unwrap(), khz().unwrap());
        assert!(one.abs_diff(other) < one / 100, "{one} and {other} kHz");
    }
}
