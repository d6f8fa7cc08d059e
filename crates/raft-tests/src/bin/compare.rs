//! Puts per second and latency of raftd beside etcd: the same flags, the same load, the same run.
//!
//! ```text
//! cargo run --release -p raft-tests --bin compare -- --raftd PATH --etcd PATH
//!     [--clients 1,64,256] [--connections 100] [--seconds 5] [--rounds 2] [--bytes 256]
//! ```
//!
//! Each system runs three members on this machine with their defaults (sync before every answer).
//! Both clusters are up all the time; the load goes to one at a time, in slices A B B A, so that a
//! disturbance of the machine hits both. Closed loop: a client sends when it was answered. Clients
//! share at most `--connections` connections, spread over the members. The load generator shares
//! the machine's cores with the members, so figures are comparable with each other only.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports")]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with two decimals")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use raft_api::etcdserverpb::kv_client::KvClient;
use raft_api::etcdserverpb::{PutRequest, RangeRequest};
use raft_api::tonic::transport::{Channel, Endpoint};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let directory = tempfile::tempdir()?;
    let mut systems = Vec::new();
    for (name, binary, port) in [("raftd", &options.raftd, 23_790), ("etcd", &options.etcd, 24_790)]
    {
        eprintln!("starting {name}");
        systems.push(System::start(name, binary, &directory.path().join(name), port).await?);
    }
    println!("| clients | system | puts/s | p50 ms | p99 ms | server CPU us/put | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for &clients in &options.clients {
        let mut totals = [Totals::default(), Totals::default()];
        for round in 0..options.rounds {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for system in order {
                let slice = systems[system].slice(clients, &options).await?;
                totals[system].add(slice);
            }
        }
        report(clients, &systems, &mut totals);
    }
    for system in &systems {
        eprintln!(
            "{}: {} MiB resident in three members",
            system.name,
            system.resident_kib() / 1024
        );
    }
    Ok(())
}

struct Options {
    raftd: PathBuf,
    etcd: PathBuf,
    clients: Vec<usize>,
    connections: usize,
    seconds: u64,
    rounds: usize,
    bytes: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            raftd: "target/release/raftd".into(),
            etcd: "etcd".into(),
            clients: vec![1, 64, 256],
            connections: 100,
            seconds: 5,
            rounds: 4,
            bytes: 256,
        };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--raftd" => options.raftd = value.into(),
                "--etcd" => options.etcd = value.into(),
                "--clients" => {
                    options.clients =
                        value.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
                }
                "--connections" => options.connections = value.parse()?,
                "--seconds" => options.seconds = value.parse()?,
                "--rounds" => options.rounds = value.parse()?,
                "--bytes" => options.bytes = value.parse()?,
                other => return Err(format!("unknown flag {other}").into()),
            }
        }
        Ok(options)
    }
}

/// Three members of one system.
struct System {
    name: &'static str,
    members: Vec<Child>,
    endpoints: Vec<String>,
}

impl System {
    async fn start(name: &'static str, binary: &Path, dir: &Path, port: u16) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = (0..3).map(|i| format!("m{i}={}", url(port + 10 + i))).collect();
        let mut members = Vec::new();
        let endpoints: Vec<String> = (0..3).map(|i| url(port + i)).collect();
        for i in 0..3 {
            let log = std::fs::File::create(dir.join(format!("m{i}.log")))?;
            let child = Command::new(binary)
                .arg(format!("--name=m{i}"))
                .arg(format!("--data-dir={}", dir.join(format!("m{i}")).display()))
                .arg(format!("--listen-client-urls={}", url(port + i)))
                .arg(format!("--advertise-client-urls={}", url(port + i)))
                .arg(format!("--listen-peer-urls={}", url(port + 10 + i)))
                .arg(format!("--initial-advertise-peer-urls={}", url(port + 10 + i)))
                .arg(format!("--initial-cluster={}", cluster.join(",")))
                .arg("--log-level=warn")
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .map_err(|error| format!("{}: {error}", binary.display()))?;
            members.push(child);
        }
        let system = Self { name, members, endpoints };
        system.wait_until_ready().await?;
        Ok(system)
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut attempts = tokio::time::interval(Duration::from_millis(100));
        for endpoint in &self.endpoints {
            loop {
                if let Ok(channel) = Endpoint::new(endpoint.clone())?.connect().await {
                    let range = RangeRequest { key: "k".into(), ..RangeRequest::default() };
                    if KvClient::new(channel).range(range).await.is_ok() {
                        break;
                    }
                }
                if Instant::now() > deadline {
                    return Err(format!("{} at {endpoint} did not become ready", self.name).into());
                }
                attempts.tick().await;
            }
        }
        Ok(())
    }

