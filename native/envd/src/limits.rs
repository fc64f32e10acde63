//! What the system lets us use.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::OnceLock;

static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();

/// Allows as many open files as possible: every process and connection needs some.
pub fn raise_open_files() {
    let original = ORIGINAL.get_or_init(|| getrlimit(Resource::Nofile));
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: original.maximum,
            maximum: original.maximum,
        },
    );
}

/// The limit that we were started with. Processes get it: some programs walk through all possible descriptors.
pub fn original_open_files() -> libc::rlimit {
    let limit = ORIGINAL.get().cloned().unwrap_or_else(|| getrlimit(Resource::Nofile));
    let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    libc::rlimit {
        rlim_cur: number(limit.current),
        rlim_max: number(limit.maximum),
    }
}

/// Keeps the resident size small (spec VM9): one arena, and memory that is free goes back to the kernel.
pub fn tune_allocator() {
    // SAFETY: called before there are other threads.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}

/// Gives back what lies free between blocks in use; costs less than a millisecond.
pub fn trim_memory() {
    // SAFETY: it may be called at any time.
    unsafe { libc::malloc_trim(0) };
}
