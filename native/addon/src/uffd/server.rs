//! The server of one VM: from the listening socket to the end of the VM.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::watch;

use super::{
    handshake::{Handshake, Peer, Socket},
    pages::{ChainPages, Pages},
    prefetch::Prefetch,
    session::{Counters, Ended, Session},
    working_set,
};
use crate::{
    failure::{During, Failure, Outcome},
    net::namespace::panic_message,
    process::identity::Identity,
    snapshot::chain::Chain,
};

/// How soon a page is tried again that could not be placed: a removal is under way in the VMM.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000,
};

/// How long after a failure the VM's own end may be seen.
const GRACE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

pub struct Options {
    pub socket: PathBuf,
    pub process: Identity,
    /// The VMM's user: nobody else is served.
    pub uid: u32,
    pub working_set: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    VmEnded,
    /// By `close`. The VM was killed if it had begun.
    Closed,
    /// The VM was killed.
    Failed,
}

#[derive(Clone, Debug)]
pub struct End {
    pub reason: Reason,
    /// Code and message of a failure.
    pub failure: Option<(&'static str, String)>,
}

/// Goes on until the VM has ended or `close`, also when this is dropped.
pub struct Server {
    stop: Arc<OwnedFd>,
    counters: Arc<Counters>,
    end: watch::Receiver<Option<End>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Server {
    /// Listens when it returns.
    pub fn listen(options: Options, chain: Chain) -> Outcome<Self> {
        let chain = Arc::new(chain);
        let pages = || Box::new(ChainPages::new(Arc::clone(&chain))) as Box<dyn Pages>;
        Self::serve(options, pages(), pages())
    }

    /// With pages from anywhere; `ahead` are the same, for the thread that reads ahead.
    pub fn serve(options: Options, pages: Box<dyn Pages>, ahead: Box<dyn Pages>) -> Outcome<Self> {
        let pid = options.process.pid;
        let handle = options.process.open().during(|| format!("opening process {pid}"))?;
        let handle = handle.ok_or(Failure::ProcessGone { pid })?;
        let action = || format!("listening on {}", options.socket.display());
        let socket = Socket::listen(&options.socket, options.uid).during(action)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = Arc::new(stop.during(|| "making an eventfd".to_owned())?);
        let counters = Arc::new(Counters::default());
        let (say, end) = watch::channel(None);
        let server = Running {
            process: options.process,
            handle,
            uid: options.uid,
            working_set: options.working_set,
            socket: Some(socket),
            stop: Arc::clone(&stop),
            counters: Arc::clone(&counters),
        };
        let thread = thread::Builder::new().name("wrenn-faults".to_owned());
        let thread = thread.spawn(move || drop(say.send_replace(Some(server.run(pages, ahead)))));
        Ok(Self {
            stop,
            counters,
            end,
            thread: Mutex::new(Some(thread.during(|| "starting a thread".to_owned())?)),
        })
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Holds the end once it has come.
    pub fn end(&self) -> watch::Receiver<Option<End>> {
        self.end.clone()
    }

    /// Stores what was touched so far. Says how many blocks.
    pub fn save_working_set(&self, folder: &Path, name: &str) -> Outcome<u64> {
        self.save_first_touches(folder, name, usize::MAX)
    }

    /// Stores no more than the first blocks that were touched. Says how many.
    pub fn save_first_touches(&self, folder: &Path, name: &str, most: usize) -> Outcome<u64> {
        let blocks = {
            let touched = self.counters.working_set.lock().expect("nobody panics with it");
            touched.blocks().iter().copied().take(most).collect::<Vec<_>>()
        };
        working_set::save(&blocks, folder, name)?;
        Ok(blocks.len() as u64)
    }

    /// Ends it, and with it a VM that it serves: that could not go on.
    pub fn close(&self) {
        // Set already is fine.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
    }

    /// Waits for its end.
    pub fn join(&self) {
        if let Some(thread) = self.thread.lock().expect("nobody panics with it").take() {
            let _ = thread.join();
        }
    }
}

struct Running {
    process: Identity,
    handle: OwnedFd,
    uid: u32,
    working_set: Option<PathBuf>,
    /// Gone after the handshake.
    socket: Option<Socket>,
    stop: Arc<OwnedFd>,
    counters: Arc<Counters>,
}

/// What a wait ended with.
enum Woken {
    ByVm,
    ByStop,
    ByOther,
}

impl Running {
    fn run(mut self, pages: Box<dyn Pages>, ahead: Box<dyn Pages>) -> End {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.try_run(pages, ahead))).unwrap_or_else(|panic| {
            Err(Failure::Panic {
                message: panic_message(&*panic),
            })
        });
        let (reason, failure) = match outcome {
            Ok(reason) => (reason, None),
            Err(failure) if !matches!(failure, Failure::SnapshotDamaged { .. }) && self.is_ending() => {
                (Reason::VmEnded, None)
            }
            Err(failure) => (Reason::Failed, Some((failure.code(), failure.to_string()))),
        };
        if reason == Reason::Failed {
            // A VM without its server would wait for ever.
            let _ = self.process.kill(libc::SIGKILL);
        }
        End { reason, failure }
    }

