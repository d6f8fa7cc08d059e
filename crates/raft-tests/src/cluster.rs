//! A cluster of real members: started, killed, stopped and started again as a test wants.
//!
//! * Members run with short timeouts, so that an election takes a fraction of a second.
//! * Ports stay those of the cluster while members are dead; a start that loses a port to a
//!   stranger is made again with others.
//! * When a test fails, the last words of every member are shown. A member that panicked fails the
//!   test, whatever the test saw.
//!
//! Read next: `load.rs`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use raft_api::etcdserverpb::StatusRequest;
use raft_server::config::Config;
use tempfile::TempDir;

use crate::client::Client;
use crate::http::http;
use crate::ports::Ports;
use crate::process::{Log, Raftd};
use crate::proxy::{Network, Route};
use crate::wait::eventually;

/// What a cluster is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many members. Default 3.
    pub members: usize,
    /// `--heartbeat-interval`. Default 50 ms.
    pub heartbeat_ms: u32,
    /// `--election-timeout`. Default 400 ms.
    pub election_ms: u32,
    /// `--initial-cluster-token`.
    pub token: String,
    /// Whether peers reach each other through a [`Network`].
    pub is_proxied: bool,
    /// Flags beyond these.
    pub flags: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            members: 3,
            heartbeat_ms: 50,
            election_ms: 400,
            token: "stories".to_owned(),
            is_proxied: false,
            flags: Vec::new(),
        }
    }
}

/// Members as child processes, their ports and their directories.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    ports: Ports,
    dir: TempDir,
    members: Vec<Member>,
    network: Option<Network>,
}

#[derive(Debug)]
struct Member {
    log: Log,
    process: Option<Raftd>,
    /// Whether it belongs to the cluster from the beginning.
    is_founder: bool,
    /// Flags of its own; the last of equal flags counts.
    flags: Vec<String>,
}

impl Member {
    fn new(is_founder: bool) -> Self {
        Self { log: Log::new(), process: None, is_founder, flags: Vec::new() }
    }
}

/// Why a cluster did not come up.
#[derive(Debug)]
enum NotUp {
    /// A stranger took a port between the look and the start.
    PortLost,
    /// Something that another attempt would not change.
    Failed(String),
}

/// Starts with lost ports before something else must be wrong.
const ATTEMPTS_MAX: usize = 5;

impl Cluster {
    /// Starts this many members and waits until all are ready.
    pub async fn of(members: usize) -> Self {
        Self::start(Settings { members, ..Settings::default() }).await
    }

    /// Starts all members and waits until they are ready.
    pub async fn start(settings: Settings) -> Self {
        for _ in 0..ATTEMPTS_MAX {
            let mut cluster = Self::prepare(settings.clone());
            match cluster.bring_up().await {
                Ok(()) => return cluster,
                Err(NotUp::PortLost) => {}
                Err(NotUp::Failed(why)) => panic!("{why}"),
            }
        }
        panic!("ports were lost {ATTEMPTS_MAX} times");
    }

    /// A cluster without a running member.
    pub fn prepare(settings: Settings) -> Self {
        Self {
            members: (0..settings.members).map(|_| Member::new(true)).collect(),
            ports: Ports::lease(),
            dir: tempfile::tempdir().expect("a directory can be made"),
            network: None,
            settings,
        }
    }

    async fn bring_up(&mut self) -> Result<(), NotUp> {
        if self.settings.is_proxied {
            let network = Network::start(self.routes()).await;
            self.network = Some(network.map_err(|error| {
                if error.kind() == io::ErrorKind::AddrInUse {
                    NotUp::PortLost
                } else {
                    NotUp::Failed(format!("the proxies: {error}"))
                }
            })?);
        }
        for member in 0..self.members.len() {
            self.launch(member);
        }
        for member in 0..self.members.len() {
            self.wait_ready(member).await?;
        }
        Ok(())
    }

    fn routes(&self) -> Vec<Route> {
        let route = |member| Route {
            id: self.member_id(member),
            proxy: self.ports.proxy(member),
            member: self.ports.peer(member),
        };
        (0..self.members.len()).map(route).collect()
    }

    /// A place for one more member, which joins: it is told of the founders and itself.
    pub fn add_place(&mut self) -> usize {
        self.members.push(Member::new(false));
        self.members.len() - 1
    }

    /// Gives a member flags that count more than its other ones, from its next start on.
    pub fn set_flags(&mut self, member: usize, flags: &[String]) {
        self.members[member].flags = flags.to_vec();
    }

    /// How many members there are, dead or alive.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never: a cluster has members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The name of a member.
    pub fn name(&self, member: usize) -> String {
        format!("n{}", member + 1)
    }

    /// The id of a member, computed from its flags as the member itself does.
    pub fn member_id(&self, member: usize) -> u64 {
        self.config(member).member_id().get()
    }

    /// The id of the cluster, computed from a member's flags as the member itself does.
    pub fn cluster_id(&self, member: usize) -> u64 {
        self.config(member).cluster_id()
    }

    fn config(&self, member: usize) -> Config {
        Config::parse(&self.arguments(member), &[]).expect("these flags are right")
    }

    /// The ports of this cluster.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The directory of the cluster, for a test's own files too.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where a member keeps its data.
    pub fn data_dir(&self, member: usize) -> PathBuf {
        self.dir.path().join(self.name(member))
    }

