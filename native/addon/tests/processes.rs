//! Processes for real (VM2, VM3), as root: spawned, adopted, watched, killed.

use std::{
    collections::HashMap,
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Command,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use wrenn_addon::{
    cgroup::group::{self, Limits},
    failure::Failure,
    process::{
        identity::Identity,
        spawn::{Bind, Launch, spawn},
        stat,
        watch::{Exit, unwatch, watch},
    },
};

const SIGKILL: i32 = 9;

fn shell(script: &str) -> Launch {
    Launch {
        argv: ["/bin/sh", "-c", script].map(String::from).to_vec(),
        env: HashMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        new_session: true,
        no_new_privs: true,
        ..Launch::default()
    }
}

fn watched(identity: Identity) -> Receiver<Exit> {
    let (say, exits) = channel();
    watch(identity, Box::new(move |exit| say.send(exit).unwrap())).unwrap();
    exits
}

fn exit_of(identity: Identity) -> Exit {
    watched(identity)
        .recv_timeout(Duration::from_secs(10))
        .expect("the process ends")
}

/// A folder of the test's own, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("wrenn-test-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn vm2_the_child_has_what_it_was_given_and_nothing_else() {
    let folder = Folder::new("spawn");
    let _inheritable = fs::File::open("/etc/hostname").unwrap();
    // SAFETY: dup makes a descriptor that does not close on exec, which the child must not get.
    let leaked = unsafe { libc::dup(0) };
    let group = group::create(
        "spawn-test",
        Limits {
            pids: Some(50),
            ..Limits::default()
        },
    )
    .unwrap();
    let out = folder.file("out");
    let identity = spawn(&Launch {
        uid: Some(1234),
        gid: Some(1235),
        supplementary_gids: vec![1236],
        oom_score_adj: Some(500),
        cwd: Some("/usr".into()),
        cgroups: group.folders.clone(),
        mounts: vec![Bind {
            source: folder.0.clone(),
            target: "/mnt".into(),
            readonly: true,
        }],
        env: HashMap::from([("ONLY".into(), "this".into()), ("PATH".into(), "/usr/bin:/bin".into())]),
        stdout: Some(out.clone()),
        stderr: Some(out.clone()),
        ..shell(
            "id -u; id -g; id -G; cat /proc/self/oom_score_adj; pwd; grep -c spawn-test /proc/self/cgroup; \
             ls /proc/self/fd | tr '\\n' ' '; echo; touch /mnt/x; ls /mnt; grep NoNewPrivs /proc/self/status; \
             cut -d' ' -f6 /proc/$$/stat; env | grep -v -e PWD -e _= | sort | tr '\\n' ' '",
        )
    })
    .unwrap();
    assert_eq!(
        exit_of(identity),
        Exit {
            code: Some(0),
            signal: None
        }
    );
    // SAFETY: closes what dup made.
    unsafe { libc::close(leaked) };
    let said = fs::read_to_string(&out).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..5], ["1234", "1235", "1235 1236", "500", "/usr"], "{said}");
    assert_eq!(lines[5], group.folders.len().to_string(), "in every control group");
    assert_eq!(lines[6].trim(), "0 1 2 3", "no descriptor but ls's own");
    assert!(lines[7].contains("Read-only file system"), "{said}");
    assert_eq!(lines[8], "out", "the mount is there");
    assert_eq!(lines[9].split_whitespace().last(), Some("1"), "no new privileges");
    assert_eq!(lines[10], identity.pid.to_string(), "its own session");
    assert_eq!(lines[11].trim(), "ONLY=this PATH=/usr/bin:/bin");
    assert!(!PathBuf::from("/mnt/out").exists(), "the mount was the child's alone");
    group::remove("spawn-test", false).unwrap();
}

#[test]
fn vm2_a_start_that_fails_says_why_and_leaves_no_process() {
    let missing = spawn(&Launch {
        argv: vec!["/no/such/program".into()],
        ..Launch::default()
    });
    assert_eq!(missing.unwrap_err().code(), "not_found");
    let nowhere = spawn(&Launch {
        cwd: Some("/no/such/folder".into()),
        ..shell("true")
    });
    assert_eq!(nowhere.unwrap_err().code(), "not_found");
    let no_netns = spawn(&Launch {
        netns: Some("wrenn-ns-9099".into()),
        ..shell("true")
    });
    assert_eq!(no_netns.unwrap_err().code(), "not_found");
    assert!(matches!(
        spawn(&Launch::default()),
        Err(Failure::InvalidArgument { .. })
    ));
}

