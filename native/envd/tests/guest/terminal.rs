//! VM8: terminals.

use crate::common::proto::process::__buffa::oneof::process_input::Input;
use crate::common::proto::process::*;
use crate::common::*;
use connectrpc::ErrorCode;

fn size(cols: u32, rows: u32) -> PTY {
    PTY {
        size: pty::Size {
            cols,
            rows,
            ..Default::default()
        }
        .into(),
        ..Default::default()
    }
}

fn shell(cols: u32, rows: u32) -> StartRequest {
    let mut request = command("bash", &["--norc", "--noprofile", "-i"]);
    request.pty = size(cols, rows).into();
    request.process.modify(|process| {
        process.envs.insert("TERM".into(), "xterm".into());
    });
    request
}

fn keys(pid: u32, text: &str) -> SendInputRequest {
    let input = ProcessInput {
        input: Some(Input::Pty(text.as_bytes().to_vec())),
        ..Default::default()
    };
    SendInputRequest {
        process: pid_selector(pid).into(),
        input: input.into(),
        ..Default::default()
    }
}

fn shows(text: &'static str) -> impl Fn(&Outcome) -> bool {
    move |outcome| String::from_utf8_lossy(&outcome.pty).contains(text)
}

#[tokio::test]
async fn a_terminal_has_a_size_input_and_job_control() {
    let envd = Envd::start();
    for codec in CODECS {
        let client = envd.processes(codec);
        let mut stream = client.start(shell(100, 30)).await.unwrap();
        let pid = first(&mut stream).await;
        client.send_input(keys(pid, "stty size; tty\n")).await.unwrap();
        until(&mut stream, shows("30 100\r\n/dev/pts/")).await;

        client
            .update(UpdateRequest {
                process: pid_selector(pid).into(),
                pty: size(120, 40).into(),
                ..Default::default()
            })
            .await
            .unwrap();
        client.send_input(keys(pid, "stty size\n")).await.unwrap();
        until(&mut stream, shows("40 120\r\n")).await;

        // Ctrl+C ends what runs in the foreground and not the shell. It is in the foreground when it says so itself.
        client
            .send_input(keys(pid, "sh -c 'echo begin; exec sleep 60'\n"))
            .await
            .unwrap();
        until(&mut stream, shows("begin\r\n")).await;
        client.send_input(keys(pid, "\u{3}")).await.unwrap();
        client.send_input(keys(pid, "echo code $?; exit 4\n")).await.unwrap();
        let outcome = finish(&mut stream).await;
        assert!(
            shows("code 130\r\n")(&outcome),
            "{codec:?}: {}",
            String::from_utf8_lossy(&outcome.pty)
        );
        assert_eq!(outcome.exit_code(), Some(4));
    }
}

#[tokio::test]
async fn a_terminal_and_a_pipe_are_not_confused() {
    let envd = Envd::start();
    let client = envd.processes(Codec::Json);
    let mut stream = client.start(shell(80, 24)).await.unwrap();
    let pid = first(&mut stream).await;
    let error = client
        .send_input(SendInputRequest {
            process: pid_selector(pid).into(),
            input: stdin("x").into(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    let close = CloseStdinRequest {
        process: pid_selector(pid).into(),
        ..Default::default()
    };
    assert_eq!(
        client.close_stdin(close).await.unwrap_err().code,
        ErrorCode::InvalidArgument
    );

    let mut pipe = client.start(command("sleep", &["5"])).await.unwrap();
    let pipe_pid = first(&mut pipe).await;
    assert_eq!(
        client.send_input(keys(pipe_pid, "x")).await.unwrap_err().code,
        ErrorCode::InvalidArgument
    );
    let resize = UpdateRequest {
        process: pid_selector(pipe_pid).into(),
        pty: size(1, 1).into(),
        ..Default::default()
    };
    assert_eq!(
        client.update(resize).await.unwrap_err().code,
        ErrorCode::InvalidArgument
    );

    let kill = SendSignalRequest {
        process: pid_selector(pid).into(),
        signal: Signal::SIGNAL_SIGKILL.into(),
        ..Default::default()
    };
    client.send_signal(kill).await.unwrap();
    assert_eq!(finish(&mut stream).await.exit_code(), Some(-1));
}

#[tokio::test]
async fn another_client_takes_a_terminal_over() {
    let envd = Envd::start();
    let client = envd.processes(Codec::Json);
    let mut stream = client.start(shell(80, 24)).await.unwrap();
    let pid = first(&mut stream).await;
    client.send_input(keys(pid, "echo fir''st\n")).await.unwrap();
    until(&mut stream, shows("first\r\n")).await;
    drop(stream);
    let replayed = reconnect(&client, pid_selector(pid), true, shows("first\r\n"));
    assert!(shows("first\r\n")(&replayed.await));
    client.send_input(keys(pid, "exit\n")).await.unwrap();
    let end = reconnect(&client, pid_selector(pid), false, |outcome| outcome.end.is_some()).await;
    assert_eq!(end.exit_code(), Some(0));
}
