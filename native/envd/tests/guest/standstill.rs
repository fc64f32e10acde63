//! Freeze and thaw (SN1, SN11). Identities are assumed in a mount and host-name namespace of their own.

use crate::common::http::{get, post};
use crate::common::{BINARY, Codec, Envd, Stream, bash, run, until};
use base64::Engine;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An agent that may become somebody else, with these shell lines run before it, or None where that is not possible.
fn isolated(prepare: &str) -> Option<Envd> {
    let possible = Command::new("unshare").args(["-m", "--uts", "true"]).status();
    if !possible.is_ok_and(|status| status.success()) || !freezable() {
        eprintln!("skipped: no namespaces or no cgroup v2 here");
        return None;
    }
    let script = format!(
        "set -e; mount -n -t tmpfs none /mnt; cp /etc/passwd /etc/group /etc/hosts /mnt; mount -n --bind /mnt /etc; \
         mount -n -t tmpfs none /run; mkdir -p /etc/wrenn/resume.d; {prepare}; exec \"$0\" \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "--uts", "sh", "-c", &script, BINARY]);
    Some(Envd::launch(command, "127.0.0.1"))
}

/// Where this process may make control groups of the second version.
fn freezable() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup2")) && rustix::process::getuid().is_root()
}

fn identity(sandbox: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    json!({
        "entropy": base64::engine::general_purpose::STANDARD.encode([7; 64]),
        "time_ns": now,
        "hostname": sandbox,
        "sandbox_id": sandbox,
        "access_token": "new-token",
        "envs": {"WHO": sandbox},
        "default_user": "root",
    })
}

fn signal(envd: &Envd, signal: Signal) {
    kill_process(pid(envd).unwrap(), signal).unwrap();
}

fn pid(envd: &Envd) -> Option<Pid> {
    Pid::from_raw(envd.pid() as i32)
}

async fn freeze(envd: &Envd, key: &str) -> u16 {
    let body = json!({"thaw_key": key}).to_string();
    post(envd.address, "/wrenn/freeze", &[], body).await.status.as_u16()
}

async fn ticking(envd: &Envd) -> Stream {
    let script = bash("while :; do echo tick; sleep 0.01; done");
    let mut stream = envd.processes(Codec::Json).start(script).await.unwrap();
    until(&mut stream, |outcome| !outcome.stdout.is_empty()).await;
    stream
}

/// How often it has ticked when nothing arrives any more.
async fn ticks(stream: &mut Stream) -> usize {
    let quiet = std::time::Duration::from_millis(300);
    let mut count = 0;
    while tokio::time::timeout(quiet, until(stream, |outcome| !outcome.stdout.is_empty()))
        .await
        .is_ok()
    {
        count += 1;
        if count > 100 {
            break;
        }
    }
    count
}

#[tokio::test]
async fn a_frozen_guest_stands_still_and_its_requests_wait() {
    if !freezable() {
        eprintln!("skipped: no cgroup v2 here");
        return;
    }
    let envd = Envd::start();
    let mut stream = ticking(&envd).await;
    assert_eq!(freeze(&envd, "key").await, 200);
    assert_eq!(freeze(&envd, "key").await, 200, "again");
    assert_eq!(freeze(&envd, "another").await, 409);
    assert!(ticks(&mut stream).await < 100, "it stands still");
    assert_eq!(get(envd.address, "/health", &[]).await.status, 204);
    let processes = envd.processes(Codec::Json);
    let waiting = tokio::spawn(async move { run(&processes, bash("echo ran")).await.text().to_owned() });
    let wrong = json!({"thaw_key": "wrong"}).to_string();
    assert_eq!(post(envd.address, "/wrenn/thaw", &[], wrong).await.status, 403);
    assert!(!waiting.is_finished());
    let right = json!({"thaw_key": "key"}).to_string();
    let thawed = post(envd.address, "/wrenn/thaw", &[], right.clone()).await;
    assert_eq!(thawed.status, 200, "{}", thawed.text());
    assert_eq!(waiting.await.unwrap(), "ran\n");
    until(&mut stream, |outcome| !outcome.stdout.is_empty()).await;
    assert_eq!(post(envd.address, "/wrenn/thaw", &[], right).await.status, 200, "again");
}

#[tokio::test]
async fn a_freeze_may_leave_file_systems_as_they_are() {
    if !freezable() {
        eprintln!("skipped: no cgroup v2 here");
        return;
    }
    let envd = Envd::start();
    let body = json!({"thaw_key": "key"}).to_string();
    let answer = async |query: &str| post(envd.address, &format!("/wrenn/freeze{query}"), &[], body.clone()).await;
    assert_eq!(answer("?sync=perhaps").await.status, 400);
    assert_eq!(answer("?sync=false").await.json()["synced"], json!(false));
    // An asker that wants more than this envd knows is served all the same.
    assert_eq!(answer("?sync=true&unknown=1").await.json()["synced"], json!(true));
    assert_eq!(answer("").await.json()["synced"], json!(true));
}

