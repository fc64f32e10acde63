//! Heads of requests, read strictly: what two servers could read differently is refused (request smuggling).

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

use super::{
    conn::{Conn, Stream},
    framing::{Framing, Trailers},
    name::{Field, Name},
};

/// Of one head.
pub const MAX_HEAD_BYTES: usize = 16_384;
pub const MAX_FIELDS: usize = 100;

pub type Fields<'b> = [MaybeUninit<Header<'b>>; MAX_FIELDS];

pub const fn no_fields<'b>() -> Fields<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    Malformed(&'static str),
    /// Not HTTP/1.1, or a target that is no path.
    Version,
    TooLarge,
}

/// Length of the head that `bytes` begin with, once it is whole.
pub fn find(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut line = 0;
    while let Some(end) = memchr::memchr(b'\n', &bytes[line..]).map(|at| line + at) {
        if end == line || bytes[end - 1] != b'\r' {
            return Err(if line == 0 {
                HeadError::Version
            } else {
                HeadError::Malformed("A line ends without a carriage return.")
            });
        }
        if end >= MAX_HEAD_BYTES {
            return Err(HeadError::TooLarge);
        }
        if end == line + 1 {
            return Ok(Some(end + 1));
        }
        line = end + 1;
    }
    if bytes.len() >= MAX_HEAD_BYTES {
        return Err(HeadError::TooLarge);
    }
    Ok(None)
}

/// Waits for a head and returns its length. `None`: the client has gone.
pub async fn read<S: Stream>(client: &mut Conn<S>) -> Result<Option<usize>, HeadError> {
    loop {
        while client.inbox().starts_with(b"\r\n") {
            client.take(2); // some clients send an empty line behind a body
        }
        if let Some(length) = find(client.inbox())? {
            return Ok(Some(length));
        }
        if !matches!(client.fill().await, Ok(1..)) {
            return Ok(None);
        }
    }
}

/// The head of a request.
pub struct Request<'h, 'b> {
    pub method: &'b str,
    /// Path and query.
    pub target: &'b str,
    headers: &'h [Header<'b>],
    pub body: Framing,
    /// The client may send another request after this one.
    pub keep_alive: bool,
    pub expects_continue: bool,
    /// The protocol that the client wants to change to.
    pub upgrade: Option<&'b str>,
    /// `Connection` names fields that end at this hop.
    names_fields: bool,
}

impl<'h, 'b> Request<'h, 'b> {
    /// `head` is whole (`find`).
    pub fn parse(head: &'b [u8], storage: &'h mut Fields<'b>) -> Result<Self, HeadError> {
        let mut parsed = httparse::Request::new(&mut []);
        match ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, head, storage) {
            Ok(Status::Complete(length)) if length == head.len() => {}
            Ok(_) => return Err(HeadError::Malformed("The request is malformed.")),
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
            Err(httparse::Error::Version) => return Err(HeadError::Version),
            Err(_) => return Err(HeadError::Malformed("The request is malformed.")),
        }
        let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
        if parsed.version != Some(1) || !target.starts_with('/') {
            return Err(HeadError::Version);
        }
        let mut request = Self {
            method,
            target,
            headers: parsed.headers,
            body: Framing::NONE,
            keep_alive: true,
            expects_continue: false,
            upgrade: None,
            names_fields: false,
        };
        request.read_own_fields()?;
        Ok(request)
    }

    fn read_own_fields(&mut self) -> Result<(), HeadError> {
        let (mut host, mut length, mut coding) = (None, None, None);
        let (mut upgrade, mut wants_upgrade) = (None, false);
        for header in self.headers {
            let Field { name, value } = header.into();
            if name.is("host") {
                once(&mut host, value, "The header host came more than once.")?;
            } else if name.is("content-length") {
                once(&mut length, value, "The header content-length came more than once.")?;
            } else if name.is("transfer-encoding") {
                once(&mut coding, value, "The header transfer-encoding came more than once.")?;
            } else if name.is("expect") {
                self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            } else if name.is("upgrade") {
                upgrade = std::str::from_utf8(value).ok();
            } else if name.is("connection") {
                for option in options(value) {
                    if option.eq_ignore_ascii_case(b"close") {
                        self.keep_alive = false;
                    } else if option.eq_ignore_ascii_case(b"upgrade") {
                        wants_upgrade = true;
                    } else if !option.eq_ignore_ascii_case(b"keep-alive") {
                        self.names_fields = true;
                    }
                }
            }
        }
        if host.is_none() {
            return Err(HeadError::Malformed("The header host is missing."));
        }
        self.upgrade = upgrade.filter(|_| wants_upgrade);
        self.body = match (length, coding) {
            (None, None) => Framing::NONE,
            (Some(_), Some(_)) => {
                return Err(HeadError::Malformed(
                    "Send Content-Length or Transfer-Encoding, not both.",
                ));
            }
            (Some(length), None) => {
                Framing::Length(number(length).ok_or(HeadError::Malformed("Content-Length must be a number."))?)
            }
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Framing::chunked(Trailers::Refuse),
            (None, Some(_)) => {
                return Err(HeadError::Malformed(
                    "The only transfer coding that is taken is chunked.",
                ));
            }
        };
        Ok(())
    }

    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> {
        self.headers.iter().map(Field::from)
    }

    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        self.fields().find(|field| field.name.is(name)).map(|field| field.value)
    }

    pub fn text(&self, name: &str) -> Option<&'b str> {
        std::str::from_utf8(self.field(name)?).ok()
    }

    /// What is no business of the next hop (RFC 9110, 7.6.1), or is written anew.
    pub fn ends_here(&self, name: Name<'_>) -> bool {
        name.is_one_of(&HOP) || name.is_one_of(&["content-length", "expect"]) || (self.names_fields && self.names(name))
    }

    fn names(&self, name: Name<'_>) -> bool {
        let lines = self.fields().filter(|field| field.name.is("connection"));
        lines
            .flat_map(|line| options(line.value))
            .any(|option| option.eq_ignore_ascii_case(name.as_written().as_bytes()))
    }

    /// How the body is framed for the next hop, the upgrade, and the end of the head.
    pub fn put_end(&self, out: &mut Vec<u8>) {
        put_framing(out, &self.body, self.field("content-length").is_some());
        if let Some(protocol) = self.upgrade {
            put_field(out, "Upgrade", protocol.as_bytes());
            put_field(out, "Connection", b"upgrade");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Repeating it changes nothing (RFC 9110, 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }
}

/// Fields between two neighbours.
pub(super) const HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// `zero`: a length of zero is said too.
pub(super) fn put_framing(out: &mut Vec<u8>, body: &Framing, zero: bool) {
    match body {
        Framing::Length(0) if !zero => {}
        Framing::Length(length) => put_number(out, "Content-Length", *length),
        Framing::Chunked(_) | Framing::UntilClose => put_field(out, "Transfer-Encoding", b"chunked"),
    }
}

pub fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub fn put_number(out: &mut Vec<u8>, name: &str, value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    put_field(out, name, &digits[at..]);
}

pub(super) fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
}