#[test]
fn vm3_exits_are_told_once_early_or_late_and_leave_no_zombie() {
    let quick = spawn(&shell("exit 7")).unwrap();
    while quick.alive().unwrap() {
        std::thread::yield_now();
    }
    assert_eq!(exit_of(quick).code, Some(7), "watched after its end");
    let killed = spawn(&shell("kill -TERM $$; sleep 60")).unwrap();
    assert_eq!(
        exit_of(killed),
        Exit {
            code: None,
            signal: Some(15)
        }
    );

    let unheard = spawn(&shell("sleep 60")).unwrap();
    let exits = watched(unheard);
    unwatch(unheard).unwrap();
    assert!(unheard.kill(SIGKILL).unwrap());
    assert!(
        exits.recv_timeout(Duration::from_secs(1)).is_err(),
        "nobody is told any more"
    );
    for gone in [quick, killed, unheard] {
        let give_up = Instant::now() + Duration::from_secs(5);
        while Identity::of(gone.pid).unwrap().is_some() {
            assert!(Instant::now() < give_up, "{gone:?} is not reaped");
            std::thread::yield_now();
        }
        assert!(!gone.alive().unwrap());
        assert!(!gone.kill(SIGKILL).unwrap());
    }
}

#[test]
fn vm3_a_process_started_by_another_is_adopted() {
    let folder = Folder::new("adopt");
    let file = folder.file("pid");
    // The starter ends at once, as an agent that restarts does; its child lives on.
    let script = format!(
        "setsid sleep 60 </dev/null >/dev/null 2>&1 & echo $! > {}",
        file.display()
    );
    let status = Command::new("/bin/sh")
        .args(["-c", &script])
        .process_group(0)
        .status()
        .unwrap();
    assert!(status.success());
    let pid = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let adopted = Identity::of(pid).unwrap().expect("it lives");
    assert!(adopted.alive().unwrap());
    assert!(stat::usage(pid).unwrap().unwrap().rss_bytes > 0);
    let exits = watched(adopted);
    assert!(adopted.kill(SIGKILL).unwrap());
    let exit = exits.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(
        exit,
        Exit {
            code: None,
            signal: None
        },
        "how it ended is its parent's to know"
    );
}

#[test]
fn vm3_a_pid_that_another_has_now_is_not_touched() {
    let process = spawn(&shell("sleep 60")).unwrap();
    let predecessor = Identity {
        start_time: process.start_time - 1,
        ..process
    };
    assert!(!predecessor.alive().unwrap());
    assert!(!predecessor.kill(SIGKILL).unwrap());
    assert_eq!(exit_of(predecessor), Exit::default(), "told at once that it is gone");
    assert!(process.alive().unwrap(), "the one that has the pid lives");
    assert!(process.kill(SIGKILL).unwrap());
    exit_of(process);
}

#[test]
fn cgroup_limits_hold_and_leftovers_end_only_when_asked() {
    let limits = Limits {
        memory_bytes: Some(64 << 20),
        cpus: Some(0.5),
        pids: Some(3),
    };
    let group = group::create("limits-test", limits).unwrap();
    assert_eq!(group.enforced.len() + group.not_enforced.len(), 3);
    group::create("limits-test", limits).expect("again is fine");
    assert!(group::list().unwrap().contains(&"limits-test".to_owned()));
    let bomb = "for i in 1 2 3 4 5 6; do sleep 60 & done; wait";
    let identity = spawn(&Launch {
        cgroups: group.folders.clone(),
        ..shell(bomb)
    })
    .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let usage = group::usage("limits-test").unwrap().unwrap();
    assert!((1..=3).contains(&usage.processes.len()), "{:?}", usage.processes);
    assert!(usage.cpu_usec.is_some_and(|used| used > 0));
    if usage.processes.contains(&identity.pid) {
        assert_eq!(group::remove("limits-test", false).unwrap_err().code(), "busy");
    }
    group::remove("limits-test", true).unwrap();
    group::remove("limits-test", true).expect("absent is fine");
    assert!(group::usage("limits-test").unwrap().is_none());
    assert!(!identity.alive().unwrap());
}

#[test]
fn cgroups_are_made_and_removed_side_by_side() {
    std::thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                for round in 0..20 {
                    let name = format!("side-{worker}-{round}");
                    group::create(&name, Limits::default()).unwrap();
                    group::remove(&name, false).unwrap();
                }
            });
        }
    });
    assert!(!group::list().unwrap().iter().any(|name| name.starts_with("side-")));
}
