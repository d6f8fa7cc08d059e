//! A network between members that a test can cut and heal, in each direction by itself.
//!
//! * Each member advertises the address of its proxy and listens at another one. So everything that
//!   peers send passes here.
//! * Who dials is told by the first frame of a connection (`docs/WIRE_FORMAT.md`: Hello).
//! * A cut loses nothing and closes nothing: bytes stand still, as on a network without a route,
//!   and go on when it is healed, if the ends still want them.
//!
//! Read next: `cluster.rs`, which puts it between its members.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// One member behind its proxy.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The id by which the member introduces itself.
    pub id: u64,
    /// Where its peers reach it.
    pub proxy: u16,
    /// Where it listens.
    pub member: u16,
}

/// The network of a cluster. Dropping it closes every connection.
#[derive(Debug)]
pub struct Network {
    cuts: watch::Sender<Cuts>,
    severed: watch::Sender<Severed>,
    members: usize,
    _proxies: JoinSet<()>,
}

/// Directed pairs of members, as their places in the cluster: from, to.
type Cuts = BTreeSet<(usize, usize)>;

/// How often each member's connections were severed.
type Severed = Vec<u64>;

impl Network {
    /// Listens for the peers of every member.
    ///
    /// # Errors
    ///
    /// A port is taken.
    pub async fn start(routes: Vec<Route>) -> io::Result<Self> {
        let cuts = watch::Sender::new(Cuts::new());
        let (members, routes) = (routes.len(), Arc::new(routes));
        let severed = watch::Sender::new(vec![0; members]);
        let mut proxies = JoinSet::new();
        for (to, route) in routes.iter().enumerate() {
            let listener = TcpListener::bind(("127.0.0.1", route.proxy)).await?;
            let (routes, cuts) = (Arc::clone(&routes), cuts.clone());
            let proxy = Proxy { to, routes, cuts, severed: severed.clone() };
            proxies.spawn(proxy.accept(listener));
        }
        Ok(Self { cuts, severed, members, _proxies: proxies })
    }

    /// Lets nothing pass from one member to another. The other direction stays as it is.
    pub fn cut(&self, from: usize, to: usize) {
        self.cuts.send_modify(|cuts| _ = cuts.insert((from, to)));
    }

    /// Cuts a member off from all others, in both directions.
    pub fn isolate(&self, member: usize) {
        for other in (0..self.members).filter(|other| *other != member) {
            self.cut(member, other);
            self.cut(other, member);
        }
    }

    /// Closes all connections of a member, and drops what a cut holds back of them: as when its
    /// machine loses power, not only its process.
    pub fn sever(&self, member: usize) {
        self.severed.send_modify(|severed| severed[member] += 1);
    }

    /// Lets everything pass.
    pub fn heal(&self) {
        self.cuts.send_modify(Cuts::clear);
    }
}

/// The proxy of one member.
#[derive(Clone)]
struct Proxy {
    to: usize,
    routes: Arc<Vec<Route>>,
    cuts: watch::Sender<Cuts>,
    severed: watch::Sender<Severed>,
}

/// Where the id stands in the first bytes of a connection: after preface (8), frame header (10),
/// two versions and the cluster id (16).
const ID_AT: usize = 36;
/// What is read to know the id, which is a varint; all of it is there in any Hello.
const HELLO_BYTES: usize = ID_AT + 10;
/// What is read at once.
const BUFFER_BYTES: usize = 64 << 10;

impl Proxy {
    async fn accept(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        // A failed accept means that the test is short of files; it will fail and say so.
        while let Ok((stream, _)) = listener.accept().await {
            let proxy = self.clone();
            connections.spawn(async move {
                // Whatever ends a connection, both ends notice.
                drop(proxy.connect(stream).await);
            });
        }
    }

    /// Carries one connection until it ends.
    async fn connect(self, mut dialer: TcpStream) -> io::Result<()> {
        dialer.set_nodelay(true)?;
        let mut hello = vec![0; HELLO_BYTES];
        dialer.read_exact(&mut hello).await?;
        let id = varint(&hello[ID_AT..]);
        let from = self.routes.iter().position(|route| route.id == id);
        let from = from.ok_or_else(|| io::Error::other(format!("nobody has the id {id:x}")))?;
        let mut severed = self.severed.subscribe();
        let begun = severed.borrow_and_update().clone();
        let is_severed = |now: &Severed| now[from] != begun[from] || now[self.to] != begun[self.to];
        tokio::select! {
            // The sender is a field of this proxy, so the wait ends only with the connection.
            _ = severed.wait_for(is_severed) => Ok(()),
            ended = self.pass(from, dialer, hello) => ended,
        }
    }

    /// Carries what follows the beginning of a Hello, and that first.
    async fn pass(&self, from: usize, mut dialer: TcpStream, mut hello: Vec<u8>) -> io::Result<()> {
        // A connection begun during a cut comes about only if the dialer still waits for it.
        loop {
            tokio::select! {
                () = open(&self.cuts, from, self.to) => break,
                more = dialer.read_buf(&mut hello) => if more? == 0 { return Ok(()) },
            }
        }
        let mut member = TcpStream::connect(("127.0.0.1", self.routes[self.to].member)).await?;
        member.set_nodelay(true)?;
        member.write_all(&hello).await?;
        let (dialer, member) = (dialer.into_split(), member.into_split());
        let there = carry(dialer.0, member.1, &self.cuts, (from, self.to));
        let back = carry(member.0, dialer.1, &self.cuts, (self.to, from));
        tokio::select! {
            ended = there => ended,
            ended = back => ended,
        }
    }
}

/// Carries bytes in one direction until the source ends.
async fn carry(
    mut source: OwnedReadHalf,
    mut sink: OwnedWriteHalf,
    cuts: &watch::Sender<Cuts>,
    (from, to): (usize, usize),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = source.read(&mut buffer).await?;
        open(cuts, from, to).await;
        if count == 0 {
            return Ok(());
        }
        sink.write_all(&buffer[..count]).await?;
    }
}

/// Waits until bytes may pass.
async fn open(cuts: &watch::Sender<Cuts>, from: usize, to: usize) {
    let mut cuts = cuts.subscribe();
    // The network ends after its connections.
    drop(cuts.wait_for(|cuts| !cuts.contains(&(from, to))).await);
}

/// Seven bits per byte, the lowest first; the last byte is below 128.
fn varint(bytes: &[u8]) -> u64 {
    let mut value = 0;
    for (shift, byte) in (0..).step_by(7).zip(bytes) {
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
        if *byte < 0x80 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids of members use all 64 bits, and so ten bytes.
    #[test]
    fn ids_are_read_whole() {
        assert_eq!(varint(&[5, 0xff]), 5);
        assert_eq!(varint(&[0x80, 1]), 128);
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(varint(&most), u64::MAX);
    }
}
