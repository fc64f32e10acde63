//! VM7, VM8: processes over Connect, with both codecs.

use crate::common::proto::process::*;
use crate::common::*;
use connectrpc::ErrorCode;
use connectrpc::client::CallOptions;
use std::fs;
use std::time::{Duration, Instant};

#[tokio::test]
async fn tells_output_and_exit_code() {
    let envd = Envd::start();
    for codec in CODECS {
        let client = envd.processes(codec);
        let outcome = run(&client, bash("echo out; echo err >&2; exit 3")).await;
        assert_eq!(
            (outcome.stdout.as_slice(), outcome.stderr.as_slice()),
            (&b"out\n"[..], &b"err\n"[..]),
            "{codec:?}"
        );
        let end = outcome.end.unwrap();
        assert_eq!(
            (end.exit_code, end.exited, end.status.as_str()),
            (3, true, "exit status 3")
        );
        assert_eq!(end.error.as_deref(), Some("exit status 3"));
        assert!(outcome.error.is_none());
    }
}

#[tokio::test]
async fn loses_no_byte_of_much_output() {
    let envd = Envd::start();
    let script = "head -c 20000000 /dev/urandom | tee >(sha256sum >&2)";
    for codec in CODECS {
        let outcome = run(&envd.processes(codec), bash(script)).await;
        use sha2::{Digest, Sha256};
        let sum: String = Sha256::digest(&outcome.stdout)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(outcome.stdout.len(), 20_000_000, "{codec:?}");
        // The sum comes from a process that outlives the shell.
        assert_eq!(
            String::from_utf8_lossy(&outcome.stderr),
            format!("{sum}  -\n"),
            "{codec:?}"
        );
    }
}

#[tokio::test]
async fn a_missing_program_and_a_missing_directory_are_told_apart() {
    let envd = Envd::start();
    for codec in CODECS {
        let client = envd.processes(codec);
        let error = run(&client, command("no-such-program", &[])).await.error.unwrap();
        assert_eq!(error.code, ErrorCode::NotFound);
        assert_eq!(error.message.as_deref(), Some("command 'no-such-program' not found"));
        let mut request = bash("true");
        request.process.modify(|process| process.cwd = Some("/no/such".into()));
        let error = run(&client, request).await.error.unwrap();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert_eq!(error.message.as_deref(), Some("cwd '/no/such' does not exist"));
        let error = run(&client, command("/etc/passwd", &[])).await.error.unwrap();
        assert_eq!(error.code, ErrorCode::PermissionDenied);
        let error = run_with(&client, bash("true"), user("no-such-user"))
            .await
            .error
            .unwrap();
        assert_eq!(error.code, ErrorCode::Unauthenticated);
    }
}

#[tokio::test]
async fn a_script_without_interpreter_is_not_found() {
    let envd = Envd::start();
    fs::write(envd.path("script"), "#!/no/such/interpreter\n").unwrap();
    let path = envd.path("script");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = run(&envd.processes(Codec::Json), command(&path, &[]))
        .await
        .error
        .unwrap();
    assert_eq!(error.code, ErrorCode::NotFound);
    let pid = envd.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    assert_eq!(children, "", "what could not be executed is reaped");
}

