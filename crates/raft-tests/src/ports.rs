//! Blocks of free ports, leased by one cluster at a time.
//!
//! * A member's port must be known before it starts, because its flags and its id are made from it,
//!   and it must stay free while the member is dead.
//! * So ports come from below the range that systems give to outgoing connections, and a locked
//!   file keeps the block from other tests, also of other processes.
//! * What remains is a stranger that takes a port between a look and a start; `cluster.rs` then
//!   takes another block.

use std::fs::{self, File};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports of a block: clients from 0, proxies from 50, peers from 100, as `raftd dev` has them.
const BLOCK: u16 = 128;
const PROXIES: u16 = 50;
const PEERS: u16 = 100;

/// Members a block has ports for.
const MEMBERS_MAX: u16 = 9;

/// The first port of the first block, and how many blocks there are: all end below 32768.
const FIRST: u16 = 10_240;
const BLOCKS: u16 = 175;

/// A block of ports. Dropping it gives it back.
#[derive(Debug)]
pub struct Ports {
    base: u16,
    _lease: File,
}

impl Ports {
    /// Takes a block whose ports are free.
    pub fn lease() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let dir = std::env::temp_dir().join("raft-tests-ports");
        fs::create_dir_all(&dir).expect("the directory for temporary files can be written");
        // Processes begin at different places, so that they seldom meet.
        let process = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or_default();
        for _ in 0..BLOCKS {
            let block = (process + NEXT.fetch_add(1, Ordering::Relaxed) % BLOCKS) % BLOCKS;
            let lease = File::create(dir.join(block.to_string())).expect("a lock file can be made");
            if lease.try_lock().is_err() {
                continue;
            }
            let ports = Self { base: FIRST + block * BLOCK, _lease: lease };
            if ports.all().all(is_free) {
                return ports;
            }
        }
        panic!("no block of ports from {FIRST} on is free");
    }

    /// The first port: that of the first member's clients.
    pub fn base(&self) -> u16 {
        self.base
    }

    /// Where a member serves its clients.
    pub fn client(&self, member: usize) -> u16 {
        self.base + number(member)
    }

    /// Where a member listens for its peers.
    pub fn peer(&self, member: usize) -> u16 {
        self.base + PEERS + number(member)
    }

    /// Where a proxy listens for a member's peers.
    pub fn proxy(&self, member: usize) -> u16 {
        self.base + PROXIES + number(member)
    }

    fn all(&self) -> impl Iterator<Item = u16> {
        let base = self.base;
        [0, PROXIES, PEERS]
            .into_iter()
            .flat_map(move |kind| (0..MEMBERS_MAX).map(move |member| base + kind + member))
    }
}

fn number(member: usize) -> u16 {
    let number = u16::try_from(member).unwrap_or(u16::MAX);
    assert!(number < MEMBERS_MAX, "a block has ports for {MEMBERS_MAX} members");
    number
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