pub(super) fn number(value: &[u8]) -> Option<u64> {
    let digits = (1..=15).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn once<'b>(place: &mut Option<&'b [u8]>, value: &'b [u8], fault: &'static str) -> Result<(), HeadError> {
    if place.replace(value).is_some() {
        return Err(HeadError::Malformed(fault));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, Framing), HeadError> {
        let bytes = text.as_bytes();
        let length = find(bytes)?.ok_or(HeadError::Malformed("partial"))?;
        let mut fields = no_fields();
        let request = Request::parse(&bytes[..length], &mut fields)?;
        let mut out = Vec::new();
        for field in request.fields().filter(|field| !request.ends_here(field.name)) {
            put_field(&mut out, field.name.as_written(), field.value);
        }
        request.put_end(&mut out);
        Ok((String::from_utf8_lossy(&out).into_owned(), request.body))
    }

    #[test]
    fn px2_a_head_is_written_anew_without_what_ends_at_this_hop() {
        let (head, body) = read(
            "POST /a HTTP/1.1\r\nhOST: a\r\nConnection: keep-alive, X-Hop, close\r\nx-hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
             proxy-AUTHORIZATION: x\r\nexpect: 100-continue\r\nX-KEPT: Yes \r\nContent-length: 07\r\n\r\nrest",
        )
        .unwrap();
        assert_eq!(head, "hOST: a\r\nX-KEPT: Yes\r\nContent-Length: 7\r\n\r\n");
        assert_eq!(body, Framing::Length(7));
        let (head, _) = read("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").unwrap();
        assert_eq!(head, "Host: a\r\n\r\n", "an upgrade needs both fields");
        let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        assert_eq!(
            read(upgrade).unwrap().0,
            "Host: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        );
    }

    #[test]
    fn px2_what_two_servers_could_read_differently_is_refused() {
        let malformed = |text: &str| matches!(read(text), Err(HeadError::Malformed(_)));
        for fields in [
            "Content-Length: 1\r\ncontent-LENGTH: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 1\r\ntransfer-encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "HOST: b\r\n",
            "X-A: 1\r\n 2\r\n",
            "X-A: 1\0\r\n",
            "X-A: 1\rX-B: 2\r\n",
            "X-A: 1\nX-B: 2\r\n",
            ": 1\r\n",
            "X A: 1\r\n",
        ] {
            assert!(
                malformed(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")),
                "{fields:?}"
            );
        }
        assert!(malformed("GET / HTTP/1.1\r\n\r\n"), "no host");
        assert!(malformed("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), "two spaces");
        for text in [
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(read(text), Err(HeadError::Version), "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: 1\r\n".repeat(MAX_FIELDS));
        assert_eq!(read(&many), Err(HeadError::TooLarge));
        let long = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n",
            "a".repeat(MAX_HEAD_BYTES)
        );
        assert_eq!(read(&long), Err(HeadError::TooLarge));
        assert_eq!(find(&[b'a'; MAX_HEAD_BYTES]), Err(HeadError::TooLarge));
        assert_eq!(find(b"GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
    }
}
