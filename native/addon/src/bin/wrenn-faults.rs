//! The memory server of one VM as a program of its own (SN6): an agent that ends or restarts does not take the VM with it.
//!
//! `wrenn-faults --socket PATH --control PATH --pid N --start-time N --uid N [--working-set PATH] GENERATION…`
//!
//! It ends with its VM, and kills it where it fails; why is written to the standard error. At the control socket, which is
//! there once the VMM may connect, it takes one line per connection: `save FOLDER NAME [MOST]` (what was touched so far, or the
//! first so many blocks of it), `stats`.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    thread,
};

use wrenn_addon::{
    process::identity::Identity,
    snapshot::chain::Chain,
    uffd::server::{Options, Reason, Server},
};

/// Two paths, and a word.
const MOST_BYTES: u64 = 16 << 10;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(words) => {
            eprintln!("wrenn-faults: {words}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let mut arguments = Arguments::default();
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--socket" => arguments.socket = value()?.into(),
            "--control" => arguments.control = value()?.into(),
            "--pid" => arguments.pid = number(&value()?)?,
            "--start-time" => arguments.start_time = number(&value()?)?,
            "--uid" => arguments.uid = number(&value()?)?,
            "--working-set" => arguments.working_set = Some(value()?.into()),
            _ => arguments.chain.push(word.into()),
        }
    }
    let chain = Chain::open(&arguments.chain).map_err(|failure| failure.to_string())?;
    let options = Options {
        socket: arguments.socket,
        process: Identity {
            pid: arguments.pid,
            start_time: arguments.start_time,
        },
        uid: arguments.uid,
        working_set: arguments.working_set,
    };
    let server = Arc::new(Server::listen(options, chain).map_err(|failure| failure.to_string())?);
    let control = listen(&arguments.control).map_err(|error| format!("{}: {error}", arguments.control.display()))?;
    let theirs = Arc::clone(&server);
    thread::spawn(move || {
        for stream in control.incoming().flatten() {
            // Whoever asked has gone, if this fails.
            let _ = answer(&theirs, &stream);
        }
    });
    server.join();
    let end = server.end().borrow().clone();
    let failed = end.is_none_or(|end| {
        if let Some((code, message)) = &end.failure {
            eprintln!("wrenn-faults: {code}: {message}; the VM was killed");
        }
        end.reason == Reason::Failed
    });
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[derive(Default)]
struct Arguments {
    socket: PathBuf,
    control: PathBuf,
    pid: i32,
    start_time: u64,
    uid: u32,
    working_set: Option<PathBuf>,
    chain: Vec<PathBuf>,
}

fn number<Number: std::str::FromStr>(text: &str) -> Result<Number, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}

/// For root alone: it is made under another name, and gets its own when nobody else may connect.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let aside = path.with_extension("new");
    for old in [&aside, path] {
        match fs::remove_file(old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let listener = UnixListener::bind(&aside)?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))?;
    fs::rename(&aside, path)?;
    Ok(listener)
}

fn answer(server: &Server, mut stream: &UnixStream) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream.take(MOST_BYTES)).read_line(&mut line)?;
    let words: Vec<&str> = line.trim_end().split(' ').collect();
    let saved = match words[..] {
        ["save", folder, name] => Some(server.save_working_set(Path::new(folder), name)),
        ["save", folder, name, most] => most
            .parse()
            .ok()
            .map(|most| server.save_first_touches(Path::new(folder), name, most)),
        _ => None,
    };
    match (saved, &words[..]) {
        (Some(Ok(blocks)), _) => writeln!(stream, "ok {blocks}"),
        (Some(Err(failure)), _) => writeln!(stream, "error {failure}"),
        (None, ["stats"]) => {
            let counters = server.counters();
            let [faults, zeros, prefetched, removed] = [
                &counters.faults,
                &counters.zeros,
                &counters.prefetched,
                &counters.removed_bytes,
            ]
            .map(|counter| counter.load(Ordering::Relaxed));
            writeln!(
                stream,
                "{{\"faults\":{faults},\"zeros\":{zeros},\"prefetched\":{prefetched},\"removed_bytes\":{removed}}}"
            )
        }
        _ => writeln!(stream, "error not a command"),
    }
}
