//! Sees a process from its start to its end, whether its client stays or not.

use super::outlet::{Ending, Subscription};
use super::pump;
use super::running::Running;
use super::start::{self, Started};
use super::status::End;
use crate::descriptor::retry;
use crate::fault::Fault;
use crate::guest::Guest;
use crate::limits;
use crate::proto::process::StartRequest;
use crate::users::User;
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a process that has ended can still be connected to.
const KEEP_ENDED: Duration = Duration::from_secs(30);

/// Starts a process, subscribes to its output before there is any, and leaves the rest to a task of its own: a client that
/// leaves does not end it. After `deadline` its whole tree is killed.
pub async fn launch(
    guest: Arc<Guest>,
    request: StartRequest,
    user: User,
    deadline: Option<Instant>,
) -> Result<(Arc<Running>, Subscription), Fault> {
    guest.freezer.thawed().await; // the request may have been on its way already when a freeze began
    let started = start::start(&guest, request, &user)?;
    let process = started.process.clone();
    let subscription = process.outlet.subscribe(false);
    tokio::spawn(async move { see_through(started, &guest, deadline).await });
    Ok((process, subscription))
}

/// Moves output until the end, tells the end, and forgets the process some time later.
async fn see_through(started: Started, guest: &Guest, deadline: Option<Instant>) {
    let Started {
        process,
        ended,
        sources,
    } = started;
    let (exited, watch_exited) = watch::channel(false);
    let mut pumps = JoinSet::new();
    for (source, channel) in sources {
        pumps.spawn(pump::run(source, channel, process.outlet.clone(), watch_exited.clone()));
    }
    let mut timed_out = false;
    let end = tokio::select! {
        biased;
        end = wait(&ended) => end,
        () = until(deadline) => {
            timed_out = true;
            process.tree.signal(Signal::KILL);
            wait(&ended).await
        }
    };
    let _ = exited.send(true);
    // What its children still write belongs to it, and its lifetime is theirs.
    tokio::select! {
        biased;
        () = all(&mut pumps) => {}
        () = until(deadline.filter(|_| !timed_out)) => {
            process.tree.signal(Signal::KILL);
            all(&mut pumps).await;
        }
    }
    // An ended process keeps words only, no descriptors.
    drop(ended);
    process.input.release();
    let cgroup = process.tree.release().and_then(|handles| handles.cgroup);
    process.outlet.finish(Ending { end, timed_out });
    // Its client hears of the end before the rest is done, which nobody waits for.
    tokio::task::yield_now().await;
    guest.processes.cgroups.retire(cgroup);
    guest.processes.cgroups.prepare();
    tokio::time::sleep(KEEP_ENDED).await;
    guest.processes.forget(&process);
    drop(process);
    limits::trim_memory();
}

/// Waits without a signal handler: the descriptor becomes readable at the end.
async fn wait(process: &AsyncFd<OwnedFd>) -> End {
    let _ = process.readable().await;
    match retry(|| waitid(WaitId::PidFd(process.get_ref().as_fd()), WaitIdOptions::EXITED)) {
        Ok(Some(status)) => End::of(&status),
        _ => End::Exited(-1),
    }
}

async fn all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
