//! Asks a member of this machine over HTTP/1.1 whether it is ready.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Whether the member on this port says that it is ready; otherwise what it says instead.
pub(super) async fn is_ready(port: u16) -> Result<(), String> {
    match get(port, "/readyz").await? {
        (200, _) => Ok(()),
        // Versions of etcd before 3.5.11 know only this path.
        (404, _) => match get(port, "/health").await? {
            (200, _) => Ok(()),
            (code, body) => Err(format!("/health answers {code}: {}", one_line(&body))),
        },
        (code, body) => Err(format!("/readyz answers {code}: {}", one_line(&body))),
    }
}

/// Gets a path, with its status and body.
async fn get(port: u16, path: &str) -> Result<(u16, String), String> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(LIMIT, exchange).await;
    let answer = answer.map_err(|_| format!("no answer within {} ms", LIMIT.as_millis()))?;
    let answer = answer.map_err(|error| error.to_string())?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| "an answer that is not HTTP".to_owned())
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A member that is well answers at once; one that has no leader yet may wait with its answer.
const LIMIT: Duration = Duration::from_secs(1);

/// More than any answer of a check.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Status and body are found, and what is not HTTP is not taken for it.
    #[test]
    fn answers_are_parsed() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\n[-]a failed\n";
        assert_eq!(parse(answer), Some((503, "[-]a failed\n".into())));
        assert_eq!(parse("SSH-2.0\r\n\r\n"), None);
        assert_eq!(parse("HTTP/1.1 200 OK\r\n"), None, "an answer cut off is none");
        assert_eq!(one_line("[-]a failed\n\n"), "[-]a failed");
    }
}
