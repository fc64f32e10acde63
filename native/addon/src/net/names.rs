//! Domain names in an egress policy (NET4): which ones an entry names.

/// `example.com` names itself, `*.example.com` all names below it and not itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    /// Lower case, without the dot at the end.
    name: String,
    below: bool,
}

/// A name has at most 253 characters, its labels 63 each.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

impl NamePattern {
    /// Nothing for what is no name of at least two labels. Letters of other scripts come as `xn--…`.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let whole = lower.strip_suffix('.').unwrap_or(&lower);
        let (name, below) = match whole.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (whole, false),
        };
        let labels: Vec<&str> = name.split('.').collect();
        let well_formed = name.len() <= MAX_NAME && labels.len() >= 2 && labels.iter().all(|label| is_label(label));
        // The last label of an address is a number, of a name it never is.
        let is_name = labels
            .last()
            .is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()));
        (well_formed && is_name).then(|| Self {
            name: name.to_owned(),
            below,
        })
    }

    /// `name` in lower case, without the dot at the end.
    pub fn names(&self, name: &str) -> bool {
        if !self.below {
            return name == self.name;
        }
        name.strip_suffix(&self.name).is_some_and(|front| front.ends_with('.'))
    }
}

/// Services are asked for with underscores (`_sip._tcp.example.com`).
fn is_label(label: &str) -> bool {
    let inner = label
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (1..=MAX_LABEL).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net4_a_pattern_names_itself_or_what_is_below_it() {
        let names = |pattern: &str, name: &str| NamePattern::parse(pattern).unwrap().names(name);
        assert!(names("Example.com", "example.com"));
        assert!(names("example.com.", "example.com"));
        assert!(!names("example.com", "www.example.com"));
        assert!(!names("example.com", "badexample.com"));
        assert!(names("*.example.com", "www.example.com"));
        assert!(names("*.example.com", "a.b.example.com"));
        assert!(!names("*.example.com", "example.com"));
        assert!(!names("*.example.com", "badexample.com"));
        assert!(!names("*.example.com", "example.com.evil.org"));
    }

    #[test]
    fn net4_what_is_no_name_is_refused() {
        let long = format!("{}.com", "a".repeat(64));
        for text in [
            "",
            ".",
            "*",
            "*.com",
            "com",
            "a..com",
            "-a.com",
            "a-.com",
            "a b.com",
            "a.*.com",
            "10.0.0.1",
            "a/b.com",
            "bücher.de",
            &long,
        ] {
            assert_eq!(NamePattern::parse(text), None, "{text:?}");
        }
        assert!(NamePattern::parse("xn--bcher-kva.de").is_some());
    }
}
