//! Second role: PID 1 of the running guest. Sets it up, keeps envd and the image's services alive, reaps, and shuts
//! down on request.

use crate::{
    cmdline, disk, mounts, network,
    report::{self, Doing, Failure},
    services::Services,
    signals::{Signals, Wake},
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
    thread::sleep,
    time::{Duration, Instant},
};

const ENVD: &str = "/usr/bin/envd";
const ENVD_PORT: &str = "49983";
/// What envd and services find in their environment.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
];
/// An envd that dies sooner than this after its start is not started again at once: it would spin.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// What processes get between SIGTERM and SIGKILL when the guest shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

pub fn run() -> Result<(), Failure> {
    mounts::mount_all();
    report::warn(network::loopback_up());
    report::warn(configure_network());
    report::warn(disk::grow_root());
    let signals = Signals::block();
    let mut envd = start_envd()?;
    report::line(format_args!("ready at {} ms", report::uptime_ms()));
    let mut services = Services::start(&ENVIRONMENT);
    loop {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == envd.pid {
                report::line(format_args!("envd ended ({}), starting it again", describe(status)));
                sleep(SHORTEST_LIFE.saturating_sub(envd.started.elapsed()));
                envd = start_envd()?;
            } else {
                services.ended(pid, &describe(status)); // or it was an orphan, which is reaped now
            }
        }
        services.start_due(&ENVIRONMENT);
        if signals.next(services.next_start()) == Wake::Shutdown {
            end_all();
            return Ok(());
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
        .args(["--port", ENVD_PORT, "--sole"])
        .env_clear()
        .envs(ENVIRONMENT)
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
