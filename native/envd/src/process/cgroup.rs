//! A control group per process, where the kernel has a writable cgroup v2 hierarchy: whatever the process starts is
//! in it, however it changes groups, sessions or parents.

use crate::descriptor;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Time that processes have to stand still; one that waits for a disk needs it.
const FREEZE_LIMIT: Duration = Duration::from_millis(1500);
/// Where wrenn-init keeps the services of an image.
const SERVICES: &str = "wrenn.services";
/// Our own group is named after our pid.
const BASE_PREFIX: &str = "envd.";

/// Makes groups beneath one of our own.
pub struct Cgroups {
    /// None where there is no hierarchy that we may write to.
    base: Option<PathBuf>,
    count: AtomicU64,
    /// Made ahead, so that no start waits for it.
    spare: Mutex<Option<Cgroup>>,
    /// Groups whose process has ended while others in them live on.
    left: Mutex<Vec<PathBuf>>,
    /// What the last freeze stopped and a thaw lets go on: open, since a clone that looks files up has to learn how.
    frozen: Mutex<Vec<File>>,
}

/// Removed when dropped, or later if something still lives in it.
pub struct Cgroup {
    path: PathBuf,
    directory: File,
}

impl Cgroups {
    pub fn new() -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let base = mount_point(&mountinfo).and_then(|mount| {
            remove_abandoned(&mount);
            let base = mount.join(format!("{BASE_PREFIX}{}", std::process::id()));
            fs::create_dir(&base).is_ok().then_some(base)
        });
        let cgroups = Self {
            base,
            count: AtomicU64::new(0),
            spare: Mutex::default(),
            left: Mutex::default(),
            frozen: Mutex::default(),
        };
        cgroups.prepare();
        cgroups
    }

    /// A group for one process. None where there can be no groups.
    pub fn create(&self) -> Option<Cgroup> {
        let spare = self.spare.lock().unwrap().take();
        spare.or_else(|| self.make())
    }

    /// Makes the group of the next start ahead, and removes those that are empty by now.
    pub fn prepare(&self) {
        self.sweep();
        let mut spare = self.spare.lock().unwrap();
        if spare.is_none() {
            *spare = self.make();
        }
    }

    fn make(&self) -> Option<Cgroup> {
        let path = self
            .base
            .as_ref()?
            .join(self.count.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).ok()?;
        let directory = File::open(&path).ok()?;
        Some(Cgroup { path, directory })
    }

    /// Stops every process at once and returns when they stand.
    pub async fn freeze(&self) -> io::Result<()> {
        let mut controls = vec![];
        let mut events = vec![];
        // All is opened before the first of them stands: from then on the guest waits.
        for group in self.all()? {
            controls.push(File::options().write(true).open(group.join("cgroup.freeze"))?);
            events.push(descriptor::watch(
                File::open(group.join("cgroup.events"))?.into(),
                Interest::PRIORITY,
            )?);
        }
        {
            let mut frozen = self.frozen.lock().unwrap();
            *frozen = controls;
            frozen.iter_mut().try_for_each(|control| control.write_all(b"1"))?;
        }
        let all_stand = async {
            for events in &events {
                stands_still(events).await?;
            }
            Ok(())
        };
        let stand = tokio::time::timeout(FREEZE_LIMIT, all_stand).await;
        stand.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "they go on running")))
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        for mut control in self.frozen.lock().unwrap().iter() {
            let _ = control.write_all(b"0");
        }
    }

    /// The groups in which all processes of the guest's users are: those that we start, and the image's services.
    fn all(&self) -> io::Result<Vec<PathBuf>> {
        let base = self.base.clone().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "there is no writable cgroup v2 hierarchy here",
            )
        })?;
        let services = base.with_file_name(SERVICES);
        Ok([base]
            .into_iter()
            .chain(services.is_dir().then_some(services))
            .collect())
    }

    /// Takes the group of a process back that has ended, if it had one.
    pub fn retire(&self, group: Option<Cgroup>) {
        if let Some(group) = group.filter(|group| fs::remove_dir(&group.path).is_err()) {
            self.left.lock().unwrap().push(group.path);
        }
    }

    /// For the end of the agent: nothing stays frozen with nobody to thaw it, and what is empty is removed.
    pub fn clean_up(&self) {
        self.thaw();
        self.sweep();
        self.base.iter().for_each(|base| remove_empty(base));
    }

    fn sweep(&self) {
        self.left.lock().unwrap().retain(|path| fs::remove_dir(path).is_err());
    }
}

impl Cgroup {
    /// For `clone3`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Signals everything in it. The kernel does SIGKILL at one stroke, so that nothing can fork away.
    pub fn signal(&self, signal: Signal) {
        if signal == Signal::KILL && fs::write(self.path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        let _ = signal_all(&self.path, signal);
    }
}

/// The kernel wakes whoever polls `cgroup.events` when a line of it changes.
async fn stands_still(events: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut text = [0; 256];
        let length = rustix::io::pread(events.get_ref(), &mut text, 0)?;
        if String::from_utf8_lossy(&text[..length])
            .lines()
            .any(|line| line == "frozen 1")
        {
            return Ok(());
        }
        events.ready(Interest::PRIORITY).await?.clear_ready();
    }
}

fn signal_all(group: &Path, signal: Signal) -> io::Result<()> {
    let members = fs::read_to_string(group.join("cgroup.procs"))?;
    for pid in members.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        let _ = kill_process(pid, signal);
    }
    for child in fs::read_dir(group)?
        .flatten()
        .filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        signal_all(&child.path(), signal)?;
    }
    Ok(())
}

/// Removes what agents left behind that were killed.
fn remove_abandoned(mount: &Path) {
    for entry in fs::read_dir(mount).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(BASE_PREFIX)) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            remove_empty(&entry.path());
        }
    }
}

/// The kernel refuses to remove a group that somebody lives in.
fn remove_empty(base: &Path) {
    for group in fs::read_dir(base).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(group.path());
    }
    let _ = fs::remove_dir(base);
}

/// Where cgroup v2 is mounted: `id parent dev root MOUNT options … - TYPE source options`.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        (kind.split(' ').next() == Some("cgroup2")).then(|| point.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_second_version_beside_the_first() {
        let mountinfo = "25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             26 25 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             27 25 0:24 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mountinfo), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("26 25 0:23 / /x rw - cgroup cgroup rw\n"), None);
    }
}
