//! When memory runs out, the work goes first and not the agent.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

/// Higher goes first.
const WORK: &str = "100";

/// Our own value, and the file that holds it: open for ever, since looking it up costs as much as the rest of a fork.
static OWN: LazyLock<Option<(File, String)>> = LazyLock::new(|| {
    let path = "/proc/self/oom_score_adj";
    let value = fs::read_to_string(path).ok()?;
    Some((OpenOptions::new().write(true).open(path).ok()?, value))
});

/// While it lives we are as expendable as work is, and so is what we fork. Where that cannot be, nothing else changes.
pub struct Expendable;

impl Expendable {
    pub fn start() -> Self {
        if let Some((file, _)) = &*OWN {
            let _ = file.write_at(WORK.as_bytes(), 0);
        }
        Self
    }
}

impl Drop for Expendable {
    fn drop(&mut self) {
        if let Some((file, value)) = &*OWN {
            let _ = file.write_at(value.as_bytes(), 0);
        }
    }
}
