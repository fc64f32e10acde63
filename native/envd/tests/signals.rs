//! VM8: signals and lifetimes reach the whole process tree.

mod common;

use common::proto::process::*;
use common::*;
use connectrpc::ErrorCode;
use connectrpc::client::{CallOptions, HttpClient};
use std::process::Command;
use std::time::{Duration, Instant};

/// Prints, in any order, the pids of a child (1), of one in a session of its own (2), and of one that was orphaned in
/// a session of its own (3).
const FAMILY: &str = "sleep 60 & echo 1 $!; setsid sh -c 'echo 2 $$; exec sleep 60' & \
     (setsid sh -c 'echo 3 $$; exec sleep 60' &) ; wait";

async fn start_family(client: &ProcessClient<HttpClient>) -> (Stream, u32, Vec<u32>) {
    let mut stream = client.start(bash(FAMILY)).await.unwrap();
    let pid = first(&mut stream).await;
    let outcome = until(&mut stream, |outcome| outcome.text().lines().count() == 3).await;
    let text = outcome.text();
    let mut family: Vec<(u32, u32)> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(place, pid)| (place.parse().unwrap(), pid.parse().unwrap()))
        .collect();
    family.sort_unstable();
    (stream, pid, family.into_iter().map(|(_, pid)| pid).collect())
}

fn signal(pid: u32, signal: Signal) -> SendSignalRequest {
    SendSignalRequest {
        process: pid_selector(pid).into(),
        signal: signal.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn both_signals_reach_the_whole_tree() {
    let envd = Envd::start();
    for codec in CODECS {
        for (number, words) in [
            (Signal::SIGNAL_SIGKILL, "signal: killed"),
            (Signal::SIGNAL_SIGTERM, "signal: terminated"),
        ] {
            let client = envd.processes(codec);
            let (mut stream, pid, family) = start_family(&client).await;
            // A kernel without a writable cgroup v2 cannot find an orphan with a session of its own.
            let reachable = if has_cgroup(envd.pid()) {
                &family[..]
            } else {
                &family[..2]
            };
            client.send_signal(signal(pid, number)).await.unwrap();
            let end = finish(&mut stream).await.end.unwrap();
            assert_eq!((end.exit_code, end.exited, end.status.as_str()), (-1, false, words));
            eventually("the tree is gone", || reachable.iter().all(|pid| !is_alive(*pid))).await;
            assert_eq!(
                client.send_signal(signal(pid, number)).await.unwrap_err().code,
                ErrorCode::NotFound
            );
        }
    }
}

#[tokio::test]
async fn without_cgroups_the_tree_is_found_in_proc() {
    // A mount namespace of its own, in which no cgroup v2 can be written to.
    let mut command = Command::new("unshare");
    let script =
        "for m in $(awk '$3==\"cgroup2\"{print $2}' /proc/mounts); do umount -l $m || exit 9; done; exec \"$@\"";
    command.args(["-m", "--propagation", "private", "sh", "-c", script, "sh", BINARY]);
    if !Command::new("unshare")
        .args(["-m", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: no mount namespaces here");
        return;
    }
    let envd = Envd::launch(command, "127.0.0.1");
    assert!(!has_cgroup(envd.pid()));
    let client = envd.processes(Codec::Json);
    let (mut stream, pid, family) = start_family(&client).await;
    client.send_signal(signal(pid, Signal::SIGNAL_SIGKILL)).await.unwrap();
    assert_eq!(finish(&mut stream).await.exit_code(), Some(-1));
    eventually("the tree is gone", || family[..2].iter().all(|pid| !is_alive(*pid))).await;
    let orphan = rustix::process::Pid::from_raw(family[2] as i32).unwrap();
    let _ = rustix::process::kill_process(orphan, rustix::process::Signal::KILL);
}

#[tokio::test]
async fn a_process_is_killed_when_its_time_is_up() {
    let envd = Envd::start();
    for codec in CODECS {
        let client = envd.processes(codec);
        let started = Instant::now();
        let options = CallOptions::default().with_header("connect-timeout-ms", "700");
        let mut stream = client
            .start_with_options(bash("echo $$; sleep 60 & echo $!; wait"), options)
            .await
            .unwrap();
        let pid = first(&mut stream).await;
        let (outcome, other) = tokio::join!(
            finish(&mut stream),
            reconnect(&client, pid_selector(pid), true, |_| false)
        );
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(outcome.error.unwrap().code, ErrorCode::DeadlineExceeded, "{codec:?}");
        // Another reader set no time; it sees how the process ended.
        assert_eq!(other.end.unwrap().status, "signal: killed");
        let pids: Vec<u32> = outcome
            .stdout
            .split(|byte| *byte == b'\n')
            .filter_map(|pid| std::str::from_utf8(pid).ok()?.parse().ok())
            .collect();
        assert_eq!(pids.len(), 2);
        eventually("the tree is gone", || pids.iter().all(|pid| !is_alive(*pid))).await;
    }
}

#[tokio::test]
async fn an_unknown_signal_and_an_unknown_process_are_refused() {
    let envd = Envd::start();
    let client = envd.processes(Codec::Json);
    assert_eq!(
        client
            .send_signal(signal(999_999, Signal::SIGNAL_SIGKILL))
            .await
            .unwrap_err()
            .code,
        ErrorCode::NotFound
    );
    let mut stream = client.start(command("sleep", &["5"])).await.unwrap();
    let pid = first(&mut stream).await;
    let error = client
        .send_signal(signal(pid, Signal::SIGNAL_UNSPECIFIED))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    client.send_signal(signal(pid, Signal::SIGNAL_SIGKILL)).await.unwrap();
}

/// Whether the agent could make a control group of its own.
fn has_cgroup(pid: u32) -> bool {
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    mounts
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some("cgroup2"))
        .any(|line| {
            let mount = line.split(' ').nth(1).unwrap();
            std::path::Path::new(&format!("{mount}/envd.{pid}")).exists()
        })
}
