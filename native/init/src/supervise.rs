//! Second role: PID 1 of the running guest. Sets it up, keeps envd alive, reaps, and shuts down on request.

use crate::{
    cmdline, disk, mounts, network,
    report::{self, Doing, Failure},
};
use rustix::{
    fs::sync,
    mount::{MountFlags, mount_remount},
    process::{Pid, Signal, WaitOptions, wait},
    system::{RebootCommand, reboot},
};
use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

const ENVD: &str = "/usr/bin/envd";
const ENVD_PORT: &str = "49983";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// An envd that dies sooner than this after its start is not started again at once: it would spin.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// What processes get between SIGTERM and SIGKILL when the guest shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Set by the signals that ask for a shutdown; the kernel interrupts `wait` for them.
static SHUTDOWN: AtomicBool = AtomicBool::new(false);

pub fn run() -> Result<(), Failure> {
    mounts::mount_all();
    report::warn(network::loopback_up());
    report::warn(configure_network());
    report::warn(disk::grow_root());
    on_shutdown_signals();
    let mut envd = start_envd()?;
    report::line(format_args!("ready at {} ms", report::uptime_ms()));
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == envd.pid => {
                report::line(format_args!("envd ended ({}), starting it again", describe(status)));
                sleep(SHORTEST_LIFE.saturating_sub(envd.started.elapsed()));
                envd = start_envd()?;
            }
            _ if SHUTDOWN.load(Ordering::Relaxed) => return Ok(end_all()),
            _ => {} // an orphan was reaped
        }
    }
}

/// Ends the guest: flushes, makes the disk read-only and turns the machine off. Never returns.
pub fn power_off() -> ! {
    sync();
    let _ = mount_remount("/", MountFlags::RDONLY, c"");
    let _ = reboot(RebootCommand::PowerOff);
    let _ = reboot(RebootCommand::Restart); // a machine without ACPI: the VMM ends on a reset as well
    loop {
        sleep(Duration::from_secs(3600));
    }
}

struct Envd {
    pid: Pid,
    started: Instant,
}

fn start_envd() -> Result<Envd, Failure> {
    let child = Command::new(ENVD)
        .args(["--port", ENVD_PORT])
        .env_clear()
        .envs([("PATH", PATH), ("HOME", "/root"), ("LANG", "C.UTF-8")])
        .current_dir("/")
        .spawn()
        .doing(ENVD)?;
    Ok(Envd {
        pid: Pid::from_child(&child),
        started: Instant::now(),
    })
}

fn configure_network() -> Result<(), Failure> {
    let arguments = fs::read_to_string("/proc/cmdline").doing("/proc/cmdline")?;
    match cmdline::static_ip(&arguments).doing("kernel arguments")? {
        Some(ip) => network::apply(&ip),
        None => Ok(()),
    }
}

fn on_shutdown_signals() {
    extern "C" fn request_shutdown(_: libc::c_int) {
        SHUTDOWN.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGPWR, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: the handler only stores to an atomic. Without SA_RESTART, so that `wait` is interrupted.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = request_shutdown as *const () as usize;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

fn end_all() {
    report::line("shutting down");
    signal_everyone(Signal::TERM);
    let deadline = Instant::now() + SHUTDOWN_GRACE;
    while Instant::now() < deadline {
        match wait(WaitOptions::NOHANG) {
            Err(_) => return, // nobody is left
            Ok(Some(_)) => {}
            Ok(None) => sleep(Duration::from_millis(20)),
        }
    }
    signal_everyone(Signal::KILL);
}

/// For PID 1, pid −1 means every process but itself.
fn signal_everyone(signal: Signal) {
    // SAFETY: a plain system call without pointers.
    unsafe { libc::kill(-1, signal.as_raw()) };
}

fn describe(status: rustix::process::WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "unknown".into(),
    }
}
