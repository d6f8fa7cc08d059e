//! Where a server is: `host:port`, with or without `http://`.
//!
//! An endpoint is printed as the user wrote it. Read next: `client.rs`.

use core::error::Error;
use core::fmt;
use core::str::FromStr;

/// The client address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    text: String,
    authority: String,
}

impl Endpoint {
    /// The address as a URI.
    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.authority)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        let authority = match text.split_once("://") {
            None => text,
            Some(("http", authority)) => authority,
            Some(("https", _)) => return Err(EndpointError::Tls),
            Some((scheme, _)) => return Err(EndpointError::Scheme(scheme.to_owned())),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':').ok_or(EndpointError::NoPort)?;
        if port.ends_with(']') {
            return Err(EndpointError::NoPort);
        }
        if host.is_empty() {
            return Err(EndpointError::NoHost);
        }
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        if host.contains(':') && !is_bracketed {
            return Err(EndpointError::Brackets);
        }
        let is_strange = |c: char| c.is_whitespace() || c.is_control() || "/?#@\\".contains(c);
        if let Some(strange) = host.chars().find(|&c| is_strange(c)) {
            return Err(EndpointError::Host(strange));
        }
        // Digits only: the parser of numbers would also take a sign.
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse::<u16>() {
            Ok(1..) if is_number => {
                Ok(Self { text: text.to_owned(), authority: authority.to_owned() })
            }
            Ok(_) | Err(_) => Err(EndpointError::Port(port.to_owned())),
        }
    }
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndpointError {
    /// It begins with `https://`.
    Tls,
    /// It begins with a scheme other than `http`.
    Scheme(String),
    /// Nothing stands before the port.
    NoHost,
    /// A host cannot contain this.
    Host(char),
    /// An IPv6 address stands without brackets.
    Brackets,
    /// There is no port.
    NoPort,
    /// The port is no number from 1 to 65535.
    Port(String),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls => formatter.write_str("this raftctl is built without TLS, use http://"),
            Self::Scheme(scheme) => {
                write!(
                    formatter,
                    "unknown scheme `{scheme}`, expected host:port or http://host:port"
                )
            }
            Self::NoHost => formatter.write_str("no host before the port, expected host:port"),
            Self::Host(strange) => {
                write!(formatter, "{strange:?} cannot be part of a host, expected host:port")
            }
            Self::Brackets => {
                formatter.write_str("an IPv6 address needs brackets, such as [::1]:2379")
            }
            Self::NoPort => formatter.write_str("no port, expected host:port, such as db1:2379"),
            Self::Port(port) => {
                write!(formatter, "port `{port}` is no number from 1 to 65535")
            }
        }
    }
}

impl Error for EndpointError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let check = |text: &str, uri: &str| {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.uri(), uri);
            assert_eq!(endpoint.to_string(), text.trim(), "printed as written");
        };
        check("127.0.0.1:2379", "http://127.0.0.1:2379");
        check("db1.example:65535", "http://db1.example:65535");
        check("http://db1:2379", "http://db1:2379");
        check("http://db1:2379/", "http://db1:2379");
        check("[::1]:2379", "http://[::1]:2379");
        check(" db1:2379 ", "http://db1:2379");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        let check = |text: &str, error| assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        check("https://db1:2379", EndpointError::Tls);
        check("unix:///run/raftd", EndpointError::Scheme("unix".to_owned()));
        check("db1", EndpointError::NoPort);
        check("", EndpointError::NoPort);
        check("[::1]", EndpointError::NoPort);
        check("::1:2379", EndpointError::Brackets);
        check(":2379", EndpointError::NoHost);
        check("http://", EndpointError::NoPort);
        check("a/b:1", EndpointError::Host('/'));
        check("a b:1", EndpointError::Host(' '));
        check("user@db1:1", EndpointError::Host('@'));
        check("db1:0", EndpointError::Port("0".to_owned()));
        check("db1:65536", EndpointError::Port("65536".to_owned()));
        check("db1:+1", EndpointError::Port("+1".to_owned()));
        check("db1:", EndpointError::Port(String::new()));
        check("db1:2379/v3", EndpointError::Port("2379/v3".to_owned()));
    }
}