    /// Where clients reach a member.
    pub fn url(&self, member: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports.client(member))
    }

    /// Where clients reach the members.
    pub fn urls(&self) -> Vec<String> {
        (0..self.len()).map(|member| self.url(member)).collect()
    }

    /// A client of one member.
    pub fn client(&self, member: usize) -> Client {
        Client::new(&self.url(member))
    }

    /// Where peers reach a member.
    pub fn peer_url(&self, member: usize) -> String {
        let is_proxied = self.settings.is_proxied;
        let port = if is_proxied { self.ports.proxy(member) } else { self.ports.peer(member) };
        format!("http://127.0.0.1:{port}")
    }

    /// The flags of a member.
    pub fn arguments(&self, member: usize) -> Vec<String> {
        let cluster: Vec<String> = (0..self.len())
            .filter(|other| self.members[*other].is_founder || *other == member)
            .map(|other| format!("{}={}", self.name(other), self.peer_url(other)))
            .collect();
        let mut arguments = vec![
            format!("--name={}", self.name(member)),
            format!("--data-dir={}", self.data_dir(member).display()),
            format!("--listen-client-urls={}", self.url(member)),
            format!("--advertise-client-urls={}", self.url(member)),
            format!("--listen-peer-urls=http://127.0.0.1:{}", self.ports.peer(member)),
            format!("--initial-advertise-peer-urls={}", self.peer_url(member)),
            format!("--initial-cluster={}", cluster.join(",")),
            format!("--initial-cluster-token={}", self.settings.token),
            format!("--heartbeat-interval={}", self.settings.heartbeat_ms),
            format!("--election-timeout={}", self.settings.election_ms),
        ];
        if !self.members[member].is_founder {
            arguments.push("--initial-cluster-state=existing".to_owned());
        }
        arguments.extend(self.settings.flags.iter().cloned());
        arguments.extend(self.members[member].flags.iter().cloned());
        arguments
    }

    /// What a member said, over all its lives.
    pub fn log(&self, member: usize) -> &Log {
        &self.members[member].log
    }

    /// The network between the members.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the settings ask for a network")
    }

    /// The process of a running member.
    pub fn process(&mut self, member: usize) -> &mut Raftd {
        self.members[member].process.as_mut().expect("the member runs")
    }

    /// Starts a member that does not run, without waiting for it.
    pub fn launch(&mut self, member: usize) {
        let arguments = self.arguments(member);
        let Member { log, process, .. } = &mut self.members[member];
        assert!(process.is_none(), "n{} runs already", member + 1);
        *process = Some(Raftd::start(&arguments, log));
    }

    /// Starts a member that does not run, and waits until it is ready.
    pub async fn restart(&mut self, member: usize) {
        self.launch(member);
        self.ready(member).await;
    }

    /// Waits until a member is ready: it has a leader, and all that was committed.
    pub async fn ready(&mut self, member: usize) {
        if let Err(why) = self.wait_ready(member).await {
            panic!("{why:?}");
        }
    }

    async fn wait_ready(&mut self, member: usize) -> Result<(), NotUp> {
        let (name, port) = (self.name(member), self.ports.client(member));
        let Member { log, process, .. } = &mut self.members[member];
        let process = process.as_mut().expect("the member was started");
        let what = format!("{name} is ready");
        let ready = eventually(&what, || async move {
            match http(port, "GET", "/readyz").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.body),
                Err(error) => Err(error.to_string()),
            }
        });
        let status = tokio::select! {
            () = ready => return Ok(()),
            status = process.end() => status,
        };
        match log.find("Address already in use") {
            Some(_) => Err(NotUp::PortLost),
            None => Err(NotUp::Failed(format!("{name} ended with {status}:\n{}", log.tail()))),
        }
    }

    /// Kills a member with SIGKILL.
    pub async fn kill(&mut self, member: usize) {
        let process = self.members[member].process.take().expect("the member runs");
        process.kill().await;
    }

    /// Kills all running members with SIGKILL, before waiting for any to be gone.
    pub async fn kill_all(&mut self) {
        let processes = self.members.iter_mut().filter_map(|member| member.process.take());
        let mut killed = tokio::task::JoinSet::new();
        for process in processes {
            killed.spawn(process.kill());
        }
        killed.join_all().await;
    }

    /// Stops a member with SIGTERM; gives how it ended.
    pub async fn stop(&mut self, member: usize) -> ExitStatus {
        let mut process = self.members[member].process.take().expect("the member runs");
        process.terminate();
        process.ended().await
    }

    /// Takes note of members that ended by themselves or by a signal of the test's own.
    pub fn forget_ended(&mut self) {
        for member in &mut self.members {
            if member.process.as_mut().is_some_and(|process| process.exited().is_some()) {
                member.process = None;
            }
        }
    }

    /// Waits until a member leads with the others following it; gives its place.
    pub async fn leader(&self) -> usize {
        let running = (0..self.len()).filter(|member| self.members[*member].process.is_some());
        let clients: Vec<(usize, Client)> =
            running.map(|member| (member, self.client(member))).collect();
        eventually("all running members agree on a leader", || async {
            let (mut leaders, mut leader) = (Vec::new(), None);
            for (member, client) in &clients {
                let status = client.status(StatusRequest {}).await?;
                leaders.push(status.leader);
                if status.header.is_some_and(|header| header.member_id == status.leader) {
                    leader = Some(*member);
                }
            }
            leaders.dedup();
            let agreed = leader.filter(|_| leaders.len() == 1);
            agreed.ok_or_else(|| raft_api::tonic::Status::not_found(format!("{leaders:x?}")))
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (number, member) in self.members.iter().enumerate() {
                self.show(number, &member.log);
            }
            return;
        }
        for (number, member) in self.members.iter().enumerate() {
            let panicked = member.log.find("panicked at");
            assert!(panicked.is_none(), "n{} panicked:\n{}", number + 1, member.log.tail());
        }
    }
}

impl Cluster {
    #[expect(clippy::print_stderr, reason = "what a failed test has to tell")]
    fn show(&self, member: usize, log: &Log) {
        eprintln!("--- the last words of {}\n{}", self.name(member), log.tail());
    }
}
