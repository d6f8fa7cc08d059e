//! Who the members are and where: names, ports, directories, remembered from start to start.
//!
//! Client ports are consecutive from a base, and each peer port lies a hundred above its
//! client port: 2379, 2380, 2381 with 2479, 2480, 2481. They are chosen once and written down in
//! `cluster.json`, because a member's id is made from its peer URL. A lock keeps a second
//! supervisor away. Read next: `cluster/process.rs`.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::ClusterError;
use super::process::Program;
use crate::identity::MemberId;

/// The members of a cluster and their directory, which is locked as long as this lives.
#[derive(Debug)]
pub struct Layout {
    /// The directory of the whole cluster.
    pub dir: PathBuf,
    /// Keeps clusters with equal ports apart.
    pub token: String,
    /// The members, in order of their names.
    pub members: Vec<MemberSpec>,
    /// How many of them make the cluster; those behind them join it later. All, unless somebody
    /// changes it.
    pub founders: usize,
    /// Whether the cluster was here before.
    pub is_known: bool,
    /// Held, not read.
    _lock: File,
}

/// One member: its name and its two ports on 127.0.0.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSpec {
    /// Its name, such as n1.
    pub name: String,
    /// Where it serves clients.
    pub client_port: u16,
    /// Where it talks to its peers.
    pub peer_port: u16,
}

impl MemberSpec {
    /// Its URL for clients.
    pub fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// Its URL for peers.
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }
}

/// What is wanted of a cluster; a known one only has to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How many members; as many as there are, or three.
    pub nodes: Option<usize>,
    /// The first client port; the one it has, or the first free one from `search_from` on.
    pub base_port: Option<u16>,
    /// Where the search for free ports begins.
    pub search_from: u16,
}

impl Layout {
    /// Opens the cluster of a directory, or plans a new one there.
    ///
    /// # Errors
    ///
    /// The directory is in use, cannot be written, or holds another cluster than wanted; ports are
    /// taken.
    pub fn open(
        dir: &Path,
        wanted: Wanted,
        is_free: &dyn Fn(u16) -> bool,
    ) -> Result<Self, ClusterError> {
        fs::create_dir_all(dir).map_err(|source| file("create", dir, source))?;
        let lock = lock(dir)?;
        let record = dir.join(RECORD);
        let known = match fs::read_to_string(&record) {
            Ok(text) => Some(
                decode(&text)
                    .map_err(|problem| ClusterError::BadRecord { path: record.clone(), problem })?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(file("read", &record, source)),
        };
        let is_known = known.is_some();
        let (token, members) = match known {
            Some((token, members)) => {
                agree(dir, &members, wanted)?;
                check_free(&members, is_free, "stop it, or choose another --data-dir")?;
                (token, members)
            }
            None => (TOKEN.to_owned(), plan(wanted, is_free)?),
        };
        if !is_known {
            write_whole(&record, &encode(&token, &members))?;
        }
        let founders = members.len();
        Ok(Self { dir: dir.to_owned(), token, members, founders, is_known, _lock: lock })
    }

    /// Where a member keeps its data.
    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.dir.join(&self.members[index].name).join("data")
    }

    /// Where a member's log lines are.
    pub fn log(&self, index: usize) -> PathBuf {
        self.dir.join(&self.members[index].name).join("log")
    }

    /// The ids of all members.
    pub fn member_ids(&self) -> Vec<MemberId> {
        let id = |member: &MemberSpec| MemberId::of([member.peer_url()], &self.token);
        self.members.iter().map(id).collect()
    }

    /// The client URLs of all members, as `--endpoints` takes them.
    pub fn endpoints(&self) -> String {
        self.members.iter().map(MemberSpec::client_url).collect::<Vec<_>>().join(",")
    }