    async fn channels(&self, count: usize) -> Result<Vec<Channel>> {
        let mut channels = Vec::new();
        for i in 0..count {
            let endpoint = self.endpoints[i % self.endpoints.len()].clone();
            let endpoint = Endpoint::new(endpoint)?.tcp_nodelay(true);
            channels.push(endpoint.connect().await?);
        }
        Ok(channels)
    }

    /// One slice of load, after a short warm-up of the same load.
    async fn slice(&self, clients: usize, options: &Options) -> Result<Totals> {
        let channels = self.channels(clients.min(options.connections)).await?;
        let warm = Instant::now() + Duration::from_millis(500);
        let end = warm + Duration::from_secs(options.seconds);
        let mut running = tokio::task::JoinSet::new();
        for client in 0..clients {
            let channel = channels[client % channels.len()].clone();
            running.spawn(put_until(KvClient::new(channel), client, options.bytes, warm, end));
        }
        tokio::time::sleep_until(warm).await;
        let before = self.cpu_ticks();
        let mut totals = Totals { seconds: options.seconds as f64, ..Totals::default() };
        while let Some(latencies) = running.join_next().await {
            totals.micros.extend(latencies??);
        }
        totals.cpu_ticks = self.cpu_ticks().saturating_sub(before);
        Ok(totals)
    }

    /// User and system time of the members, in ticks of 10 ms.
    fn cpu_ticks(&self) -> u64 {
        let ticks = |child: &Child| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
            let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        };
        self.members.iter().filter_map(ticks).sum()
    }

    fn resident_kib(&self) -> u64 {
        let resident = |child: &Child| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        self.members.iter().filter_map(resident).sum()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        for member in &mut self.members {
            // It may have ended by itself.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

async fn put_until(
    mut client: KvClient<Channel>,
    number: usize,
    bytes: usize,
    warm: Instant,
    end: Instant,
) -> Result<Vec<u32>> {
    let value = vec![b'v'; bytes];
    let mut latencies = Vec::new();
    for n in 0usize.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        let key = format!("key/{number:04}/{:06}", n % 1000);
        let put =
            PutRequest { key: key.into(), value: value.clone().into(), ..PutRequest::default() };
        client.put(put).await?;
        if begun >= warm {
            latencies.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
    Ok(latencies)
}

/// What was measured of one system at one number of clients.
#[derive(Default)]
struct Totals {
    micros: Vec<u32>,
    seconds: f64,
    cpu_ticks: u64,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.seconds += other.seconds;
        self.cpu_ticks += other.cpu_ticks;
    }

    fn rate(&self) -> f64 {
        self.micros.len() as f64 / self.seconds
    }

    fn percentile(&self, percent: usize) -> f64 {
        let last = self.micros.len().saturating_sub(1);
        let micros = self.micros.get(last * percent / 100).copied().unwrap_or_default();
        f64::from(micros) / 1000.0
    }

    fn cpu_micros(&self) -> f64 {
        self.cpu_ticks as f64 * 10_000.0 / self.micros.len().max(1) as f64
    }
}

fn report(clients: usize, systems: &[System], totals: &mut [Totals; 2]) {
    let ratio = totals[0].rate() / totals[1].rate();
    for (system, totals) in systems.iter().zip(totals) {
        totals.micros.sort_unstable();
        println!(
            "| {clients} | {} | {:.0} | {:.2} | {:.2} | {:.0} | {} |",
            system.name,
            totals.rate(),
            totals.percentile(50),
            totals.percentile(99),
            totals.cpu_micros(),
            if system.name == "raftd" { format!("{ratio:.2}") } else { String::new() }
        );
    }
}
