//! What this machine can do, found out by doing it: a device node can exist and still be of no use (AG7).

mod fault;
mod kvm;
mod machine;
mod pagemap;
pub mod tsc;

use std::{io, sync::mpsc::channel, thread, time::Duration};

use crate::net::namespace::panic_message;

/// A probe that has not come back by then does not work.
const LIMIT: Duration = Duration::from_secs(5);

/// `Err` says why not, in words.
pub type Finding = Result<(), String>;

pub struct Findings {
    /// A virtual machine ran kernel code.
    pub kvm: Finding,
    /// A page was served on its fault, also for faults of the kernel.
    pub userfaultfd: Finding,
    /// PAGEMAP_SCAN of Linux 6.7.
    pub pagemap_scan: Finding,
    /// A namespace with a tap device was made.
    pub namespaces: Finding,
    /// The rules of a host were installed in a namespace of the probe's own.
    pub nftables: Finding,
    pub device_mapper: Finding,
    pub loop_devices: Finding,
}

/// Tries everything, each on a thread of its own: a probe may change its thread's namespace, or hang.
pub fn probe() -> Findings {
    let started = [
        start(kvm::run_kernel_code),
        start(fault::serve_a_page),
        start(pagemap::scan),
        start(machine::make_a_namespace),
        start(machine::install_rules),
        start(machine::device_mapper),
        start(machine::loop_devices),
    ];
    let [
        kvm,
        userfaultfd,
        pagemap_scan,
        namespaces,
        nftables,
        device_mapper,
        loop_devices,
    ] = started.map(|answer| {
        answer
            .recv_timeout(LIMIT)
            .unwrap_or_else(|_| Err("it did not come back".to_owned()))
    });
    Findings {
        kvm,
        userfaultfd,
        pagemap_scan,
        namespaces,
        nftables,
        device_mapper,
        loop_devices,
    }
}

fn start(probe: fn() -> io::Result<()>) -> std::sync::mpsc::Receiver<Finding> {
    let (say, answer) = channel();
    thread::spawn(move || {
        let found = std::panic::catch_unwind(probe).map_err(|panic| panic_message(&*panic));
        // Nobody listens any more to one that came back late.
        let _ = say.send(found.and_then(|outcome| outcome.map_err(|error| error.to_string())));
    });
    answer
}

/// Says what a system call was for.
fn checked(what: &str, result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(failed(what, io::Error::last_os_error()))
    } else {
        Ok(result)
    }
}

fn failed(what: &str, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what}: {error}"))
}
