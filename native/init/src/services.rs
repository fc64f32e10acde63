//! Services of the image: each executable file in `/etc/wrenn/services.d` runs for as long as the guest does.
//!
//! It is started as root (who it becomes is its own affair: `setpriv`), in a session and a control group of its own,
//! with its output in `/var/log/wrenn/<name>.log`. When it ends, the rest of its group is ended as well and it is started
//! again. All groups are in one, `wrenn.services`, which envd freezes together with what it started itself.

use crate::report::{self, Doing, Failure};
use rustix::process::Pid;
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const FOLDER: &str = "/etc/wrenn/services.d";
const LOGS: &str = "/var/log/wrenn";
/// envd knows this name.
const GROUP: &str = "/sys/fs/cgroup/wrenn.services";
/// Before a service that has just been started is started again; doubled each time until it lives for a minute.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONG_LIFE: Duration = Duration::from_secs(60);

pub struct Services(Vec<Service>);

struct Service {
    name: String,
    program: PathBuf,
    pause: Duration,
    state: State,
}

enum State {
    Runs { pid: Pid, since: Instant },
    Waits { until: Instant },
}

impl Services {
    /// Starts every service of the image. One that fails is reported and tried again later.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let mut services = Self(programs(Path::new(FOLDER)).into_iter().map(Service::new).collect());
        services.start_due(environment);
        services
    }

    /// Starts those whose pause is over.
    pub fn start_due(&mut self, environment: &[(&str, &str)]) {
        let now = Instant::now();
        for service in &mut self.0 {
            if service.until().is_some_and(|until| until <= now) {
                service.start(environment);
            }
        }
    }

    /// Time until the next start; none while all of them run.
    pub fn next_start(&self) -> Option<Duration> {
        let first = self.0.iter().filter_map(Service::until).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// A child has ended, as `how` says. Those that are not a service's own process are none of its business.
    pub fn ended(&mut self, ended: Pid, how: &str) {
        for service in &mut self.0 {
            if let State::Runs { pid, since } = service.state
                && pid == ended
            {
                report::line(format_args!("service {} ended ({how})", service.name));
                // What it has started would meet its own successor.
                let _ = fs::write(service.group().join("cgroup.kill"), "1");
                service.pause_after(since.elapsed());
            }
        }
    }
}

impl Service {
    fn new(program: PathBuf) -> Self {
        Self {
            name: program.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            program,
            pause: FIRST_PAUSE,
            state: State::Waits { until: Instant::now() },
        }
    }

    fn group(&self) -> PathBuf {
        Path::new(GROUP).join(&self.name)
    }

    fn until(&self) -> Option<Instant> {
        match self.state {
            State::Runs { .. } => None,
            State::Waits { until } => Some(until),
        }
    }

    fn start(&mut self, environment: &[(&str, &str)]) {
        match self.spawn(environment) {
            Ok(pid) => {
                let since = Instant::now();
                self.state = State::Runs { pid, since };
            }
            Err(failure) => {
                report::error(&failure);
                self.pause_after(Duration::ZERO);
            }
        }
    }

    fn spawn(&self, environment: &[(&str, &str)]) -> Result<Pid, Failure> {
        let what = format!("service {}", self.name);
        fs::create_dir_all(LOGS).doing(&what)?;
        let log = File::create(Path::new(LOGS).join(&self.name).with_extension("log")).doing(&what)?;
        let group = self.group();
        fs::create_dir_all(&group).doing(&what)?;
        let members = File::options()
            .write(true)
            .open(group.join("cgroup.procs"))
            .doing(&what)?;
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(environment.iter().copied())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().doing(&what)?)
            .stderr(log);
        // SAFETY: between fork and exec only system calls are made: no allocation, no lock.
        unsafe {
            command.pre_exec(move || {
                (&members).write_all(b"0")?; // "0" is the writer itself
                rustix::process::setsid().map(drop).map_err(io::Error::from)
            });
        }
        Ok(Pid::from_child(&command.spawn().doing(&what)?))
    }

    fn pause_after(&mut self, life: Duration) {
        if life >= LONG_LIFE {
            self.pause = FIRST_PAUSE;
        }
        let until = Instant::now() + self.pause;
        self.state = State::Waits { until };
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }
}

/// Executable files by name; none where there is no such folder.
fn programs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| is_program(path))
        .collect();
    found.sort();
    found
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|info| info.is_file() && info.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vm5_executable_files_are_services_and_nothing_else_is() {
        let folder = std::env::temp_dir().join(format!("wrenn-services-{}", std::process::id()));
        fs::create_dir_all(folder.join("folder")).unwrap();
        for (name, mode) in [("b", 0o755), ("a", 0o700), ("README", 0o644)] {
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let found = programs(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, [folder.join("a"), folder.join("b")]);
        assert!(programs(&folder).is_empty());
    }

    #[test]
    fn vm5_a_service_that_ends_at_once_is_started_ever_more_seldom() {
        let mut service = Service::new("/bin/false".into());
        let mut pauses = vec![];
        for life in [0, 0, 0, 0, 0, 0, 60, 0] {
            service.pause_after(Duration::from_secs(life));
            pauses.push(service.pause.as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 2, 4]);
        assert!(service.until().is_some());
    }

    #[test]
    fn vm5_only_the_end_of_its_own_process_ends_a_service() {
        let mut service = Service::new("/bin/true".into());
        let pid = |number| Pid::from_raw(number).unwrap();
        let since = Instant::now();
        service.state = State::Runs { pid: pid(7), since };
        let mut services = Services(vec![service]);
        services.ended(pid(8), "exit code 0");
        assert_eq!(services.next_start(), None);
        services.ended(pid(7), "exit code 0");
        assert!(services.next_start().is_some_and(|pause| pause <= FIRST_PAUSE));
    }
}
