//! Named network namespaces, kept as `ip netns` keeps them: a file in /run/netns with the namespace mounted over it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

use crate::failure::{During, Failure, Outcome};

const FOLDER: &str = "/run/netns";

pub fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Puts the calling thread into a new namespace and gives that a name. The thread must end afterwards: it never goes
/// back. `AlreadyExists` if the name is taken.
pub fn enter_new(name: &str) -> io::Result<()> {
    prepare_folder()?;
    let file = path(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(&file)?;
    let made = enter_unnamed().and_then(|()| Ok(mount_bind("/proc/thread-self/ns/net", &file)?));
    if made.is_err() {
        fs::remove_file(&file)?;
    }
    made
}

/// Puts the calling thread into a new namespace that ends with it.
pub fn enter_unnamed() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET does not share or unshare memory or descriptors.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// Takes the name away; the namespace lives on while a process is in it. An absent one is fine.
pub fn remove(name: &str) -> io::Result<()> {
    let file = path(name);
    match unmount(&file, UnmountFlags::DETACH) {
        // EINVAL: the file is there, nothing is mounted on it (a crash between the two steps).
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The names there are, ours and others'.
pub fn names() -> io::Result<Vec<String>> {
    match fs::read_dir(FOLDER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        entries => entries?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect(),
    }
}

/// Runs work on a thread of its own: a thread that changes its namespace must not be used again.
pub fn on_own_thread<T: Send>(work: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| {
        Err(Failure::Panic {
            message: panic_message(&*panic),
        })
    })
}

/// Runs work inside a namespace that has a name.
pub fn inside<T: Send>(name: &str, work: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    let namespace = File::open(path(name)).during(|| format!("opening namespace {name}"))?;
    on_own_thread(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .during(|| format!("entering namespace {name}"))?;
        work()
    })
}

pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// /run/netns must be a shared mount, or a namespace's mount stays pinned in every mount namespace that copied it.
fn prepare_folder() -> io::Result<()> {
    fs::create_dir_all(FOLDER)?;
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    match mount_change(FOLDER, shared) {
        Err(rustix::io::Errno::INVAL) => {
            mount_bind_recursive(FOLDER, FOLDER)?;
            Ok(mount_change(FOLDER, shared)?)
        }
        outcome => Ok(outcome?),
    }
}