#[tokio::test]
async fn vm8_a_process_has_none_of_our_signal_handling() {
    let envd = Envd::start();
    let outcome = run(&envd.processes(Codec::Json), command("cat", &["/proc/self/status"])).await;
    let mask = |name: &str| {
        let line = outcome.text().lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    assert_eq!((mask("SigBlk:"), mask("SigCgt:")), (0, 0));
    let pipe = 1 << (rustix::process::Signal::PIPE.as_raw() - 1);
    assert_eq!(
        mask("SigIgn:") & pipe,
        0,
        "Rust ignores SIGPIPE, programs expect to die of it"
    );
}

#[tokio::test]
async fn runs_as_a_user_in_a_directory_with_an_environment() {
    let envd = Envd::start();
    fs::set_permissions(
        envd.directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let mut request = bash("id -un; id -Gn; pwd; echo $USER $LOGNAME $FOO; cat /proc/$$/oom_score_adj");
    request.process.modify(|process| {
        process.cwd = Some(envd.path(""));
        process.envs.insert("FOO".into(), "bar".into());
    });
    let outcome = run_with(&envd.processes(Codec::Json), request, user("nobody")).await;
    let expected = format!(
        "nobody\nnogroup\n{}\nnobody nobody bar\n100\n",
        envd.path("").trim_end_matches('/')
    );
    assert_eq!(outcome.text(), expected, "{outcome:?}");
}

#[tokio::test]
async fn standard_input_is_fed_and_closed() {
    let envd = Envd::start();
    for codec in CODECS {
        let client = envd.processes(codec);
        let mut request = command("cat", &[]);
        request.stdin = Some(true);
        let mut stream = client.start(request).await.unwrap();
        let pid = first(&mut stream).await;
        for text in ["one ", "two"] {
            let process = pid_selector(pid).into();
            client
                .send_input(SendInputRequest {
                    process,
                    input: stdin(text).into(),
                    ..Default::default()
                })
                .await
                .unwrap();
        }
        let close = || CloseStdinRequest {
            process: pid_selector(pid).into(),
            ..Default::default()
        };
        client.close_stdin(close()).await.unwrap();
        let outcome = finish(&mut stream).await;
        assert_eq!((outcome.text(), outcome.exit_code()), ("one two", Some(0)), "{codec:?}");
        let error = client.close_stdin(close()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound);
    }
}

#[tokio::test]
async fn input_streams_in_one_call() {
    let envd = Envd::start();
    for codec in CODECS {
        let client = envd.processes(codec);
        let mut request = command("head", &["-c", "7"]);
        request.stdin = Some(true);
        request.tag = Some("in".into());
        let mut stream = client.start(request).await.unwrap();
        first(&mut stream).await;
        let message = |event| StreamInputRequest {
            event: Some(event),
            ..Default::default()
        };
        let start = stream_input_request::StartEvent {
            process: tag_selector("in").into(),
            ..Default::default()
        };
        let data = |text| stream_input_request::DataEvent {
            input: stdin(text).into(),
            ..Default::default()
        };
        let messages = [
            message(start.into()),
            message(data("abc").into()),
            message(data("defg").into()),
        ];
        client.stream_input(connectrpc::stream_iter(messages)).await.unwrap();
        assert_eq!(finish(&mut stream).await.text(), "abcdefg", "{codec:?}");
    }
}

#[tokio::test]
async fn a_process_without_input_says_so() {
    let envd = Envd::start();
    let client = envd.processes(Codec::Json);
    let mut stream = client.start(command("sleep", &["5"])).await.unwrap();
    let process = pid_selector(first(&mut stream).await);
    let request = SendInputRequest {
        process: process.into(),
        input: stdin("x").into(),
        ..Default::default()
    };
    assert_eq!(client.send_input(request).await.unwrap_err().code, ErrorCode::Internal);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_end_its_process() {
    let envd = Envd::start();
    let client = envd.processes(Codec::Json);
    let mut request = bash("echo before; sleep 0.5; echo after; sleep 0.2");
    request.tag = Some("left".into());
    let mut stream = client.start(request).await.unwrap();
    let pid = first(&mut stream).await;
    until(&mut stream, |outcome| outcome.text() == "before\n").await;
    drop(stream);
    let list = client.list(ListRequest::default()).await.unwrap().into_owned();
    assert_eq!(
        (list.processes[0].pid, list.processes[0].tag.as_deref()),
        (pid, Some("left"))
    );
    // From now on only, unless the past is asked for.
    let (live, replayed) = tokio::join!(
        reconnect(&client, tag_selector("left"), false, |_| false),
        reconnect(&client, pid_selector(pid), true, |_| false),
    );
    assert_eq!((live.pid, live.text(), live.exit_code()), (pid, "after\n", Some(0)));
    assert_eq!(
        (replayed.pid, replayed.text(), replayed.exit_code()),
        (pid, "before\nafter\n", Some(0))
    );
    // The end is kept for a while, but the process is no longer listed.
    let ended = reconnect(&client, pid_selector(pid), true, |_| false).await;
    assert_eq!((ended.text(), ended.exit_code()), ("before\nafter\n", Some(0)));
    assert!(
        client
            .list(ListRequest::default())
            .await
            .unwrap()
            .into_owned()
            .processes
            .is_empty()
    );
    let error = reconnect(&client, pid_selector(999_999), false, |_| false)
        .await
        .error
        .unwrap();
    assert_eq!(error.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_slow_reader_holds_the_process_and_gets_everything() {
    let envd = Envd::start();
    let client = envd.processes(Codec::Binary);
    let progress = envd.path("progress");
    let script = format!("for i in $(seq 100); do head -c 1000000 /dev/zero; echo $i > {progress}; done");
    let mut stream = client.start(bash(&script)).await.unwrap();
    first(&mut stream).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let written: usize = fs::read_to_string(&progress).unwrap().trim().parse().unwrap();
    assert!(written < 60, "{written} MB went ahead of a reader that reads nothing");
    let outcome = finish(&mut stream).await;
    assert_eq!((outcome.stdout.len(), outcome.exit_code()), (100_000_000, Some(0)));
}

#[tokio::test]
async fn what_children_write_after_the_exit_is_not_lost_and_daemons_do_not_hang_the_caller() {
    let envd = Envd::start();
    let client = envd.processes(Codec::Json);
    let outcome = run(&client, bash("(sleep 0.5; echo late) & echo early")).await;
    assert_eq!(outcome.text(), "early\nlate\n");
    let started = Instant::now();
    let outcome = run(&client, bash("sleep 60 & echo $!")).await;
    assert_eq!(outcome.exit_code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let daemon: u32 = outcome.text().trim().parse().unwrap();
    assert!(is_alive(daemon), "the daemon goes on");
    let pid = rustix::process::Pid::from_raw(daemon as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_lives() {
    let envd = Envd::start();
    let options = CallOptions::default().with_header("keepalive-ping-interval", "1");
    let outcome = run_with(&envd.processes(Codec::Json), command("sleep", &["2.5"]), options).await;
    assert_eq!((outcome.keepalives, outcome.exit_code()), (2, Some(0)));
}

#[tokio::test]
async fn ended_processes_hold_no_descriptors_and_new_ones_get_our_limit() {
    let envd = Envd::start();
    let client = envd.processes(Codec::Json);
    let open = || fs::read_dir(format!("/proc/{}/fd", envd.pid())).unwrap().count();
    run(&client, command("true", &[])).await;
    let before = open();
    for _ in 0..50 {
        let mut request = command("cat", &[]);
        request.stdin = Some(true);
        let mut stream = client.start(request).await.unwrap();
        let process = pid_selector(first(&mut stream).await);
        client
            .close_stdin(CloseStdinRequest {
                process: process.into(),
                ..Default::default()
            })
            .await
            .unwrap();
        finish(&mut stream).await;
        run(&client, command("no-such-program", &[])).await;
    }
    eventually("descriptors are closed", || open() <= before + 2).await;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap();
    assert_eq!(run(&client, bash("ulimit -n")).await.text(), format!("{limit}\n"));
}

#[tokio::test]
async fn a_client_that_vanishes_while_it_starts_a_process_leaves_it_running() {
    let envd = Envd::start();
    let client = envd.processes(Codec::Json);
    for delay in [0, 1, 2, 5] {
        let mut request = command("sleep", &["20"]);
        request.tag = Some(format!("{delay}"));
        let _ = tokio::time::timeout(Duration::from_millis(delay), client.start(request)).await;
    }
    // Whatever was started is known, and can be ended.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let list = client
        .list(ListRequest::default())
        .await
        .unwrap()
        .into_owned()
        .processes;
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", envd.pid())).unwrap();
    assert_eq!(children.split_whitespace().count(), list.len(), "{children}");
    for process in list {
        let signal = Signal::SIGNAL_SIGKILL.into();
        let process = pid_selector(process.pid).into();
        client
            .send_signal(SendSignalRequest {
                process,
                signal,
                ..Default::default()
            })
            .await
            .unwrap();
    }
}
