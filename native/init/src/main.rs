//! The first program of a guest, in two roles told apart by the name it runs under.
//!
//! As `/init` of the initrd it loads the virtio modules, mounts `/dev/vda` and hands over to
//! `/sbin/wrenn-init` on that disk. There, as PID 1 (VM5), it mounts the kernel's file systems, brings up
//! loopback and the interface named by the kernel argument `ip=`, grows the root file system to its disk
//! (FS4), starts envd and the image's services, and from then on reaps, restarts and shuts down.
//!
//! Every step is synchronous and waits for nothing but the kernel: there are no sleeps on the way to envd.

mod cmdline;
mod disk;
mod initrd;
mod modules;
mod mounts;
mod network;
mod report;
mod services;
mod signals;
mod supervise;

fn main() {
    let outcome = match std::env::args().next().as_deref() {
        Some("/init") => initrd::run(),
        _ => supervise::run(),
    };
    if let Err(failure) = outcome {
        report::error(&failure);
    }
    // PID 1 must not return: the kernel would panic with a trace that hides the message above.
    supervise::power_off();
}
