//! The URLs of members: `http://host:port` and nothing else.
//!
//! Member ids are hashes of these texts, so a URL keeps the spelling it was given. Read next:
//! `identity.rs`.

use std::fmt;
use std::net::IpAddr;

/// `http://host:port`, spelled as given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    host: String,
    port: u16,
}

impl Url {
    /// Reads one URL.
    ///
    /// # Errors
    ///
    /// A sentence without its beginning: what is wrong and what to write. The caller names the
    /// flag.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("{text:?} has no scheme; write for example http://{EXAMPLE}"));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => {
                return Err(format!(
                    "{text:?} asks for TLS, which is not supported yet; write http://{rest} and \
                     protect the network by other means"
                ));
            }
            "unix" | "unixs" => {
                return Err(format!(
                    "{text:?} names a unix socket, which is not supported yet; write for example \
                     http://{EXAMPLE}"
                ));
            }
            other => {
                return Err(format!(
                    "{text:?} has the scheme {other:?}; write http, as in http://{EXAMPLE}"
                ));
            }
        }
        if let Some(end) = rest.find(['/', '?', '#']) {
            return Err(format!("{text:?} has a path; write http://{}", &rest[..end]));
        }
        if rest.contains('@') {
            return Err(format!("{text:?} has a user; write for example http://{EXAMPLE}"));
        }
        let split = rest.rsplit_once(':').filter(|(host, _)| !host.ends_with(':'));
        let Some((host, port)) = split.filter(|_| !rest.ends_with(']')) else {
            return Err(format!("{text:?} has no port; write for example http://{rest}:2379"));
        };
        if host.is_empty() {
            return Err(format!(
                "{text:?} has no host; write http://0.0.0.0:{port} for all addresses"
            ));
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if (bare.contains(':') && bare == host)
            || bare.contains(|c: char| c.is_whitespace() || "[],=\"%\\".contains(c))
        {
            return Err(format!(
                "{text:?} has a host that is none; write a name, an IPv4 address, or an IPv6 \
                 address in brackets"
            ));
        }
        let port = port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(port) = port else {
            return Err(format!("{text:?} has no port from 0 to 65535; write http://{host}:2379"));
        };
        Ok(Self { host: host.to_owned(), port })
    }

    /// Host and port as a socket address is written, brackets around IPv6 included.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The host without the brackets of IPv6.
    pub fn host(&self) -> &str {
        let bare = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        bare.unwrap_or(&self.host)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether a socket can be bound here without asking a name server: an address, or localhost.
    pub fn is_bindable(&self) -> bool {
        self.host() == "localhost" || self.host().parse::<IpAddr>().is_ok()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

const EXAMPLE: &str = "127.0.0.1:2379";

#[cfg(test)]
mod tests {
    use super::*;

    /// What is right keeps its spelling, because member ids are hashes of it.
    #[test]
    fn good_urls_come_back_as_they_were() {
        for text in [
            "http://localhost:2379",
            "http://127.0.0.1:1",
            "http://[::1]:2380",
            "http://node-1.example.org:65535",
            "http://0.0.0.0:0",
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Url::parse(" HTTP://h:1 ").unwrap().to_string(), "http://h:1");
        let six = Url::parse("http://[::1]:2380").unwrap();
        assert_eq!((six.host(), six.port(), six.authority()), ("::1", 2380, "[::1]:2380".into()));
        assert!(six.is_bindable());
        assert!(!Url::parse("http://example.org:1").unwrap().is_bindable());
    }

    /// Each wrong URL gets a sentence of its own with what to write instead.
    #[test]
    fn bad_urls_say_what_to_write() {
        for (text, expected) in [
            ("localhost:2379", "\"localhost:2379\" has no scheme; write for example http://"),
            (
                "https://h:1",
                "\"https://h:1\" asks for TLS, which is not supported yet; write http:",
            ),
            ("unix:///tmp/s", "\"unix:///tmp/s\" names a unix socket"),
            ("ftp://h:1", "\"ftp://h:1\" has the scheme \"ftp\"; write http"),
            ("http://h:1/", "\"http://h:1/\" has a path; write http://h:1"),
            ("http://h:1?x", "\"http://h:1?x\" has a path; write http://h:1"),
            ("http://u@h:1", "\"http://u@h:1\" has a user"),
            ("http://h", "\"http://h\" has no port; write for example http://h:2379"),
            ("http://[::1]", "\"http://[::1]\" has no port; write for example http://[::1]:2379"),
            ("http://:1", "\"http://:1\" has no host; write http://0.0.0.0:1"),
            ("http://::1:80", "\"http://::1:80\" has a host that is none"),
            ("http://h:65536", "\"http://h:65536\" has no port from 0 to 65535"),
            ("http://h:+1", "\"http://h:+1\" has no port from 0 to 65535"),
            ("http://h:", "\"http://h:\" has no port from 0 to 65535"),
        ] {
            let problem = Url::parse(text).unwrap_err();
            assert!(problem.starts_with(expected), "{text}: {problem}");
        }
    }
}
