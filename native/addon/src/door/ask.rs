//! The question to JavaScript who may reach what: the request's head over the API's socket, answered by a way or by what
//! the client is told instead.

/// Why JavaScript is asked.
pub enum Question {
    First,
    /// As many are open to the sandbox as may be.
    Full,
    /// The client wants to change to a protocol that is not carried.
    Upgrade(String),
    /// The agent refused, with this code.
    Refused {
        code: String,
        incarnation: u32,
        repeatable: bool,
    },
    /// The agent was not reached, or went before it had answered.
    Failed {
        connected: bool,
    },
}

impl Question {
    /// Fields of the question. `token` proves that the door asks, not a client.
    pub fn fields(&self, token: &str, tls: bool) -> String {
        let secure = u8::from(tls);
        let what = match self {
            Self::First => "first".to_owned(),
            Self::Full => "full".to_owned(),
            Self::Upgrade(protocol) => format!("upgrade {protocol}"),
            Self::Refused {
                code,
                incarnation,
                repeatable,
            } => {
                format!("refused {code} {incarnation} {}", u8::from(*repeatable))
            }
            Self::Failed { connected: true } => "failed broken".to_owned(),
            Self::Failed { connected: false } => "failed connect".to_owned(),
        };
        format!("wrenn-ask: {token} {secure} {what}\r\n")
    }
}