/// An agent that hangs comes upon a request that its asker gave up long ago: nothing may be frozen for nobody.
#[tokio::test]
async fn a_freeze_that_nobody_waits_for_freezes_nothing() {
    if !freezable() {
        eprintln!("skipped: no cgroup v2 here");
        return;
    }
    let envd = Envd::start();
    let mut stream = ticking(&envd).await;
    let body = json!({"thaw_key": "key"}).to_string();
    let request = format!(
        "POST /wrenn/freeze?sync=false HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    signal(&envd, Signal::STOP);
    waitpid(pid(&envd), WaitOptions::UNTRACED).unwrap(); // until every thread of it stands
    let mut asker = TcpStream::connect(envd.address).await.unwrap();
    asker.write_all(request.as_bytes()).await.unwrap();
    drop(asker);
    signal(&envd, Signal::CONT);
    // The answer to this one comes later than anything that could be done for that one.
    assert_eq!(freeze(&envd, "another").await, 200, "no other freeze is under way");
    let thaw = json!({"thaw_key": "another"}).to_string();
    assert_eq!(post(envd.address, "/wrenn/thaw", &[], thaw).await.status, 200);
    until(&mut stream, |outcome| !outcome.stdout.is_empty()).await;
}

#[tokio::test]
async fn sn11_a_clone_is_somebody_else_before_its_processes_go_on() {
    let hook = "printf '#!/bin/sh\\nhostname > /run/hook; echo $WRENN_SANDBOX_ID >> /run/hook' > /etc/wrenn/resume.d/10-a; \
                chmod +x /etc/wrenn/resume.d/10-a; echo no program > /etc/wrenn/resume.d/README";
    let Some(envd) = isolated(hook) else { return };
    let first = json!({"accessToken": "old-token", "envVars": {"OLD": "1"}}).to_string();
    assert_eq!(post(envd.address, "/init", &[], first).await.status, 204);
    // Whoever could reach the port without the token cannot stop the guest.
    assert_eq!(freeze(&envd, "key").await, 401);
    let mut inherited = TcpStream::connect(envd.address).await.unwrap();
    inherited
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(inherited.read(&mut [0; 1024]).await.unwrap() > 0);

    let token = [("x-access-token", "old-token")];
    let body = json!({"thaw_key": "key"}).to_string();
    assert_eq!(post(envd.address, "/wrenn/freeze", &token, body).await.status, 200);
    let body = json!({"thaw_key": "key", "identity": identity("sbnew")}).to_string();
    let thawed = post(envd.address, "/wrenn/thaw", &[], body).await;
    if thawed.text().contains("cannot set the clock") {
        eprintln!("skipped: this machine's clock cannot be set");
        return;
    }
    assert_eq!(thawed.status, 200, "{}", thawed.text());
    assert_eq!(thawed.json()["hooks"][0]["name"], "10-a");
    assert!(thawed.json()["hooks"][1].is_null(), "what is no program is not run");

    assert_eq!(inherited.read(&mut [0; 1024]).await.unwrap_or(0), 0, "it was not ours");
    assert_eq!(
        get(envd.address, "/envs", &token).await.status,
        401,
        "the old token opens nothing"
    );
    let new = [("x-access-token", "new-token")];
    assert_eq!(get(envd.address, "/envs", &new).await.json(), json!({"WHO": "sbnew"}));
    let read = get(envd.address, "/files?path=/run/hook", &new).await;
    assert_eq!(read.text(), "sbnew\nsbnew\n", "the hook saw the new name");
    let id = get(envd.address, "/files?path=/run/wrenn/sandbox_id", &new).await;
    assert_eq!(id.text(), "sbnew");
    let machine = get(envd.address, "/files?path=/etc/machine-id", &new).await;
    assert_eq!(machine.text().trim().len(), 32);
}

#[tokio::test]
async fn sn11_what_cannot_become_somebody_else_stays_frozen() {
    let hook = "printf '#!/bin/sh\\nexit 3' > /etc/wrenn/resume.d/x; chmod +x /etc/wrenn/resume.d/x";
    let Some(envd) = isolated(hook) else { return };
    let mut stream = ticking(&envd).await;
    assert_eq!(freeze(&envd, "key").await, 200);
    let thaw = async |identity: Value| {
        let body = json!({"thaw_key": "key", "identity": identity}).to_string();
        post(envd.address, "/wrenn/thaw", &[], body).await
    };
    let mut poor = identity("sbnew");
    poor["entropy"] = json!("c2hvcnQ=");
    assert_eq!(thaw(poor).await.status, 400, "too little entropy");
    let failed = thaw(identity("sbnew")).await;
    assert_eq!(failed.status, 500, "{}", failed.text());
    assert!(ticks(&mut stream).await < 100, "it stands still");
}

#[tokio::test]
async fn an_identity_for_a_guest_that_is_not_frozen_is_refused() {
    let envd = Envd::start();
    let body = json!({"thaw_key": "key", "identity": identity("sbnew")}).to_string();
    assert_eq!(post(envd.address, "/wrenn/thaw", &[], body).await.status, 400);
}
