//! The environment of a new process.

use crate::guest::Settings;
use crate::users::User;
use std::collections::{BTreeMap, HashMap};

/// A request's variables, as the generated message has them.
pub type Requested = HashMap<String, String, buffa::foldhash::fast::RandomState>;

/// For guests whose init started envd without a PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Our PATH, then who the user is, then what `/init` set, then what the request sets.
pub fn build(settings: &Settings, user: &User, requested: &Requested) -> BTreeMap<String, String> {
    let path = std::env::var("PATH")
        .ok()
        .filter(|path| !path.is_empty())
        .unwrap_or(DEFAULT_PATH.into());
    let home = user.home.to_string_lossy().into_owned();
    let own = [
        ("PATH", path),
        ("HOME", home),
        ("USER", user.name.clone()),
        ("LOGNAME", user.name.clone()),
    ];
    let mut envs: BTreeMap<String, String> = own.map(|(name, value)| (name.to_owned(), value)).into();
    envs.extend(settings.envs.iter().map(|(name, value)| (name.clone(), value.clone())));
    envs.extend(requested.iter().map(|(name, value)| (name.clone(), value.clone())));
    envs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_wins_over_init_and_init_over_us() {
        let user = User {
            name: "u".into(),
            uid: 1,
            gid: 1,
            home: "/h".into(),
            groups: vec![],
        };
        let mut settings = Settings::default();
        settings
            .envs
            .extend([("HOME", "/init"), ("A", "init"), ("B", "init")].map(|(k, v)| (k.into(), v.into())));
        let envs = build(
            &settings,
            &user,
            &Requested::from_iter([("A".into(), "request".into())]),
        );
        let of = |name: &str| envs[name].as_str();
        assert_eq!(
            (of("USER"), of("HOME"), of("A"), of("B")),
            ("u", "/init", "request", "init")
        );
        assert!(!of("PATH").is_empty());
    }
}
