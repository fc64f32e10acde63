//! Starts the real binary on a free loopback port and speaks its protocols.

#![allow(dead_code)] // each test file uses its part

pub mod http;

#[allow(clippy::all, unused_imports)]
pub mod proto {
    connectrpc::include_generated!();
}

use connectrpc::ConnectError;
use connectrpc::client::{CallOptions, ClientConfig, HttpClient, ServerStream};
use hyper::body::Incoming;
use proto::filesystem::FilesystemClient;
use proto::process::__buffa::oneof::process_event::Event;
use proto::process::__buffa::oneof::process_event::data_event::Output;
use proto::process::__buffa::oneof::process_selector::Selector;
use proto::process::__buffa::view::StartResponseView;
use proto::process::process_event::EndEvent;
use proto::process::*;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_envd");

/// Both codecs; each protocol test runs once with each.
pub const CODECS: [Codec; 2] = [Codec::Json, Codec::Binary];

#[derive(Clone, Copy, Debug)]
pub enum Codec {
    Json,
    Binary,
}

/// A running agent, ended with this value.
pub struct Envd {
    child: Child,
    pub address: SocketAddr,
    pub directory: TempDir,
}

impl Envd {
    pub fn start() -> Self {
        Self::launch(Command::new(BINARY), "127.0.0.1")
    }

    /// With a command that ends in executing the agent, such as `unshare … envd`.
    pub fn launch(mut command: Command, host: &str) -> Self {
        let mut child = command
            .args(["--port", "0", "--host", host])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("envd starts");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.next().expect("envd says where it listens").unwrap();
        let address = ready
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap_or_else(|_| panic!("{ready}"));
        // What else it says belongs to the test's output.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Self {
            child,
            address,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn config(&self, codec: Codec) -> ClientConfig {
        let config = ClientConfig::new(format!("http://{}", self.address).parse().unwrap());
        match codec {
            Codec::Json => config.json(),
            Codec::Binary => config.proto(),
        }
    }

    pub fn processes(&self, codec: Codec) -> ProcessClient<HttpClient> {
        ProcessClient::new(HttpClient::plaintext(), self.config(codec))
    }

    pub fn files(&self, codec: Codec) -> FilesystemClient<HttpClient> {
        FilesystemClient::new(HttpClient::plaintext(), self.config(codec))
    }
}

impl Drop for Envd {
    fn drop(&mut self) {
        // SIGTERM, so that it takes its control groups away.
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

pub type Stream = ServerStream<Incoming, StartResponseView<'static>>;

/// `bash -c script`, without standard input.
pub fn bash(script: &str) -> StartRequest {
    command("bash", &["-c", script])
}

pub fn command(cmd: &str, args: &[&str]) -> StartRequest {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let process = ProcessConfig {
        cmd: cmd.into(),
        args,
        ..Default::default()
    };
    StartRequest {
        process: process.into(),
        stdin: Some(false),
        ..Default::default()
    }
}

pub fn pid_selector(pid: u32) -> ProcessSelector {
    ProcessSelector {
        selector: Some(Selector::Pid(pid)),
        ..Default::default()
    }
}

pub fn tag_selector(tag: &str) -> ProcessSelector {
    ProcessSelector {
        selector: Some(Selector::Tag(tag.into())),
        ..Default::default()
    }
}

pub fn stdin(text: &str) -> ProcessInput {
    use proto::process::__buffa::oneof::process_input::Input;
    ProcessInput {
        input: Some(Input::Stdin(text.as_bytes().to_vec())),
        ..Default::default()
    }
}

pub fn user(name: &str) -> CallOptions {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{name}:"));
    CallOptions::default().with_header("authorization", format!("Basic {encoded}"))
}

/// Everything a process wrote, and how it ended.
#[derive(Debug, Default)]
pub struct Outcome {
    pub pid: u32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub pty: Vec<u8>,
    pub keepalives: usize,
    pub end: Option<EndEvent>,
    pub error: Option<ConnectError>,
}

impl Outcome {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub fn exit_code(&self) -> Option<i32> {
        self.end.as_ref().map(|end| end.exit_code)
    }

    fn take(&mut self, event: Option<Event>) {
        match event.expect("an event is never empty") {
            Event::Start(start) => self.pid = start.pid,
            Event::Data(data) => match data.output.unwrap() {
                Output::Stdout(bytes) => self.stdout.extend(bytes),
                Output::Stderr(bytes) => self.stderr.extend(bytes),
                Output::Pty(bytes) => self.pty.extend(bytes),
            },
            Event::End(end) => self.end = Some(*end),
            Event::Keepalive(_) => self.keepalives += 1,
        }
    }
}

/// Starts and reads to the end.
pub async fn run(client: &ProcessClient<HttpClient>, request: StartRequest) -> Outcome {
    run_with(client, request, CallOptions::default()).await
}

pub async fn run_with(client: &ProcessClient<HttpClient>, request: StartRequest, options: CallOptions) -> Outcome {
    match client.start_with_options(request, options).await {
        Ok(mut stream) => finish(&mut stream).await,
        Err(error) => Outcome {
            error: Some(error),
            ..Default::default()
        },
    }
}

/// The first event, which must be the start.
pub async fn first(stream: &mut Stream) -> u32 {
    let mut outcome = Outcome::default();
    outcome.take(
        stream
            .message::<StartResponse>()
            .await
            .unwrap()
            .unwrap()
            .to_owned_message()
            .event
            .event
            .clone(),
    );
    assert_ne!(outcome.pid, 0, "the first event is start");
    outcome.pid
}

/// Reads to the end of the stream.
pub async fn finish(stream: &mut Stream) -> Outcome {
    finish_into(stream, Outcome::default(), |_| false).await
}

/// Reads until the condition holds.
pub async fn until(stream: &mut Stream, done: impl Fn(&Outcome) -> bool) -> Outcome {
    finish_into(stream, Outcome::default(), done).await
}

async fn finish_into(stream: &mut Stream, mut outcome: Outcome, done: impl Fn(&Outcome) -> bool) -> Outcome {
    while !done(&outcome) {
        match stream.message::<StartResponse>().await {
            Ok(Some(message)) => outcome.take(message.to_owned_message().event.event.clone()),
            Ok(None) => match stream.error() {
                Some(error) => {
                    outcome.error = Some(error.clone());
                    break;
                }
                None => break,
            },
            Err(error) => {
                outcome.error = Some(error);
                break;
            }
        }
    }
    outcome
}

/// The same for `Connect`.
pub async fn reconnect(
    client: &ProcessClient<HttpClient>,
    selector: ProcessSelector,
    replay: bool,
    done: impl Fn(&Outcome) -> bool,
) -> Outcome {
    let mut options = CallOptions::default();
    if replay {
        options = options.with_header("x-wrenn-replay", "1");
    }
    let request = ConnectRequest {
        process: selector.into(),
        ..Default::default()
    };
    let mut outcome = Outcome::default();
    let mut stream = match client.connect_with_options(request, options).await {
        Ok(stream) => stream,
        Err(error) => {
            return Outcome {
                error: Some(error),
                ..Default::default()
            };
        }
    };
    while !done(&outcome) {
        match stream.message::<ConnectResponse>().await {
            Ok(Some(message)) => outcome.take(message.to_owned_message().event.event.clone()),
            Ok(None) => {
                outcome.error = stream.error().cloned();
                break;
            }
            Err(error) => {
                outcome.error = Some(error);
                break;
            }
        }
    }
    outcome
}

/// Looks again until it holds; for what the kernel does in its own time.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(10), "not in 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// True while the process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with(['Z', 'X']))
}
