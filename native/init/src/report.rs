//! Lines on the serial console: one when the guest is up, one for each thing that went wrong.

use std::fmt;

/// What failed and why; its message is the line on the console.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds what was being done to an error of the kernel.
pub trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, Failure> {
        self.map_err(|cause| Failure(format!("{what}: {cause}")))
    }
}

pub fn line(message: impl fmt::Display) {
    println!("wrenn-init: {message}");
}

pub fn error(failure: &Failure) {
    line(format_args!("error: {failure}"));
}

/// For steps without which the guest is still of use: the line on the console is all that happens.
pub fn warn(outcome: Result<(), Failure>) {
    if let Err(failure) = outcome {
        error(&failure);
    }
}

/// Milliseconds since the guest's kernel started its clock.
pub fn uptime_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}