    /// The flags that start a member.
    pub fn arguments(&self, index: usize, program: &Program) -> Vec<String> {
        let member = &self.members[index];
        let is_founder = index < self.founders;
        let joins = (!is_founder).then_some(member);
        let cluster = self.members.iter().take(self.founders).chain(joins);
        let cluster = cluster.map(|member| format!("{}={}", member.name, member.peer_url()));
        let mut arguments = vec![
            format!("--name={}", member.name),
            format!("--data-dir={}", self.data_dir(index).display()),
            format!("--listen-client-urls={}", member.client_url()),
            format!("--advertise-client-urls={}", member.client_url()),
            format!("--listen-peer-urls={}", member.peer_url()),
            format!("--initial-advertise-peer-urls={}", member.peer_url()),
            format!("--initial-cluster={}", cluster.collect::<Vec<_>>().join(",")),
            format!("--initial-cluster-token={}", self.token),
            format!("--initial-cluster-state={}", if is_founder { "new" } else { "existing" }),
        ];
        if program.is_raftd {
            arguments.push("--log-format=text".to_owned());
        }
        arguments
    }
}

/// Whether a port of this machine can be listened on now.
pub fn is_port_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Locks the directory for this process and writes down who holds it.
fn lock(dir: &Path) -> Result<File, ClusterError> {
    let path = dir.join("lock");
    let error = |source| file("open", &path, source);
    let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut lock = options.map_err(error)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message; an empty one says enough.
            _ = lock.read_to_string(&mut holder);
            let holder = holder.trim().to_owned();
            return Err(ClusterError::Busy { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(file("lock", &path, source)),
    }
    lock.set_len(0).and_then(|()| lock.rewind()).map_err(error)?;
    writeln!(lock, "{}", std::process::id()).map_err(error)?;
    Ok(lock)
}

/// Compares what is there with what is wanted.
fn agree(dir: &Path, members: &[MemberSpec], wanted: Wanted) -> Result<(), ClusterError> {
    let found = members.len();
    if let Some(nodes) = wanted.nodes.filter(|nodes| *nodes != found) {
        return Err(ClusterError::OtherSize { dir: dir.to_owned(), found, wanted: nodes });
    }
    let found = members[0].client_port;
    if let Some(base) = wanted.base_port.filter(|base| *base != found) {
        return Err(ClusterError::OtherPorts { dir: dir.to_owned(), found, wanted: base });
    }
    Ok(())
}

fn plan(wanted: Wanted, is_free: &dyn Fn(u16) -> bool) -> Result<Vec<MemberSpec>, ClusterError> {
    let nodes = wanted.nodes.unwrap_or(NODES);
    if let Some(base) = wanted.base_port {
        let members = members(base, nodes).ok_or(ClusterError::NoPorts { from: base })?;
        check_free(&members, is_free, "stop it, or choose another --base-port")?;
        return Ok(members);
    }
    let mut base = wanted.search_from;
    for _ in 0..SEARCHES_MAX {
        let Some(members) = members(base, nodes) else { break };
        if check_free(&members, is_free, "").is_ok() {
            return Ok(members);
        }
        let Some(next) = base.checked_add(SEARCH_STEP) else { break };
        base = next;
    }
    Err(ClusterError::NoPorts { from: wanted.search_from })
}

/// Members with consecutive client ports; `None` where ports end.
fn members(base: u16, nodes: usize) -> Option<Vec<MemberSpec>> {
    let member = |number: u16| {
        let client_port = base.checked_add(number - 1)?;
        let peer_port = client_port.checked_add(PEER_PORT_OFFSET)?;
        Some(MemberSpec { name: format!("n{number}"), client_port, peer_port })
    };
    (1..=u16::try_from(nodes).ok()?).map(member).collect()
}

fn check_free(
    members: &[MemberSpec],
    is_free: &dyn Fn(u16) -> bool,
    remedy: &str,
) -> Result<(), ClusterError> {
    for member in members {
        for (port, whom) in [(member.client_port, "clients"), (member.peer_port, "peers")] {
            if !is_free(port) {
                let purpose = format!("where {} serves its {whom}", member.name);
                let remedy = remedy.to_owned();
                return Err(ClusterError::PortTaken { port, purpose, remedy });
            }
        }
    }
    Ok(())
}

fn encode(token: &str, members: &[MemberSpec]) -> String {
    let member = |member: &MemberSpec| {
        json!({
            "name": member.name,
            "client_port": member.client_port,
            "peer_port": member.peer_port,
        })
    };
    let members: Vec<Value> = members.iter().map(member).collect();
    format!("{:#}\n", json!({ "format": FORMAT, "token": token, "members": members }))
}

fn decode(text: &str) -> Result<(String, Vec<MemberSpec>), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if value["format"] != FORMAT {
        return Err(format!("its format is {}, expected {FORMAT}", value["format"]));
    }
    let token = value["token"].as_str().ok_or("it has no token")?.to_owned();
    let port = |member: &Value, name: &str| {
        let port = member[name].as_u64().and_then(|port| u16::try_from(port).ok());
        port.ok_or_else(|| format!("a member has no {name}"))
    };
    let mut members = Vec::new();
    for member in value["members"].as_array().into_iter().flatten() {
        let name = member["name"].as_str().ok_or("a member has no name")?.to_owned();
        let (client_port, peer_port) = (port(member, "client_port")?, port(member, "peer_port")?);
        members.push(MemberSpec { name, client_port, peer_port });
    }
    if members.is_empty() { Err("it has no members".to_owned()) } else { Ok((token, members)) }
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<(), ClusterError> {
    let new = path.with_extension("new");
    let written = File::create(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|source| file("write", path, source))
}

fn file(action: &'static str, path: &Path, source: io::Error) -> ClusterError {
    ClusterError::File { action, path: path.to_owned(), source }
}

/// How far a member's peer port lies above its client port.
const PEER_PORT_OFFSET: u16 = 100;

/// The name of the record of members and ports.
const RECORD: &str = "cluster.json";

/// The version of that record.
const FORMAT: u64 = 1;

/// The token of every cluster made here; other clusters of this machine have other ports.
const TOKEN: &str = "raftd-dev";

/// Tolerates the failure of one.
const NODES: usize = 3;

/// Distance between two tries for free ports, more than the largest cluster here.
const SEARCH_STEP: u16 = 10;

/// Tries for free ports. Nine blocks fit below the peer ports of the first; more are taken only
/// where something else is wrong.
const SEARCHES_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const WANTED: Wanted = Wanted { nodes: None, base_port: None, search_from: 2379 };

    fn ports(layout: &Layout) -> Vec<(u16, u16)> {
        layout.members.iter().map(|member| (member.client_port, member.peer_port)).collect()
    }

    fn without(taken: &[u16]) -> impl Fn(u16) -> bool {
        let taken: BTreeSet<u16> = taken.iter().copied().collect();
        move |port| !taken.contains(&port)
    }

    /// Client ports are consecutive from 2379, peer ports lie a hundred above; taken ones move all.
    #[test]
    fn free_ports_are_chosen_in_a_block() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str, wanted, taken: &[u16]| {
            Layout::open(&dir.path().join(name), wanted, &without(taken))
        };
        let layout = open("a", WANTED, &[]).unwrap();
        assert_eq!(ports(&layout), [(2379, 2479), (2380, 2480), (2381, 2481)]);
        assert!(!layout.is_known);
        let layout = open("b", WANTED, &[2481, 2390]).unwrap();
        assert_eq!(ports(&layout)[0], (2399, 2499), "both 2379 and 2389 have a neighbour");
        let nine = Wanted { nodes: Some(9), base_port: Some(7000), ..WANTED };
        assert_eq!(open("c", nine, &[]).unwrap().members.len(), 9);
        assert_eq!(
            open("d", nine, &[7108]).unwrap_err().to_string(),
            "port 7108, where n9 serves its peers, is taken by another process; stop it, or choose \
             another --base-port"
        );
        let end = Wanted { base_port: Some(65500), ..WANTED };
        assert!(open("e", end, &[]).unwrap_err().to_string().starts_with("no free ports from"));
        let full = Layout::open(&dir.path().join("f"), WANTED, &|_| false).unwrap_err();
        assert!(full.to_string().starts_with("no free ports from 2379 on"), "{full}");
    }

    /// Members beyond the founders join, and are told of the founders and themselves.
    #[test]
    fn who_is_no_founder_joins() {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::open(dir.path(), WANTED, &|_| true).unwrap();
        let program = Program { path: "raftd".into(), is_raftd: true };
        let has = |layout: &Layout, index, flag: &str| {
            layout.arguments(index, &program).iter().any(|argument| argument == flag)
        };
        assert!((0..3).all(|index| has(&layout, index, "--initial-cluster-state=new")));
        layout.founders = 1;
        let alone = "--initial-cluster=n1=http://127.0.0.1:2479";
        assert!(has(&layout, 0, alone) && has(&layout, 0, "--initial-cluster-state=new"));
        assert!(has(&layout, 2, &format!("{alone},n3=http://127.0.0.1:2481")));
        assert!(has(&layout, 2, "--initial-cluster-state=existing"));
    }

    /// A second start finds the same members, and nobody else gets the directory meanwhile.
    #[test]
    fn a_directory_remembers_its_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let first = Layout::open(dir.path(), WANTED, &without(&[2379])).unwrap();
        let members = first.members.clone();
        let busy = Layout::open(dir.path(), WANTED, &|_| true).unwrap_err().to_string();
        assert!(busy.contains(&format!("(process {})", std::process::id())), "{busy}");
        assert!(busy.contains("a cluster already runs on"), "{busy}");
        drop(first);

        let again = Layout::open(dir.path(), WANTED, &|_| true).unwrap();
        assert!(again.is_known);
        assert_eq!(again.members, members, "the first free ports of today do not matter");
    }

    /// Another size, other ports, taken ports and a damaged record are told apart.
    #[test]
    fn a_known_cluster_is_not_bent() {
        let dir = tempfile::tempdir().unwrap();
        drop(Layout::open(dir.path(), WANTED, &|_| true).unwrap());
        let refused = |wanted, taken: &[u16]| {
            Layout::open(dir.path(), wanted, &without(taken)).unwrap_err().to_string()
        };
        let text = refused(Wanted { nodes: Some(5), ..WANTED }, &[]);
        assert!(text.contains("holds a cluster of 3 members, not of 5; start it with --nodes=3"));
        let text = refused(Wanted { base_port: Some(9000), ..WANTED }, &[]);
        assert!(text.contains("client ports begin at 2379, not at 9000"), "{text}");
        let text = refused(WANTED, &[2480]);
        assert!(text.starts_with("port 2480, where n2 serves its peers, is taken"), "{text}");
        assert!(text.ends_with("stop it, or choose another --data-dir"), "{text}");

        for (record, problem) in [
            ("", "EOF while parsing"),
            ("{\"format\":2}", "its format is 2, expected 1"),
            ("{\"format\":1,\"token\":\"t\",\"members\":[]}", "it has no members"),
            ("{\"format\":1,\"token\":\"t\",\"members\":[{\"name\":\"n1\"}]}", "no client_port"),
        ] {
            fs::write(dir.path().join(RECORD), record).unwrap();
            let text = refused(WANTED, &[]);
            assert!(text.contains(problem), "{text}");
        }
    }

    /// The flags of a member are a right command line of the server, and agree with its id.
    #[test]
    fn members_are_started_with_right_flags() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path(), WANTED, &|_| true).unwrap();
        let program = Program { path: "raftd".into(), is_raftd: true };
        for (index, id) in layout.member_ids().into_iter().enumerate() {
            let config = crate::config::Config::parse(&layout.arguments(index, &program), &[]);
            let config = config.unwrap();
            assert_eq!(config.member_id(), id);
            assert_eq!(config.data_dir, layout.data_dir(index));
            assert_eq!(config.initial_cluster.len(), 3);
        }
        assert_eq!(
            layout.endpoints(),
            "http://127.0.0.1:2379,http://127.0.0.1:2380,http://127.0.0.1:2381"
        );
    }
}
