//! Where a body ends. Its bytes are passed on as they came; what could be read in two ways is an error, never a guess.

/// The size of a chunk in hexadecimal digits.
const MAX_SIZE_DIGITS: u32 = 15;
/// Of a chunk's extensions, and of all trailers together.
const MAX_EXTRA_BYTES: u32 = 16_384;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Bytes that are still to come.
    Length(u64),
    Chunked(Chunks),
    /// Everything until the connection ends.
    UntilClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What became of some bytes: so many belong to the body, of which so many are passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub taken: usize,
    pub passed: usize,
}

impl Framing {
    pub const NONE: Self = Self::Length(0);

    pub fn chunked(trailers: Trailers) -> Self {
        Self::Chunked(Chunks {
            state: State::Size { digits: 0 },
            left: 0,
            extra: 0,
            trailers,
            dropping: false,
        })
    }

    pub fn done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.state == State::Done,
            Self::UntilClose => false,
        }
    }

    /// The body is over and trailers were dropped, with the empty line behind them, which is to be written instead.
    pub fn wants_line(&self) -> bool {
        matches!(self, Self::Chunked(chunks) if chunks.state == State::Done && chunks.dropping)
    }

    pub fn advance(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        match self {
            Self::UntilClose => Ok(Step {
                taken: bytes.len(),
                passed: bytes.len(),
            }),
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                Ok(Step { taken, passed: taken })
            }
            Self::Chunked(chunks) => chunks.advance(bytes),
        }
    }
}

/// What to do with fields behind the last chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailers {
    Refuse,
    Drop,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    left: u64,
    extra: u32,
    trailers: Trailers,
    dropping: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size {
        digits: u32,
    },
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataEnd,
    /// Behind the last chunk, at the beginning of a line.
    Line,
    LastEnd,
    Trailer,
    TrailerEnd,
    Done,
}

impl Chunks {
    fn advance(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        let mut at = 0;
        let mut passed = 0;
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= count as u64;
                at += count;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.next(bytes[at])?;
                at += 1;
            }
            if !self.dropping {
                passed = at;
            }
        }
        Ok(Step { taken: at, passed })
    }

    fn next(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < MAX_SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                self.left = self.left << 4 | u64::from(digit);
                Ok(State::Size { digits: digits + 1 })
            }
            (State::Size { digits: 1.. }, b';' | b' ' | b'\t') => Ok(State::Extension),
            (State::Size { digits: 1.. } | State::Extension, b'\r') => Ok(State::SizeEnd),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.count(State::Extension),
            (State::SizeEnd, b'\n') if self.left > 0 => Ok(State::Data),
            (State::SizeEnd, b'\n') => Ok(State::Line),
            (State::DataCr, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => Ok(State::Size { digits: 0 }),
            (State::Line, b'\r') => Ok(State::LastEnd),
            (State::LastEnd, b'\n') => Ok(State::Done),
            (State::Line | State::Trailer, b'\t' | b' '..=b'~' | 0x80..) if self.trailers == Trailers::Drop => {
                self.dropping = true;
                self.count(State::Trailer)
            }
            (State::Trailer, b'\r') => Ok(State::TrailerEnd),
            (State::TrailerEnd, b'\n') => Ok(State::Line),
            _ => Err(Malformed),
        }
    }

    fn count(&mut self, next: State) -> Result<State, Malformed> {
        self.extra += 1;
        if self.extra > MAX_EXTRA_BYTES {
            Err(Malformed)
        } else {
            Ok(next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on of bytes that come in pieces of this size, and how many of them are the body's.
    fn run(trailers: Trailers, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let mut framing = Framing::chunked(trailers);
        let (mut out, mut taken) = (Vec::new(), 0);
        for piece in bytes.chunks(piece) {
            let step = framing.advance(piece)?;
            out.extend_from_slice(&piece[..step.passed]);
            taken += step.taken;
        }
        if framing.wants_line() {
            out.extend_from_slice(b"\r\n");
        }
        Ok((out, taken, framing.done()))
    }

    #[test]
    fn px2_chunks_are_passed_on_as_they_are_and_end_where_they_end() {
        let body = b"3\r\nabc\r\n1A;x=\"y\"\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n";
        let all = [body.as_slice(), b"GET / HTTP/1.1\r\n"].concat();
        for piece in 1..all.len() {
            assert_eq!(
                run(Trailers::Refuse, &all, piece),
                Ok((body.to_vec(), body.len(), true)),
                "{piece}"
            );
        }
    }

    #[test]
    fn px2_trailers_are_dropped_or_refused() {
        let body = b"1\r\na\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n";
        let kept = b"1\r\na\r\n0\r\n\r\n".to_vec();
        for piece in 1..=body.len() {
            assert_eq!(
                run(Trailers::Drop, body, piece),
                Ok((kept.clone(), body.len(), true)),
                "{piece}"
            );
            assert_eq!(run(Trailers::Refuse, body, piece), Err(Malformed));
        }
    }

    #[test]
    fn px2_chunks_that_could_be_read_in_two_ways_are_refused() {
        for body in [
            "zz\r\n",
            "\r\n",
            " 3\r\nabc\r\n",
            "3\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "0x3\r\nabc\r\n",
            "+3\r\n",
            "-1\r\n",
            "1;a\nb\r\n",
            "1;\0\r\n",
            "0\r\n\n",
            "0\r\nx\ny\r\n",
            "1000000000000000\r\n",
        ] {
            assert_eq!(run(Trailers::Drop, body.as_bytes(), 100), Err(Malformed), "{body:?}");
        }
    }

    #[test]
    fn px2_a_length_ends_where_it_says() {
        let mut framing = Framing::Length(5);
        assert_eq!(framing.advance(b"abc"), Ok(Step { taken: 3, passed: 3 }));
        assert_eq!(framing.advance(b"defg"), Ok(Step { taken: 2, passed: 2 }));
        assert!(framing.done() && Framing::NONE.done() && !Framing::UntilClose.done());
    }
}
