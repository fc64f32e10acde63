//! Starts a process and sees it to its end.

use super::fork::{self, Failure, Image, Step, Streams};
use super::input::Input;
use super::outlet::{Channel, Ending, Outlet};
use super::running::Running;
use super::status::End;
use super::tree::Tree;
use super::{command, environment, pump, terminal};
use crate::descriptor::{self, retry};
use crate::fault::{Fault, Kind};
use crate::guest::Guest;
use crate::proto::process::{ProcessConfig, StartRequest};
use crate::users::User;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a process that has ended can still be connected to.
const KEEP_ENDED: Duration = Duration::from_secs(30);

/// The process, with output that nobody reads yet: the caller subscribes and then calls `Started::run`.
pub struct Started {
    pub process: Arc<Running>,
    sources: Vec<(Arc<AsyncFd<OwnedFd>>, Channel)>,
}

/// Starts what was asked for; the fault tells a missing program from a bad directory.
pub async fn start(guest: &Guest, request: StartRequest, user: &User) -> Result<Started, Fault> {
    let config: ProcessConfig = request
        .process
        .into_option()
        .ok_or_else(|| Fault::invalid("no process is given"))?;
    let pty = request
        .pty
        .into_option()
        .map(|pty| pty.size.into_option().unwrap_or_default());
    let image = image(guest, &config, user, pty.is_some())?;
    let failed = |error: io::Error| Fault::io("cannot start the process", &error);

    // Our ends and the child's; the child's close when this returns.
    let (streams, input, sources) = match &pty {
        Some(size) => {
            let terminal = terminal::open(size, user)?;
            let master = Arc::new(asynchronous(terminal.master, Interest::READABLE | Interest::WRITABLE)?);
            let input = Input::Terminal {
                master: master.clone(),
                turn: Default::default(),
            };
            let other = || terminal.slave.try_clone().map_err(failed);
            (
                [other()?, other()?, terminal.slave],
                input,
                vec![(master, Channel::Pty)],
            )
        }
        None => {
            let (stdin, input) = standard_input(request.stdin.unwrap_or(true))?;
            let (out, stdout) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
            let (err, stderr) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
            let source = |end, channel| Ok((Arc::new(asynchronous(end, Interest::READABLE)?), channel));
            let sources = vec![source(out, Channel::Stdout)?, source(err, Channel::Stderr)?];
            ([stdin, stdout, stderr], Input::Pipe(input.into()), sources)
        }
    };
    let cgroup = guest.processes.cgroups.create();
    let [stdin, stdout, stderr] = streams.each_ref().map(AsFd::as_fd);
    let forked = fork::fork(
        &image,
        &Streams { stdin, stdout, stderr },
        cgroup.as_ref().map(|group| group.fd()),
    );
    drop(streams);
    let child = forked.map_err(failed)?;
    let failure = report(child.report).await.map_err(failed)?;
    let in_cgroup = child.in_cgroup;
    if let Some(failure) = failure {
        let _ = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
        cgroup
            .into_iter()
            .for_each(|group| guest.processes.cgroups.retire(group));
        return Err(explain(&failure, &config, &image));
    }
    let process = Arc::new(Running {
        pid: child.pid as u32,
        config,
        tag: request.tag,
        input,
        outlet: Arc::new(Outlet::default()),
        tree: Tree {
            root: child.pid,
            pidfd: child.pidfd,
            cgroup: Mutex::new(cgroup.filter(|_| in_cgroup)),
        },
    });
    guest.processes.add(process.clone());
    Ok(Started { process, sources })
}

impl Started {
    /// Moves output until the end, then tells it. After `deadline` the whole tree is killed.
    pub async fn run(self, guest: Arc<Guest>, deadline: Option<Instant>) {
        let Self { process, sources } = self;
        let (exited, watch_exited) = watch::channel(false);
        let mut pumps = JoinSet::new();
        for (source, channel) in sources {
            pumps.spawn(pump::run(source, channel, process.outlet.clone(), watch_exited.clone()));
        }
        let mut timed_out = false;
        let end = tokio::select! {
            biased;
            end = wait(&process.tree.pidfd) => end,
            () = until(deadline) => {
                timed_out = true;
                process.tree.signal(Signal::KILL);
                wait(&process.tree.pidfd).await
            }
        };
        let _ = exited.send(true);
        // What its children still write belongs to it, and its lifetime is theirs.
        tokio::select! {
            biased;
            _ = async { while pumps.join_next().await.is_some() {} } => {}
            () = until(deadline.filter(|_| !timed_out)) => {
                process.tree.signal(Signal::KILL);
                while pumps.join_next().await.is_some() {}
            }
        }
        let cgroup = process.tree.cgroup.lock().unwrap().take();
        cgroup
            .into_iter()
            .for_each(|group| guest.processes.cgroups.retire(group));
        process.outlet.finish(Ending { end, timed_out });
        tokio::time::sleep(KEEP_ENDED).await;
        guest.processes.forget(&process);
    }
}

