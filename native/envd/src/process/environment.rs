//! The environment of a new process.

use crate::guest::Settings;
use crate::users::User;
use std::collections::{BTreeMap, HashMap};

/// A request's variables, as the generated message has them.
pub type Requested = HashMap<String, String, buffa::foldhash::fast::RandomState>;

/// For guests whose init started envd without a PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Without a locale programs take text for ASCII, Python's and Git's output among them.
const DEFAULT_LANG: &str = "C.UTF-8";

/// Our PATH and LANG, then who the user is, then what `/init` set, then what the request sets.
pub fn build(settings: &Settings, user: &User, requested: &Requested) -> BTreeMap<String, String> {
    let home = user.home.to_string_lossy().into_owned();
    let own = [
        ("PATH", own_or("PATH", DEFAULT_PATH)),
        ("LANG", own_or("LANG", DEFAULT_LANG)),
        ("HOME", home),
        ("USER", user.name.clone()),
        ("LOGNAME", user.name.clone()),
    ];
    let mut envs: BTreeMap<String, String> = own.map(|(name, value)| (name.to_owned(), value)).into();
    envs.extend(settings.envs.iter().map(|(name, value)| (name.clone(), value.clone())));
    envs.extend(requested.iter().map(|(name, value)| (name.clone(), value.clone())));
    envs
}

fn own_or(name: &str, default: &str) -> String {
    let own = std::env::var(name).ok();
    own.filter(|value| !value.is_empty()).unwrap_or(default.into())
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
        assert!(!of("LANG").is_empty());
    }

    #[test]
    fn vm8_text_is_utf_8_unless_the_guest_says_otherwise() {
        let expected = std::env::var("LANG").unwrap_or_default();
        let expected = if expected.is_empty() { DEFAULT_LANG } else { &expected };
        assert_eq!(own_or("LANG", DEFAULT_LANG), expected);
        assert_eq!(own_or("WRENN_NO_SUCH_VARIABLE", DEFAULT_LANG), "C.UTF-8");
    }
}
