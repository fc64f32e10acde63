//! The command line.

use std::net::IpAddr;

pub const USAGE: &str = "\
usage: envd [--port 49983] [--host 0.0.0.0] [--user root] [--sole]

  --port N     TCP port to listen on
  --host ADDR  address to listen on
  --user NAME  user of requests that name none, until /init says otherwise
  --sole       the machine is this agent's own: after a resume, connections to other machines are ended
  --version    print the protocol version and exit
  --help       print this text and exit";

const DEFAULT_PORT: u16 = 49983;

#[derive(Debug, PartialEq)]
pub struct Args {
    pub port: u16,
    pub host: IpAddr,
    pub user: String,
    pub sole: bool,
}

#[derive(Debug, PartialEq)]
pub enum Command {
    Serve(Args),
    Print(&'static str),
}

/// Reads `--name value` and `--name=value`; the error is a message for the user.
pub fn parse(args: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut parsed = Args {
        port: DEFAULT_PORT,
        host: IpAddr::from([0, 0, 0, 0]),
        user: "root".into(),
        sole: false,
    };
    let mut args = args;
    while let Some(arg) = args.next() {
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (arg, None),
        };
        match name.as_str() {
            "--help" | "-h" => return Ok(Command::Print(USAGE)),
            "--version" | "-V" => return Ok(Command::Print(crate::VERSION)),
            _ => {}
        }
        let mut value = || {
            inline
                .clone()
                .or_else(|| args.next())
                .ok_or(format!("{name} needs a value"))
        };
        match name.as_str() {
            "--port" => parsed.port = parse_value(&name, &value()?)?,
            "--host" => parsed.host = parse_value(&name, &value()?)?,
            "--user" => parsed.user = value()?,
            "--sole" => parsed.sole = true,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(Command::Serve(parsed))
}

fn parse_value<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("bad value '{value}' for {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Command, String> {
        parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_both_spellings() {
        let expected = Args {
            port: 5,
            host: "127.0.0.1".parse().unwrap(),
            user: "user".into(),
            sole: true,
        };
        assert_eq!(
            parse_words("--port 5 --host=127.0.0.1 --sole --user user"),
            Ok(Command::Serve(expected))
        );
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(parse_words("--port x"), Err("bad value 'x' for --port".into()));
        assert_eq!(parse_words("--user"), Err("--user needs a value".into()));
        assert_eq!(parse_words("--nope"), Err("unknown option --nope".into()));
        assert_eq!(parse_words("--version"), Ok(Command::Print(crate::VERSION)));
    }
}
