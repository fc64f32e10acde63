//! The name of a generation's bytes, whatever its file is called: a UUID.

use std::{fmt, str::FromStr};

use crate::failure::{During, Failure, Outcome};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BuildId(pub [u8; 16]);

impl BuildId {
    /// In an index: zeros.
    pub const NIL: Self = Self([0; 16]);

    /// A new one (UUID version 4).
    pub fn random() -> Outcome<Self> {
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .during(|| "getting random bytes".to_owned())?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Self(bytes))
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                out.write_str("-")?;
            }
            write!(out, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for BuildId {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        let wrong = || Failure::invalid("buildId", "it is not a UUID other than nil");
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| *byte != b'-')
            .map(|byte| (byte as char).to_digit(16).map(|digit| digit as u8).ok_or_else(wrong))
            .collect::<Outcome<_>>()?;
        let mut bytes = [0; 16];
        if digits.len() != 32 || text.len() != 36 {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        if bytes == Self::NIL.0 {
            Err(wrong())
        } else {
            Ok(Self(bytes))
        }
    }
}
