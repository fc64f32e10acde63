//! Metadata of files: `X-Metadata-<key>` headers, kept as extended attributes `user.e2b.<key>`.

use crate::fault::Fault;
use http::HeaderMap;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::Path;

const HEADER_PREFIX: &str = "x-metadata-";
const XATTR_PREFIX: &str = "user.e2b.";
/// The kernel allows names of 255 bytes, the prefix included.
const MAX_KEY: usize = 255 - XATTR_PREFIX.len();
/// Prefixed keys and values of a file together; ext4 keeps the attributes of a file in one block.
const MAX_TOTAL: usize = 4096;

/// Sorted, keys in lower case.
#[derive(Debug, Default, PartialEq)]
pub struct Metadata(pub BTreeMap<String, String>);

impl Metadata {
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Fault> {
        let mut pairs = BTreeMap::new();
        for (name, value) in headers {
            let Some(key) = name.as_str().strip_prefix(HEADER_PREFIX) else {
                continue;
            };
            if key.is_empty() || key.len() > MAX_KEY {
                return Err(Fault::invalid(format!("a metadata name has 1 to {MAX_KEY} characters")));
            }
            let value = value.to_str().ok().filter(|value| !value.contains('\t'));
            let value = value.ok_or_else(|| Fault::invalid(format!("metadata '{key}' is not printable ASCII")))?;
            // Of a repeated header the first one counts.
            pairs.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        let size = |(key, value): (&String, &String)| XATTR_PREFIX.len() + key.len() + value.len();
        if pairs.iter().map(size).sum::<usize>() > MAX_TOTAL {
            return Err(Fault::invalid(format!("metadata is larger than {MAX_TOTAL} bytes")));
        }
        Ok(Self(pairs))
    }

    /// Attributes of the file itself, never of what a symbolic link leads to. No attributes where there is no support.
    pub fn read(path: &Path) -> Self {
        let Some(names) = read_growing(|buffer| rustix::fs::llistxattr(path, buffer)) else {
            return Self::default();
        };
        Self::collect(&names, |name| {
            read_growing(|buffer| rustix::fs::lgetxattr(path, name, buffer))
        })
    }

    /// Replaces the whole set of an open file.
    pub fn replace(&self, file: impl AsFd) -> Result<(), Fault> {
        let fail = |error: Errno| Fault::io("cannot store metadata", &error.into());
        if let Some(names) = read_growing(|buffer| rustix::fs::flistxattr(&file, buffer)) {
            for name in ours(&names)
                .filter(|(_, key)| !self.0.contains_key(*key))
                .map(|(name, _)| name)
            {
                rustix::fs::fremovexattr(&file, name).map_err(fail)?;
            }
        }
        for (key, value) in &self.0 {
            let name = format!("{XATTR_PREFIX}{key}");
            rustix::fs::fsetxattr(&file, name, value.as_bytes(), XattrFlags::empty()).map_err(fail)?;
        }
        Ok(())
    }

    fn collect(names: &[u8], value: impl Fn(&CStr) -> Option<Vec<u8>>) -> Self {
        let pairs = ours(names).filter_map(|(name, key)| Some((key.to_owned(), String::from_utf8(value(name)?).ok()?)));
        Self(pairs.collect())
    }
}

/// Our attributes in a list of NUL-terminated names: full name and key.
fn ours(names: &[u8]) -> impl Iterator<Item = (&CStr, &str)> {
    names.split_inclusive(|byte| *byte == 0).filter_map(|name| {
        let name = CStr::from_bytes_with_nul(name).ok()?;
        Some((name, name.to_str().ok()?.strip_prefix(XATTR_PREFIX)?))
    })
}

/// Calls with a small buffer first: hardly any file has attributes, and those are short.
fn read_growing(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Some(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 16 => buffer.resize(1 << 16, 0), // the kernel's limit
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_its_headers_only_and_not_too_much() {
        let mut headers = HeaderMap::new();
        headers.insert("x-metadata-Author", "me".parse().unwrap());
        headers.insert("content-type", "text/plain".parse().unwrap());
        let metadata = Metadata::from_headers(&headers).unwrap();
        assert_eq!(metadata.0, BTreeMap::from([("author".to_owned(), "me".to_owned())]));
        headers.insert("x-metadata-big", "x".repeat(MAX_TOTAL).parse().unwrap());
        assert!(Metadata::from_headers(&headers).is_err());
    }
}
