//! The name of an SSH host: `[ssh://][user@]host[:port]`, `host` as the user's own configuration knows it.

use std::fmt;

use super::Error;

/// Which host, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dest {
    /// Name, alias of the ssh configuration, or address.
    pub host: String,
    /// Login name; none: what the configuration says.
    pub user: Option<String>,
    /// Port; none: what the configuration says.
    pub port: Option<u16>,
}

impl Dest {
    /// Reads the name of a host.
    ///
    /// # Errors
    /// [`Error::BadName`]: nothing that ssh could take for an option gets through.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::BadName { text: text.to_owned(), why };
        let rest = text.strip_prefix("ssh://").unwrap_or(text);
        let rest = if text.starts_with("ssh://") { rest.strip_suffix('/').unwrap_or(rest) } else { rest };
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(inner) => {
                let (host, after) = inner.split_once(']').ok_or_else(|| bad("a bracket is open"))?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').ok_or_else(|| bad("after the bracket stands `:port`"))?),
                };
                (host, port)
            }
            // An address of the sixth version has more than one colon, and no port without brackets.
            None if rest.matches(':').count() > 1 => (rest, None),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(str::parse::<u16>).transpose().map_err(|_| bad("the port is a number up to 65535"))?;
        if port == Some(0) {
            return Err(bad("the port is a number from 1"));
        }
        for part in user.iter().chain([&host]) {
            if part.is_empty() {
                return Err(bad("a part of it is empty"));
            }
            let odd = |c: char| c.is_control() || c.is_whitespace() || "'\"\\`$;&|<>(){}*?!#/".contains(c);
            if part.starts_with('-') || part.contains(odd) {
                return Err(bad("it holds a character that no host or user name has"));
            }
        }
        Ok(Self { host: host.to_owned(), user: user.map(str::to_owned), port })
    }
}

impl fmt::Display for Dest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.host.contains(':'), self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (_, None) => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_are_taken_apart_and_shown_again() {
        for (text, user, host, port) in [
            ("db1", None, "db1", None),
            ("ssh://root@db1:2222", Some("root"), "db1", Some(2222)),
            ("ssh://db1/", None, "db1", None),
            ("a@b@c", Some("a@b"), "c", None),
            ("[fd00::1]:22", None, "fd00::1", Some(22)),
            ("u@fd00::1", Some("u"), "fd00::1", None),
        ] {
            let dest = Dest::parse(text).unwrap();
            assert_eq!((dest.user.as_deref(), &*dest.host, dest.port), (user, host, port), "{text}");
            assert_eq!(Dest::parse(&dest.to_string()).unwrap(), dest);
        }
        for text in ["", "-oProxyCommand=x", "u@", "@h", "h:0", "h:x", "h:70000", "a b", "h/p", "-u@h", "[::1", "h\n"] {
            assert!(Dest::parse(text).is_err(), "{text:?}");
        }
    }
}
