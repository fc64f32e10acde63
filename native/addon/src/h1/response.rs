//! Heads of answers. Guests run servers of every kind, so line ends and versions are taken as they come; only where a
//! body ends must be certain.

use httparse::{Header, ParserConfig, Status};

use super::{
    framing::{Framing, Trailers},
    name::{Field, Name},
    request::{Fields, HOP, number, options, put_field, put_framing},
};

const MAX_HEAD_BYTES: usize = 131_072;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// Length of the head that `bytes` begin with, once it is whole.
pub fn find(bytes: &[u8]) -> Result<Option<usize>, NoAnswer> {
    let mut line = 0;
    while let Some(end) = memchr::memchr(b'\n', &bytes[line..]).map(|at| line + at) {
        if line > 0 && matches!(&bytes[line..end], b"" | b"\r") {
            return Ok(Some(end + 1));
        }
        line = end + 1;
    }
    if bytes.len() >= MAX_HEAD_BYTES {
        Err(NoAnswer)
    } else {
        Ok(None)
    }
}

/// The head of an answer.
pub struct Response<'h, 'b> {
    pub status: u16,
    pub reason: &'b str,
    headers: &'h [Header<'b>],
    pub body: Framing,
    /// The connection can take another request after this answer.
    pub keep_alive: bool,
    /// An answer that has no body says how long that of a GET would be.
    bare_length: bool,
    names_fields: bool,
}

impl<'h, 'b> Response<'h, 'b> {
    /// `head` is whole (`find`). `to_head`: the request was a HEAD.
    pub fn parse(head: &'b [u8], storage: &'h mut Fields<'b>, to_head: bool) -> Result<Self, NoAnswer> {
        let mut parsed = httparse::Response::new(&mut []);
        let config = ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, head, storage) {
            Ok(Status::Complete(length)) if length == head.len() => {}
            _ => return Err(NoAnswer),
        }
        let status = parsed.code.ok_or(NoAnswer)?;
        let (mut length, mut coding) = (None, None);
        let (mut close, mut keep, mut names_fields) = (false, false, false);
        for header in &*parsed.headers {
            let Field { name, value } = header.into();
            if name.is("content-length") {
                let given = number(value).ok_or(NoAnswer)?;
                if length.replace(given).is_some_and(|before| before != given) {
                    return Err(NoAnswer);
                }
            } else if name.is("transfer-encoding") {
                if coding.replace(value).is_some() || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(NoAnswer);
                }
            } else if name.is("connection") {
                for option in options(value) {
                    close |= option.eq_ignore_ascii_case(b"close");
                    keep |= option.eq_ignore_ascii_case(b"keep-alive");
                    names_fields |= ![b"close".as_slice(), b"keep-alive", b"upgrade"]
                        .iter()
                        .any(|known| option.eq_ignore_ascii_case(known));
                }
            }
        }
        let old = parsed.version == Some(0);
        let bare = to_head || status < 200 || status == 204 || status == 304;
        let body = match (bare, coding, length) {
            (true, ..) => Framing::Length(0),
            (_, Some(_), _) if old => return Err(NoAnswer),
            (_, Some(_), _) => Framing::chunked(Trailers::Drop),
            (_, None, Some(length)) => Framing::Length(length),
            (_, None, None) => Framing::UntilClose,
        };
        Ok(Self {
            status,
            reason: parsed.reason.unwrap_or_default(),
            headers: parsed.headers,
            keep_alive: !close && (keep || !old) && body != Framing::UntilClose,
            body,
            bare_length: bare && status >= 200 && status != 204,
            names_fields,
        })
    }

    fn fields(&self) -> impl Iterator<Item = Field<'b>> {
        self.headers.iter().map(Field::from)
    }

    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        self.fields().find(|field| field.name.is(name)).map(|field| field.value)
    }

    /// The head as the client gets it. `drop` names a field that it does not. `close`: the connection ends after it.
    pub fn put_head(&self, out: &mut Vec<u8>, drop: &str, more: &[u8], close: bool) {
        out.extend_from_slice(b"HTTP/1.1 ");
        for divisor in [100, 10, 1] {
            out.push(b'0' + (self.status / divisor % 10) as u8);
        }
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        for Field { name, value } in self.fields() {
            let ours = name.is_one_of(&HOP) || name.is_one_of(&["content-length", drop]);
            if !ours && !(self.names_fields && self.names(name)) {
                put_field(out, name.as_written(), value);
            }
        }
        out.extend_from_slice(more);
        if self.status == 101 {
            put_field(out, "Upgrade", self.field("upgrade").unwrap_or_default());
            put_field(out, "Connection", b"upgrade");
        } else if self.bare_length {
            if let Some(length) = self.field("content-length") {
                put_field(out, "Content-Length", length);
            }
        } else {
            put_framing(out, &self.body, self.status >= 200 && self.status != 204);
        }
        if close && self.status != 101 {
            put_field(out, "Connection", b"close");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn names(&self, name: Name<'_>) -> bool {
        let lines = self.fields().filter(|field| field.name.is("connection"));
        lines
            .flat_map(|line| options(line.value))
            .any(|option| option.eq_ignore_ascii_case(name.as_written().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::request::no_fields;

    fn read(text: &str, to_head: bool) -> Result<(String, Framing, bool), NoAnswer> {
        let bytes = text.as_bytes();
        let length = find(bytes)?.ok_or(NoAnswer)?;
        let mut fields = no_fields();
        let response = Response::parse(&bytes[..length], &mut fields, to_head)?;
        let mut out = Vec::new();
        response.put_head(&mut out, "wrenn-error-code", b"", false);
        Ok((
            String::from_utf8_lossy(&out).into_owned(),
            response.body,
            response.keep_alive,
        ))
    }

    #[test]
    fn px2_where_an_answer_ends() {
        for (text, to_head, head, body, keep_alive) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                false,
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                Framing::Length(2),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                true,
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
                Framing::NONE,
                true,
            ),
            (
                "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
                false,
                "HTTP/1.1 204 No Content\r\n\r\n",
                Framing::NONE,
                true,
            ),
            (
                "HTTP/1.1 304 \r\nETag: x\r\n\r\n",
                false,
                "HTTP/1.1 304 \r\nETag: x\r\n\r\n",
                Framing::NONE,
                true,
            ),
            (
                "HTTP/1.1 200\nX: 1\nConnection: close\n\n",
                false,
                "HTTP/1.1 200 \r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Framing::UntilClose,
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
                false,
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                Framing::NONE,
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
                false,
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
                Framing::Length(1),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-ENCODING: chunked\r\nContent-Length: 9\r\nCONNECTION: X-Hop\r\nx-hop: 1\r\nWrenn-Error-Code: x\r\n\r\n",
                false,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Framing::chunked(Trailers::Drop),
                true,
            ),
        ] {
            assert_eq!(read(text, to_head), Ok((head.to_owned(), body, keep_alive)), "{text:?}");
        }
    }

    #[test]
    fn px2_an_answer_whose_end_is_uncertain_is_none() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
        ] {
            assert_eq!(read(text, false), Err(NoAnswer), "{text:?}");
        }
    }
}
