//! Which control-group hierarchies there are. A machine may have version 1 (one per controller), version 2 (one for
//! all), or both at once with the controllers on version 1.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::failure::{During, Outcome};

/// All groups of ours are below this one.
pub const PARENT: &str = "wrenn";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    Memory,
    Cpu,
    Pids,
    /// Counts CPU time on version 1; part of `Cpu` on version 2.
    CpuAccounting,
}

/// The controllers whose limits a caller can ask for.
pub const LIMITING: [Controller; 3] = [Controller::Memory, Controller::Cpu, Controller::Pids];

impl Controller {
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
            Self::CpuAccounting => "cpuacct",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Memory, Self::Cpu, Self::Pids, Self::CpuAccounting]
            .into_iter()
            .find(|controller| controller.name() == name)
    }
}

#[derive(Debug)]
pub struct Hierarchies {
    /// Mount points by controller.
    pub v1: BTreeMap<Controller, PathBuf>,
    pub v2: Option<PathBuf>,
    /// The controllers that the second version's root can hand down.
    pub v2_controllers: Vec<Controller>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
    Hybrid,
    None,
}

impl Hierarchies {
    pub fn find() -> Outcome<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").during(|| "reading the mounts".to_owned())?;
        let mut found = Self {
            v1: BTreeMap::new(),
            v2: None,
            v2_controllers: vec![],
        };
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, mount_point, kind, options, ..] = fields[..] else {
                continue;
            };
            let writable = options.split(',').any(|option| option == "rw");
            match kind {
                "cgroup2" if writable => found.v2 = Some(mount_point.into()),
                "cgroup" if writable => {
                    for controller in options.split(',').filter_map(Controller::named) {
                        found.v1.insert(controller, mount_point.into());
                    }
                }
                _ => {}
            }
        }
        if let Some(root) = &found.v2 {
            let names = fs::read_to_string(root.join("cgroup.controllers"))
                .during(|| "reading cgroup.controllers".to_owned())?;
            found.v2_controllers = names.split_whitespace().filter_map(Controller::named).collect();
        }
        Ok(found)
    }

    pub fn version(&self) -> Version {
        match (self.v1.is_empty(), self.v2.is_some()) {
            (false, true) => Version::Hybrid,
            (false, false) => Version::V1,
            (true, true) => Version::V2,
            (true, false) => Version::None,
        }
    }

    /// Where a controller's group of this name is, on either version.
    pub fn folder(&self, controller: Controller, name: &str) -> Option<PathBuf> {
        let root = self
            .v1
            .get(&controller)
            .or_else(|| self.v2.as_ref().filter(|_| self.v2_controllers.contains(&controller)));
        root.map(|root| root.join(PARENT).join(name))
    }

    /// The second version's group of this name: it has `cgroup.kill` and tells when it is empty, with controllers or not.
    pub fn unified(&self, name: &str) -> Option<PathBuf> {
        self.v2.as_ref().map(|root| root.join(PARENT).join(name))
    }

    /// Each distinct hierarchy once.
    pub fn roots(&self) -> Vec<PathBuf> {
        let mut roots: Vec<PathBuf> = self.v1.values().chain(&self.v2).cloned().collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// Makes the parent group everywhere, and lets version 2 hand its controllers down to our groups.
    pub fn prepare(&self) -> Outcome<()> {
        for root in self.roots() {
            let parent = root.join(PARENT);
            make(&parent).during(|| format!("making {}", parent.display()))?;
        }
        if let Some(root) = &self.v2 {
            for controller in &self.v2_controllers {
                for folder in [root.clone(), root.join(PARENT)] {
                    let file = folder.join("cgroup.subtree_control");
                    fs::write(&file, format!("+{}", controller.name()))
                        .during(|| format!("writing {}", file.display()))?;
                }
            }
        }
        Ok(())
    }

    /// Whether groups with this controller can be made, found out by making one.
    pub fn writable(&self, controller: Controller) -> bool {
        let name = format!("probe-{}-{}", std::process::id(), controller.name());
        let Some(folder) = self.folder(controller, &name) else {
            return false;
        };
        let made = self.prepare().is_ok() && make(&folder).is_ok() && fs::remove_dir(&folder).is_ok();
        self.tidy();
        made
    }

    /// Takes the parent group away wherever it is empty.
    pub fn tidy(&self) {
        for root in self.roots() {
            // Refused while there are groups in it, which is what we want.
            let _in_use = fs::remove_dir(root.join(PARENT));
        }
    }
}

/// Makes a group; one that is there is fine.
pub fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}
