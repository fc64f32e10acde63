//! One thread that learns of every exit through pidfds, of children and of adopted strangers alike.
//!
//! A child is reaped the moment it ends, watched or not; how it ended is remembered for a watcher that comes late.
//! A stranger's pidfd only says that it ended: its code is its parent's business.

use std::{
    collections::{HashMap, VecDeque},
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

use rustix::{
    event::epoll,
    process::{WaitId, WaitIdOptions, waitid},
};

use super::identity::Identity;
use crate::failure::{During, Outcome};

/// How a process ended: neither is known of one that is not our child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

pub type OnExit = Box<dyn FnOnce(Exit) + Send>;

/// Exits remembered for late watchers: far more than can end between a spawn and its watch.
const REMEMBERED_EXITS: usize = 4096;

struct Watched {
    identity: Identity,
    handle: OwnedFd,
    is_child: bool,
    on_exit: Option<OnExit>,
}

#[derive(Default)]
struct State {
    /// By the number that epoll returns.
    watched: HashMap<u64, Watched>,
    numbers: HashMap<Identity, u64>,
    next_number: u64,
    exits: HashMap<Identity, Exit>,
    exits_in_order: VecDeque<Identity>,
}

struct Watcher {
    epoll: OwnedFd,
    state: Mutex<State>,
}

/// Takes charge of a child that was just started: it will be reaped.
pub(super) fn adopt_child(identity: Identity) -> Outcome<()> {
    let watcher = watcher()?;
    let handle = identity.open().during(|| format!("opening process {}", identity.pid))?;
    match handle {
        Some(handle) => watcher.add(&mut watcher.lock(), identity, handle, true, None),
        None => Ok(()), // a zombie has a handle, so this is somebody else's doing
    }
    .during(|| format!("watching process {}", identity.pid))
}

/// Calls back once when the process ends: at once if it has ended. A later watch of the same process takes the place
/// of the earlier one.
pub fn watch(identity: Identity, on_exit: OnExit) -> Outcome<()> {
    let watcher = watcher()?;
    let mut state = watcher.lock();
    if let Some(number) = state.numbers.get(&identity).copied() {
        if let Some(watched) = state.watched.get_mut(&number) {
            watched.on_exit = Some(on_exit);
        }
        return Ok(());
    }
    if let Some(exit) = state.exits.get(&identity).copied() {
        drop(state);
        on_exit(exit);
        return Ok(());
    }
    match identity.open().during(|| format!("opening process {}", identity.pid))? {
        Some(handle) => watcher
            .add(&mut state, identity, handle, false, Some(on_exit))
            .during(|| format!("watching process {}", identity.pid)),
        None => {
            drop(state);
            on_exit(Exit::default());
            Ok(())
        }
    }
}

/// No more calls for this process. A child is still reaped.
pub fn unwatch(identity: Identity) -> Outcome<()> {
    let watcher = watcher()?;
    let mut state = watcher.lock();
    let Some(number) = state.numbers.get(&identity).copied() else {
        return Ok(());
    };
    if let Some(watched) = state.watched.get_mut(&number) {
        watched.on_exit = None;
        if !watched.is_child {
            state.watched.remove(&number);
            state.numbers.remove(&identity);
        }
    }
    Ok(())
}

fn watcher() -> Outcome<&'static Watcher> {
    static WATCHER: OnceLock<Watcher> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(watcher) = WATCHER.get() {
        return Ok(watcher);
    }
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).during(|| "opening an epoll instance".to_owned())?;
    let watcher = WATCHER.get_or_init(|| Watcher {
        epoll,
        state: Mutex::default(),
    });
    thread::Builder::new()
        .name("wrenn-exits".to_owned())
        .spawn(|| watcher.run())
        .during(|| "starting the thread that watches processes".to_owned())?;
    Ok(watcher)
}

impl Watcher {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(
        &self,
        state: &mut State,
        identity: Identity,
        handle: OwnedFd,
        is_child: bool,
        on_exit: Option<OnExit>,
    ) -> io::Result<()> {
        let number = state.next_number;
        state.next_number += 1;
        epoll::add(
            &self.epoll,
            handle.as_fd(),
            epoll::EventData::new_u64(number),
            epoll::EventFlags::IN,
        )?;
        state.numbers.insert(identity, number);
        state.watched.insert(
            number,
            Watched {
                identity,
                handle,
                is_child,
                on_exit,
            },
        );
        Ok(())
    }

    fn run(&self) {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 64];
        loop {
            let ended: Vec<u64> = match epoll::wait(&self.epoll, &mut events, None) {
                Ok((ready, _)) => ready.iter().map(|event| event.data.u64()).collect(),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => panic!("waiting for processes: {error}"), // a closed epoll: a fault in this file
            };
            for number in ended {
                let call = self.lock().end(number);
                if let Some((on_exit, exit)) = call {
                    on_exit(exit);
                }
            }
        }
    }
}

impl State {
    /// Reaps and forgets; the handle's closing takes it out of the epoll instance.
    fn end(&mut self, number: u64) -> Option<(OnExit, Exit)> {
        let watched = self.watched.remove(&number)?;
        self.numbers.remove(&watched.identity);
        let exit = reap(&watched).unwrap_or_default();
        if watched.is_child {
            self.exits.insert(watched.identity, exit);
            self.exits_in_order.push_back(watched.identity);
            if self.exits_in_order.len() > REMEMBERED_EXITS
                && let Some(oldest) = self.exits_in_order.pop_front()
            {
                self.exits.remove(&oldest);
            }
        }
        watched.on_exit.map(|on_exit| (on_exit, exit))
    }
}

fn reap(watched: &Watched) -> Option<Exit> {
    let status = waitid(
        WaitId::PidFd(watched.handle.as_fd()),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    );
    let status = status.ok().flatten()?;
    Some(Exit {
        code: status.exit_status(),
        signal: status.terminating_signal(),
    })
}
