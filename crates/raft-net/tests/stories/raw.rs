//! The wire format written down a second time, by hand: what a stranger would send.

use raft_core::Checksum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"raft/net";

pub(crate) const WELCOME: u8 = 2;
pub(crate) const REFUSAL: u8 = 3;
pub(crate) const ENVELOPE: u8 = 4;
pub(crate) const PING: u8 = 5;
pub(crate) const CHUNK_REQUEST: u8 = 7;
pub(crate) const CHUNK: u8 = 8;
pub(crate) const NO_CHUNK: u8 = 9;

/// A frame of `docs/WIRE_FORMAT.md`.
pub(crate) fn frame(kind: u8, version: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("a short body");
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.extend([kind, version]);
    let checksum = Checksum::of(&bytes).extend(body);
    bytes.extend(checksum.get().to_le_bytes());
    bytes.extend(body);
    bytes
}

/// What a node that dials says, field by field. Node ids below 128 are one byte.
#[derive(Clone, Copy)]
pub(crate) struct Hello {
    pub(crate) versions: [u8; 2],
    pub(crate) cluster: u128,
    pub(crate) node: u8,
    pub(crate) incarnation: u128,
    pub(crate) to: u8,
    pub(crate) class: u8,
}

pub(crate) const HELLO: Hello =
    Hello { versions: [1, 1], cluster: 0xc1, node: 9, incarnation: 9, to: 1, class: 0 };

impl Hello {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut body = self.versions.to_vec();
        body.extend(self.cluster.to_le_bytes());
        body.push(self.node);
        body.extend(self.incarnation.to_le_bytes());
        body.extend([self.to, self.class, 0]);
        [PREFACE, &frame(1, 1, &body)].concat()
    }
}

/// The body of a message frame with `ReadIndex` in it: group, version, kind, from, to, term,
/// epoch, batch.
pub(crate) fn read_index(from: u8, to: u8, batch: u8) -> Vec<u8> {
    vec![0, 1, 9, from, to, 7, 3, batch]
}

/// A connection without manners.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(address: std::net::SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("the listener is there"))
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // Who is hung up on half-way learns it when reading.
        drop(self.0.write_all(bytes).await);
    }

    /// Nothing more will come from here.
    pub(crate) async fn finish(&mut self) {
        drop(self.0.shutdown().await);
    }

    /// Takes the first bytes of a node that dials.
    pub(crate) async fn preface(&mut self) {
        let mut preface = [0; 8];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut preface)).await;
        read.expect("in time").expect("it speaks first");
        assert_eq!(preface, PREFACE);
    }

    /// Kind and body of the next frame.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let mut header = [0; 10];
            self.0.read_exact(&mut header).await?;
            let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let mut body = vec![0; len as usize];
            self.0.read_exact(&mut body).await?;
            let whole = [&header[..], &body].concat();
            assert_eq!(whole, frame(header[4], header[5], &body), "the checksum is right");
            std::io::Result::Ok((header[4], body))
        };
        tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("a frame")
    }

    /// Waits until the other end hangs up.
    pub(crate) async fn closed(&mut self) {
        let drain = async {
            let mut buffer = [0; 4096];
            while matches!(self.0.read(&mut buffer).await, Ok(1..)) {}
        };
        tokio::time::timeout(PATIENCE, drain).await.expect("hung up in time");
    }
}
