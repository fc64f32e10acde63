//! State that requests share.

use crate::auth;
use crate::fault::Fault;
use crate::filesystem::watchers::Watchers;
use crate::freezer::Freezer;
use crate::http::metrics::CpuSample;
use crate::paths;
use crate::process::registry::Registry;
use crate::users::{self, User};
use http::HeaderMap;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, RwLock};

/// What `/init` and a new identity set.
#[derive(Default)]
pub struct Settings {
    pub access_token: Option<String>,
    /// Environment of every process, beneath what its request sets.
    pub envs: BTreeMap<String, String>,
    pub default_user: String,
    pub default_workdir: Option<String>,
}

pub struct Guest {
    pub settings: RwLock<Settings>,
    pub processes: Registry,
    pub watchers: Watchers,
    pub cpu: Mutex<CpuSample>,
    pub freezer: Freezer,
    /// Our own port, where the whole machine is ours.
    pub sole_at: Option<u16>,
}

impl Guest {
    pub fn new(default_user: String, sole_at: Option<u16>) -> Self {
        Self {
            settings: RwLock::new(Settings {
                default_user,
                ..Settings::default()
            }),
            processes: Registry::new(),
            watchers: Watchers::default(),
            cpu: Mutex::default(),
            freezer: Freezer::new(),
            sole_at,
        }
    }

    pub fn access_token(&self) -> Option<String> {
        self.settings.read().unwrap().access_token.clone()
    }

    /// True when no token is set, or when this is it.
    pub fn token_matches(&self, given: Option<&str>) -> bool {
        match (self.settings.read().unwrap().access_token.as_deref(), given) {
            (None, _) => true,
            (Some(expected), Some(given)) => auth::same_secret(expected, given),
            (Some(_), None) => false,
        }
    }

    /// The user named, or the default user.
    pub fn user(&self, name: Option<&str>) -> Result<User, Fault> {
        match name.filter(|name| !name.is_empty()) {
            Some(name) => users::find(name),
            None => users::find(&self.settings.read().unwrap().default_user),
        }
    }

    /// The user that a Connect request runs as.
    pub fn rpc_user(&self, headers: &HeaderMap) -> Result<User, Fault> {
        self.user(auth::user_name(headers).as_deref())
    }

    pub fn resolve(&self, path: &str, user: &User) -> Result<PathBuf, Fault> {
        paths::resolve(path, user, self.settings.read().unwrap().default_workdir.as_deref())
    }
}
