//! Names of fields. They mean the same in any case, and programs in guests look for the one that they know: what a client
//! has written is passed on as it is.

use httparse::Header;

/// As it came; it has no `==`, so that nobody compares it as text.
#[derive(Clone, Copy, Debug)]
pub struct Name<'b>(&'b str);

impl<'b> Name<'b> {
    pub fn is(self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }

    pub fn is_one_of(self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    pub fn begins(self, prefix: &str) -> bool {
        let head = self.0.as_bytes().get(..prefix.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
    }

    pub fn as_written(self) -> &'b str {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Field<'b> {
    pub name: Name<'b>,
    pub value: &'b [u8],
}

impl<'b> From<&Header<'b>> for Field<'b> {
    fn from(header: &Header<'b>) -> Self {
        Self {
            name: Name(header.name),
            value: header.value,
        }
    }
}
