//! Work on many pieces by as many threads as the machine has cores, the calling one among them.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::failure::{Failure, Outcome};

/// More gain nothing on a disk, and the agent has other things to do.
const MOST_THREADS: usize = 8;

/// Does `work` for 0..`count`, each once, in order of their start; every thread makes itself a `state` first. The first
/// failure stops the others and is the outcome.
pub fn each<S>(
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Outcome<()> + Sync,
) -> Outcome<()> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failure: Mutex<Option<Failure>> = Mutex::new(None);
    let run = || {
        let mut state = state();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            if let Err(error) = work(&mut state, index) {
                stop.store(true, Ordering::Relaxed);
                failure.lock().expect("nobody panics with it").get_or_insert(error);
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 1..cores.min(MOST_THREADS).min(count) {
            scope.spawn(run);
        }
        run();
    });
    failure.into_inner().expect("nobody panics with it").map_or(Ok(()), Err)
}
