//! Member ids and cluster ids, computed as etcd computes them.
//!
//! Each member of a new cluster computes the ids of all from `--initial-cluster` and
//! `--initial-cluster-token`; nobody has to hand them out, and tools that show etcd's ids show the
//! same here. Read next: `config.rs`.

use std::fmt;

use sha1::{Digest, Sha1};

/// The id of a member in the API; the node id of its Raft node. Shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId(u64);

impl MemberId {
    /// The id of a member that a new cluster begins with: the first eight bytes of the SHA-1 of its
    /// peer URLs, sorted, one behind the other, and then the token of the cluster.
    ///
    /// ```
    /// use raft_server::identity::MemberId;
    /// let alone = MemberId::of(["http://localhost:2380"], "etcd-cluster");
    /// assert_eq!(alone.to_string(), "8e9e05c52164694d");
    /// ```
    pub fn of<U: fmt::Display>(peer_urls: impl IntoIterator<Item = U>, token: &str) -> Self {
        let mut texts: Vec<String> = peer_urls.into_iter().map(|url| url.to_string()).collect();
        texts.sort();
        Self(first_eight(&(texts.concat() + token).into_bytes()))
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for MemberId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of a new cluster: the first eight bytes of the SHA-1 of its members' ids, sorted, each as
/// eight bytes, big endian.
pub fn cluster_id(members: impl IntoIterator<Item = MemberId>) -> u64 {
    let mut ids: Vec<MemberId> = members.into_iter().collect();
    ids.sort_unstable();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.0.to_be_bytes()).collect();
    first_eight(&bytes)
}

/// What a restored cluster has beside the id that its flags give: the first eight bytes of the
/// SHA-1 of the backup's hash and of what its revision was bumped by, eight bytes, big endian.
pub fn restored_half(backup: &[u8; 32], bumped_by: u64) -> u64 {
    first_eight(&[&backup[..], &bumped_by.to_be_bytes()].concat())
}

fn first_eight(bytes: &[u8]) -> u64 {
    let hash = Sha1::digest(bytes);
    hash.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids that etcd's documentation shows for its own examples come out here.
    #[test]
    fn ids_are_those_of_etcd() {
        let alone = MemberId::of(["http://localhost:2380"], "etcd-cluster");
        assert_eq!(alone.to_string(), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster_id([alone])), "cdf818194e3a8c32");

        let three = [12380, 22380, 32380]
            .map(|port| MemberId::of([format!("http://127.0.0.1:{port}")], "etcd-cluster-1"));
        assert_eq!(
            three.map(|id| id.to_string()),
            ["8211f1d0f64f3269", "91bc3c398fb3c146", "fd422379fda50e48"]
        );
        assert_eq!(format!("{:x}", cluster_id(three)), "ef37ad9dc622a7c4");
    }

    /// Neither the order of URLs nor the order of members matters; the token does.
    #[test]
    fn order_does_not_matter_and_the_token_does() {
        let (one, two) = ("http://a:1", "http://b:2");
        assert_eq!(MemberId::of([one, two], "t"), MemberId::of([two, one], "t"));
        assert_ne!(MemberId::of([one], "t"), MemberId::of([one], "u"));
        let ids = [MemberId::of([one], "t"), MemberId::of([two], "t")];
        assert_eq!(cluster_id(ids), cluster_id([ids[1], ids[0]]));
        assert_ne!(cluster_id(ids), cluster_id([ids[0]]));
    }
}
