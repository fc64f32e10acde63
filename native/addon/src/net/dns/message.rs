//! As much of DNS messages (RFC 1035) as a forwarder has to look at: the question, and addresses in an answer. Both come
//! from others: everything is checked, nothing is believed.

use std::net::Ipv4Addr;

pub const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
const FLAG_RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const FLAG_RECURSION_DESIRED: u8 = 0x01;
const FLAG_RECURSION_AVAILABLE: u8 = 0x80;

/// Response codes of answers that we give ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    ServerFailure = 2,
    NoSuchName = 3,
    Refused = 5,
}

/// The one question of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Lower case, without the dot at the end.
    pub name: String,
    pub kind: u16,
    pub class: u16,
    /// Where the sections behind it begin.
    end: usize,
}

/// An address in an answer, and how many seconds it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub address: Ipv4Addr,
    pub ttl: u32,
}

/// The question of a standard query. Nothing for all else.
pub fn question_of_query(message: &[u8]) -> Option<Question> {
    let flags = *message.get(2)?;
    (flags & (FLAG_RESPONSE | OPCODE) == 0)
        .then(|| question(message))
        .flatten()
}

/// The question that a response repeats.
pub fn question_of_response(message: &[u8]) -> Option<Question> {
    (message.get(2)? & FLAG_RESPONSE != 0)
        .then(|| question(message))
        .flatten()
}

fn question(message: &[u8]) -> Option<Question> {
    if u16_at(message, 4)? != 1 {
        return None;
    }
    let mut name = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // No compression: there is nothing before it that could be pointed at.
        let label = message.get(at..at + length).filter(|_| length <= 63)?;
        if !label.iter().all(u8::is_ascii_graphic) || label.contains(&b'.') {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        if name.len() > 253 {
            return None;
        }
        at += length;
    }
    Some(Question {
        name,
        kind: u16_at(message, at)?,
        class: u16_at(message, at + 2)?,
        end: at + 4,
    })
}

/// IPv4 addresses of the answer section, whatever aliases lead to them: the server is one that the host trusts.
pub fn addresses(message: &[u8], question: &Question) -> Vec<Address> {
    let mut found = Vec::new();
    let mut at = question.end;
    for _ in 0..u16_at(message, 6).unwrap_or(0) {
        match record(message, at) {
            Some((address, next)) => {
                found.extend(address);
                at = next;
            }
            None => break,
        }
    }
    found
}

/// The record at a place, if it is an address, and where the next one is.
fn record(message: &[u8], start: usize) -> Option<(Option<Address>, usize)> {
    let at = behind_name(message, start)?;
    let (kind, class) = (u16_at(message, at)?, u16_at(message, at + 2)?);
    let ttl = u32::from(u16_at(message, at + 4)?) << 16 | u32::from(u16_at(message, at + 6)?);
    let length = usize::from(u16_at(message, at + 8)?);
    let data = message.get(at + 10..at + 10 + length)?;
    let octets: Option<[u8; 4]> = data.try_into().ok();
    let address = octets
        .filter(|_| kind == TYPE_A && class == CLASS_IN)
        .map(|octets| Address {
            address: octets.into(),
            ttl,
        });
    Some((address, at + 10 + length))
}

/// A name ends with an empty label or with a pointer, which is not followed.
fn behind_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *message.get(at)?;
        match length & 0xc0 {
            0xc0 => return Some(at + 2),
            0 if length == 0 => return Some(at + 1),
            0 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

pub fn id_of(message: &[u8]) -> Option<[u8; 2]> {
    message.get(..2)?.try_into().ok()
}

/// The message under another id. It has a header.
pub fn with_id(message: &[u8], id: [u8; 2]) -> Vec<u8> {
    let mut changed = message.to_vec();
    changed[..2].copy_from_slice(&id);
    changed
}

/// An answer of our own to a query that has at least a header, with its question where that could be read.
pub fn answer(query: &[u8], question: Option<&Question>, code: Code) -> Vec<u8> {
    let end = question.map_or(HEADER, |question| question.end);
    let mut message = query[..end].to_vec();
    message[2] = FLAG_RESPONSE | (query[2] & (OPCODE | FLAG_RECURSION_DESIRED));
    message[3] = FLAG_RECURSION_AVAILABLE | code as u8;
    message[4..HEADER].copy_from_slice(&[0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
    message
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    message
        .get(at..at + 2)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `www.Example.com`, type A.
    fn query() -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(b"\x03www\x07Example\x03com\x00\x00\x01\x00\x01");
        message
    }

    /// An alias, and two addresses of it.
    fn response() -> Vec<u8> {
        let mut message = query();
        message[2] = 0x81;
        message[7] = 3;
        message.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x0e\x10\x00\x06\x03cdn\xc0\x10");
        message.extend(b"\x03cdn\xc0\x10\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x07");
        message.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x01\x00\x00\x00\x04\xcb\x00\x71\x08");
        message
    }

    #[test]
    fn net4_a_question_is_read() {
        let found = question_of_query(&query()).unwrap();
        assert_eq!(
            (found.name.as_str(), found.kind, found.class),
            ("www.example.com", 1, 1)
        );
        assert_eq!(question_of_query(&response()), None, "a response is no query");
        assert_eq!(question_of_response(&response()).unwrap().name, found.name);
        let mut update = query();
        update[2] = 5 << 3;
        assert_eq!(question_of_query(&update), None, "an update is no query");
    }

    #[test]
    fn net4_addresses_are_found_behind_aliases() {
        let message = response();
        let found = addresses(&message, &question_of_response(&message).unwrap());
        let expected = [(7, 60), (8, 65_536)].map(|(last, ttl)| Address {
            address: Ipv4Addr::new(203, 0, 113, last),
            ttl,
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn net4_own_answers_repeat_the_question() {
        let query = query();
        let question = question_of_query(&query).unwrap();
        let message = answer(&query, Some(&question), Code::NoSuchName);
        assert_eq!(question_of_response(&message), Some(question));
        assert_eq!((id_of(&message), message[3] & 0x0f), (Some([0xab, 0xcd]), 3));
        assert_eq!(answer(&query, None, Code::Refused).len(), HEADER);
    }

    proptest! {
        #[test]
        fn net4_no_message_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..60) {
            for start in [vec![], response()[..cut].to_vec()] {
                let mut message = start;
                message.append(&mut bytes);
                if let Some(question) = question_of_response(&message).or_else(|| question_of_query(&message)) {
                    let _ = addresses(&message, &question);
                    let _ = answer(&message, Some(&question), Code::ServerFailure);
                }
            }
        }
    }
}
