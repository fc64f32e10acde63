//! One sandbox's control groups: made, limited, read and removed on every hierarchy together.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::hierarchy::{Controller, Hierarchies, LIMITING, PARENT, make};
use crate::failure::{During, Failure, Outcome};

const CPU_PERIOD_USEC: u64 = 100_000;
/// How often somebody else may remove the empty parent while we make a group in it.
const MAKE_AGAIN: usize = 10;
/// A group stays busy for moments after its last process ended.
const REMOVE_FOR: Duration = Duration::from_secs(2);
const REMOVE_AGAIN_AFTER: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Default)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// In CPUs, fractions allowed.
    pub cpus: Option<f64>,
    pub pids: Option<u64>,
}

pub struct Group {
    /// The folders that a process must join, for `Launch::cgroups`.
    pub folders: Vec<PathBuf>,
    /// The limits that were asked for and hold.
    pub enforced: Vec<Controller>,
    /// The limits that were asked for and do not: this machine has no such controller.
    pub not_enforced: Vec<Controller>,
}

#[derive(Default)]
pub struct Usage {
    pub memory_bytes: Option<u64>,
    pub cpu_usec: Option<u64>,
    pub processes: Vec<i32>,
}

/// Makes the group and sets its limits; for one that is there, sets them anew.
pub fn create(name: &str, limits: Limits) -> Outcome<Group> {
    check_name(name)?;
    let hierarchies = Hierarchies::find()?;
    let mut group = Group {
        folders: make_folders(&hierarchies, name)?,
        enforced: vec![],
        not_enforced: vec![],
    };
    for controller in LIMITING {
        let Some(files) = limit_files(controller, limits, hierarchies.v1.contains_key(&controller))? else {
            continue;
        };
        match hierarchies.folder(controller, name) {
            Some(folder) => {
                for (file, value) in files {
                    let file = folder.join(file);
                    fs::write(&file, value).during(|| format!("writing {}", file.display()))?;
                }
                group.enforced.push(controller);
            }
            None => group.not_enforced.push(controller),
        }
    }
    Ok(group)
}

fn make_folders(hierarchies: &Hierarchies, name: &str) -> Outcome<Vec<PathBuf>> {
    let all = || -> Outcome<Vec<PathBuf>> {
        hierarchies.prepare()?;
        let folders = hierarchies.roots().into_iter().map(|root| {
            let folder = root.join(PARENT).join(name);
            make(&folder).during(|| format!("making {}", folder.display()))?;
            Ok::<_, Failure>(folder)
        });
        folders.collect()
    };
    for _ in 0..MAKE_AGAIN {
        match all() {
            Err(failure) if failure.code() == "not_found" => {} // the parent went with the last other group
            outcome => return outcome,
        }
    }
    all()
}

/// The files that set a controller's limit, or nothing where none is wanted.
fn limit_files(controller: Controller, limits: Limits, v1: bool) -> Outcome<Option<Vec<(&'static str, String)>>> {
    Ok(match controller {
        Controller::Memory => limits.memory_bytes.map(|bytes| {
            let file = if v1 { "memory.limit_in_bytes" } else { "memory.max" };
            vec![(file, bytes.to_string())]
        }),
        Controller::Cpu => match limits.cpus {
            None => None,
            Some(cpus) if cpus.is_finite() && cpus >= 0.01 => {
                let quota = (cpus * CPU_PERIOD_USEC as f64).round() as u64;
                Some(if v1 {
                    vec![
                        ("cpu.cfs_period_us", CPU_PERIOD_USEC.to_string()),
                        ("cpu.cfs_quota_us", quota.to_string()),
                    ]
                } else {
                    vec![("cpu.max", format!("{quota} {CPU_PERIOD_USEC}"))]
                })
            }
            Some(cpus) => return Err(Failure::invalid("cpus", format!("{cpus} is less than 0.01"))),
        },
        Controller::Pids => limits.pids.map(|pids| vec![("pids.max", pids.to_string())]),
        Controller::CpuAccounting => None,
    })
}