fn image(guest: &Guest, config: &ProcessConfig, user: &User, terminal: bool) -> Result<Image, Fault> {
    let settings = guest.settings.read().unwrap();
    let envs = environment::build(&settings, user, &config.envs);
    drop(settings);
    let cwd = guest.resolve(config.cwd.as_deref().unwrap_or_default(), user)?;
    if !cwd.is_dir() {
        return Err(Fault::invalid(format!("cwd '{}' does not exist", cwd.display())));
    }
    let program = command::find(&config.cmd, envs.get("PATH").map_or("", String::as_str), &cwd)?;
    let args = std::iter::once(&config.cmd).chain(&config.args);
    Ok(Image {
        program: command::c_string(&program)?,
        args: args.map(command::c_string).collect::<Result<_, _>>()?,
        envs: envs
            .iter()
            .map(|(name, value)| command::c_string(format!("{name}={value}")))
            .collect::<Result<_, _>>()?,
        cwd: command::c_string(&cwd)?,
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        terminal,
    })
}

/// The child's end, and ours if it wants one; without, it reads the end of file at once.
fn standard_input(wanted: bool) -> Result<(OwnedFd, Option<AsyncFd<OwnedFd>>), Fault> {
    let failed = |error: io::Error| Fault::io("cannot start the process", &error);
    if wanted {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        return Ok((theirs, Some(asynchronous(ours, Interest::WRITABLE)?)));
    }
    Ok((
        std::fs::File::open(Path::new("/dev/null")).map_err(failed)?.into(),
        None,
    ))
}

fn asynchronous(fd: OwnedFd, interest: Interest) -> Result<AsyncFd<OwnedFd>, Fault> {
    descriptor::register(fd, interest).map_err(|error| Fault::io("cannot start the process", &error))
}

/// Waits for exec, which closes the report, or for the reason why there was none.
async fn report(report: OwnedFd) -> io::Result<Option<Failure>> {
    let report = descriptor::watch(report, Interest::READABLE)?;
    loop {
        let mut ready = report.readable().await?;
        let mut message = [0; 16];
        match ready.try_io(|report| retry(|| rustix::io::read(report, &mut message))) {
            Ok(length) => return Ok(Failure::parse(&message[..length?])),
            Err(_would_block) => {}
        }
    }
}

fn explain(failure: &Failure, config: &ProcessConfig, image: &Image) -> Fault {
    let cwd = image.cwd.to_string_lossy();
    let error = &failure.error;
    match (failure.step, error.kind()) {
        (Step::Exec, io::ErrorKind::NotFound) => {
            Fault::not_found(format!("command '{}' not found (or its interpreter)", config.cmd))
        }
        (Step::Exec, io::ErrorKind::PermissionDenied) => Fault::new(
            Kind::PermissionDenied,
            format!("command '{}' may not be executed", config.cmd),
        ),
        (Step::Exec, _) => Fault::invalid(format!("command '{}' cannot be executed: {error}", config.cmd)),
        (Step::Cwd, _) => Fault::io(format!("cannot use cwd '{cwd}'"), error),
        (Step::User, _) => Fault::io("cannot become the user", error),
        (Step::Setup, _) => Fault::io("cannot start the process", error),
    }
}

/// Waits without a signal handler: the descriptor becomes readable at the end.
async fn wait(pidfd: &OwnedFd) -> End {
    if let Ok(watched) = pidfd
        .try_clone()
        .and_then(|fd| descriptor::watch(fd, Interest::READABLE))
    {
        let _ = watched.readable().await;
    }
    match retry(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)) {
        Ok(Some(status)) => End::of(&status),
        _ => End::Exited(-1),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