    /// What goes wrong because the VM ends is its end: its connections close before it counts as gone.
    fn is_ending(&self) -> bool {
        let mut ends = [PollFd::new(&self.handle, PollFlags::IN)];
        matches!(poll(&mut ends, Some(&GRACE)), Ok(1..))
    }

    fn try_run(&mut self, pages: Box<dyn Pages>, ahead: Box<dyn Pages>) -> Outcome<Reason> {
        let mut session = match self.shake_hands(pages, ahead)? {
            Ok(session) => session,
            Err(reason) => return Ok(reason),
        };
        loop {
            match session.step()? {
                Err(Ended) => return Ok(Reason::VmEnded),
                Ok(true) => continue,
                Ok(false) => {}
            }
            let faults = session.faults().descriptor();
            let ahead = session.prefetch().map(|prefetch| prefetch.signal().as_fd());
            match self.wait(faults, ahead, session.must_retry())? {
                Woken::ByVm => return Ok(Reason::VmEnded),
                Woken::ByStop => {
                    self.process.kill(libc::SIGKILL)?;
                    return Ok(Reason::Closed);
                }
                Woken::ByOther => {}
            }
        }
    }

    fn shake_hands(&mut self, pages: Box<dyn Pages>, ahead: Box<dyn Pages>) -> Outcome<Result<Session, Reason>> {
        let socket = self.socket.take().expect("hands are shaken once");
        let peer = Peer {
            pid: self.process.pid,
            uid: self.uid,
        };
        let mut connection = None;
        let mut handshake = Handshake::default();
        loop {
            let waited_for = connection.as_ref().map_or(socket.listener().as_fd(), AsFd::as_fd);
            match self.wait(waited_for, None, false)? {
                Woken::ByVm => return Ok(Err(Reason::VmEnded)),
                Woken::ByStop => return Ok(Err(Reason::Closed)),
                Woken::ByOther => {}
            }
            let Some(stream) = &connection else {
                connection = socket.accept(peer).during(|| "accepting the VMM".to_owned())?;
                continue;
            };
            let received = handshake.receive(stream, pages.memory_bytes());
            let Some((regions, faults)) = received.during(|| "shaking hands with the VMM".to_owned())? else {
                continue;
            };
            let blocks = self
                .working_set
                .as_ref()
                .map(|path| working_set::load(path, pages.memory_bytes()));
            let prefetch = match blocks.filter(|blocks| !blocks.is_empty()) {
                Some(blocks) => Some(Prefetch::start(blocks, ahead)?),
                None => None,
            };
            return Ok(Ok(Session::new(
                faults,
                regions,
                pages,
                prefetch,
                Arc::clone(&self.counters),
            )));
        }
    }

    fn wait(&self, other: BorrowedFd<'_>, another: Option<BorrowedFd<'_>>, retry: bool) -> Outcome<Woken> {
        let descriptors = [self.handle.as_fd(), self.stop.as_fd(), other, another.unwrap_or(other)];
        let mut ends = descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
        match poll(&mut ends, retry.then_some(&RETRY)) {
            Err(rustix::io::Errno::INTR) => return Ok(Woken::ByOther),
            outcome => outcome
                .map_err(io::Error::from)
                .during(|| "waiting for faults".to_owned())?,
        };
        let [vm, stop, ..] = ends.map(|end| !end.revents().is_empty());
        Ok(match (vm, stop) {
            (true, _) => Woken::ByVm,
            (false, true) => Woken::ByStop,
            (false, false) => Woken::ByOther,
        })
    }
}