/// Removes the group; an absent one is fine. `kill` ends whoever is still in it, otherwise that is `busy`.
pub fn remove(name: &str, kill: bool) -> Outcome<()> {
    check_name(name)?;
    let hierarchies = Hierarchies::find()?;
    if kill {
        kill_all(&hierarchies, name)?;
    }
    for root in hierarchies.roots() {
        let folder = root.join(PARENT).join(name);
        remove_folder(&folder).during(|| format!("removing {}", folder.display()))?;
    }
    hierarchies.tidy();
    Ok(())
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    let give_up = Instant::now() + REMOVE_FOR;
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY)
                    && processes(folder)?.is_empty()
                    && Instant::now() < give_up =>
            {
                thread::sleep(REMOVE_AGAIN_AFTER);
            }
            outcome => return outcome,
        }
    }
}

fn kill_all(hierarchies: &Hierarchies, name: &str) -> Outcome<()> {
    if let Some(kill) = hierarchies
        .unified(name)
        .map(|folder| folder.join("cgroup.kill"))
        .filter(|file| file.exists())
    {
        fs::write(&kill, "1").during(|| format!("writing {}", kill.display()))?;
    }
    let give_up = Instant::now() + REMOVE_FOR;
    for root in hierarchies.roots() {
        let folder = root.join(PARENT).join(name);
        // Without cgroup.kill (version 1) one after the other, until no fork has slipped through.
        loop {
            let left = processes(&folder).during(|| format!("reading {}", folder.display()))?;
            if left.is_empty() || Instant::now() > give_up {
                break;
            }
            for pid in left.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
                let _ended_by_itself = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            thread::sleep(REMOVE_AGAIN_AFTER);
        }
    }
    Ok(())
}

/// `None`: there is no such group.
pub fn usage(name: &str) -> Outcome<Option<Usage>> {
    check_name(name)?;
    let hierarchies = Hierarchies::find()?;
    let roots = hierarchies.roots();
    let Some(folder) = roots
        .iter()
        .map(|root| root.join(PARENT).join(name))
        .find(|folder| folder.is_dir())
    else {
        return Ok(None);
    };
    let memory = hierarchies.folder(Controller::Memory, name).and_then(|folder| {
        number(&folder.join("memory.usage_in_bytes")).or_else(|| number(&folder.join("memory.current")))
    });
    let accounted = hierarchies.v1.get(&Controller::CpuAccounting).and_then(|root| {
        number(&root.join(PARENT).join(name).join("cpuacct.usage")).map(|nanoseconds| nanoseconds / 1000)
    });
    let cpu = accounted.or_else(|| {
        let stat = fs::read_to_string(hierarchies.unified(name)?.join("cpu.stat")).ok()?;
        stat.lines()
            .find_map(|line| line.strip_prefix("usage_usec "))?
            .parse()
            .ok()
    });
    let processes = processes(&folder).during(|| format!("reading {}", folder.display()))?;
    Ok(Some(Usage {
        memory_bytes: memory,
        cpu_usec: cpu,
        processes,
    }))
}

/// The names of all groups that exist on any hierarchy.
pub fn list() -> Outcome<Vec<String>> {
    let mut names = vec![];
    for root in Hierarchies::find()?.roots() {
        let parent = root.join(PARENT);
        match fs::read_dir(&parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries.during(|| format!("listing {}", parent.display()))?.flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        names.extend(entry.file_name().into_string().ok());
                    }
                }
            }
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn processes(folder: &Path) -> io::Result<Vec<i32>> {
    match fs::read_to_string(folder.join("cgroup.procs")) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(vec![]),
        text => Ok(text?.lines().filter_map(|line| line.parse().ok()).collect()),
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A name is one folder below ours: no path, nothing hidden.
fn check_name(name: &str) -> Outcome<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(Failure::invalid("name", format!("{name:?} is not a plain name")));
    }
    Ok(())
}
