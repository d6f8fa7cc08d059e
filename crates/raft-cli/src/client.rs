//! Calls with failover: who is asked, how long, and when somebody else is asked instead.
//!
//! * A read goes on to the next endpoint if this one cannot be reached, does not answer or is
//!   `Unavailable`.
//! * A write goes on only if no connection came about. Once a request may have left this machine,
//!   its answer is the answer: whoever repeats a write must know what it does.
//!
//! Connections are made anew per command; there is nothing to keep. Read next: `error.rs`.

use core::time::Duration;

use raft_api::etcdserverpb::cluster_client::ClusterClient;
use raft_api::etcdserverpb::kv_client::KvClient;
use raft_api::etcdserverpb::maintenance_client::MaintenanceClient;
use raft_api::membership::membership_client::MembershipClient;
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::transport::{self, Channel};

use crate::args::Global;
use crate::endpoint::Endpoint;
use crate::error::{CallError, Effect, Failure, innermost};

/// The endpoints of a cluster and how patient to be with them.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    endpoints: Vec<Endpoint>,
    dial_timeout: Duration,
    command_timeout: Duration,
    is_timeout_given: bool,
}

impl Client {
    /// Takes endpoints and times from the command line.
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            endpoints: global.endpoints.clone(),
            dial_timeout: global.dial_timeout,
            command_timeout: global.command_timeout,
            is_timeout_given: global.is_timeout_given,
        }
    }

    /// The same client with other endpoints.
    pub(crate) fn with_endpoints(&self, endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints, ..self.clone() }
    }

    /// How long a command may take that has no limit of its own.
    pub(crate) fn time_limit(&self) -> Option<Duration> {
        self.is_timeout_given.then_some(self.command_timeout)
    }

    /// Calls one endpoint after the other until one answers.
    ///
    /// # Errors
    ///
    /// As [`read_from`](Self::read_from).
    pub(crate) async fn read<T>(
        &self,
        call: impl AsyncFn(Connection) -> Result<T, Status>,
    ) -> Result<T, CallError> {
        Ok(self.read_from(call).await?.1)
    }

    /// Calls one endpoint after the other until one answers; gives that one, too.
    ///
    /// An endpoint gets an equal share of the time that is left, so that one that hangs leaves time
    /// for the others; the last one gets all of the rest.
    pub(crate) async fn read_from<T>(
        &self,
        call: impl AsyncFn(Connection) -> Result<T, Status>,
    ) -> Result<(Endpoint, T), CallError> {
        let patience = Patience::new(self);
        let mut attempts = Vec::new();
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            let share = patience.share(number);
            let failure = match self.attempt(endpoint, share, &call).await {
                Ok(answer) => return Ok((endpoint.clone(), answer)),
                Err(failure) => failure,
            };
            let is_settled = !failure.is_worth_another_endpoint();
            attempts.push((endpoint.clone(), failure));
            if is_settled {
                break;
            }
        }
        Err(CallError { effect: Effect::Read, attempts })
    }

    /// Calls the first endpoint that can be reached, once.
    pub(crate) async fn write<T>(
        &self,
        call: impl AsyncFn(Connection) -> Result<T, Status>,
    ) -> Result<T, CallError> {
        self.once(Effect::Write, call).await
    }

    /// Calls the first endpoint that can be reached, once, to change the cluster itself.
    pub(crate) async fn change<T>(
        &self,
        call: impl AsyncFn(Connection) -> Result<T, Status>,
    ) -> Result<T, CallError> {
        self.once(Effect::Change, call).await
    }

    async fn once<T>(
        &self,
        effect: Effect,
        call: impl AsyncFn(Connection) -> Result<T, Status>,
    ) -> Result<T, CallError> {
        let patience = Patience::new(self);
        let mut attempts = Vec::new();
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            let failure = match self.connect(endpoint, patience.share(number)).await {
                Ok(connection) => match answer(patience.left(), call(connection)).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => {
                        attempts.push((endpoint.clone(), failure));
                        break;
                    }
                },
                Err(failure) => failure,
            };
            attempts.push((endpoint.clone(), failure));
        }
        Err(CallError { effect, attempts })
    }

    /// Calls every endpoint, all at once, each with the whole time. Answers come in the order of
    /// the endpoints, with the time each took.
    pub(crate) async fn each<T, F>(&self, call: fn(Connection) -> F) -> Vec<Asked<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        let ask = |endpoint: &Endpoint| {
            let (client, endpoint) = (self.clone(), endpoint.clone());
            tokio::spawn(async move {
                let start = Instant::now();
                let all = client.command_timeout;
                let connection = client.connect(&endpoint, all).await;
                let result = match connection {
                    Ok(connection) => {
                        answer(all.saturating_sub(start.elapsed()), call(connection)).await
                    }
                    Err(failure) => Err(failure),
                };
                Asked { endpoint, result, took: start.elapsed() }
            })
        };
        // First all begin, then each is waited for.
        let tasks: Vec<_> = self.endpoints.iter().map(ask).collect();
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            answers.push(task.await.expect("a task that asks neither panics nor is cancelled"));
        }
        answers
    }

    async fn attempt<T>(
        &self,
        endpoint: &Endpoint,
        share: Duration,
        call: &impl AsyncFn(Connection) -> Result<T, Status>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        let connection = self.connect(endpoint, share).await?;
        answer(share.saturating_sub(start.elapsed()), call(connection)).await
    }

    /// Connects now and not with the first request: only so it is known that nothing was sent.
    async fn connect(&self, endpoint: &Endpoint, most: Duration) -> Result<Connection, Failure> {
        let most = most.min(self.dial_timeout);
        let target = transport::Endpoint::from_shared(endpoint.uri())
            .map_err(|error| Failure::Dial(reason(&error)))?;
        match timeout(most, target.connect()).await {
            Ok(Ok(channel)) => Ok(Connection(channel)),
            Ok(Err(error)) => Err(Failure::Dial(reason(&error))),
            Err(_elapsed) => Err(Failure::DialTimeout(most)),
        }
    }
}

/// What one endpoint said, of several that were asked.
pub(crate) struct Asked<T> {
    pub(crate) endpoint: Endpoint,
    pub(crate) result: Result<T, Failure>,
    pub(crate) took: Duration,
}

/// A connection to one endpoint.
pub(crate) struct Connection(Channel);

impl Connection {
    /// The key-value service. A range may be as large as the server sends it.
    pub(crate) fn kv(self) -> KvClient<Channel> {
        KvClient::new(self.0).max_decoding_message_size(usize::MAX)
    }

    /// The cluster service.
    pub(crate) fn cluster(self) -> ClusterClient<Channel> {
        ClusterClient::new(self.0)
    }

    /// The maintenance service.
    pub(crate) fn maintenance(self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.0)
    }

    /// raftd's own service about the membership.
    pub(crate) fn membership(self) -> MembershipClient<Channel> {
        MembershipClient::new(self.0)
    }

    /// A second handle of the same connection, for a call after this one.
    pub(crate) fn again(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The time of one command and how it is shared.
struct Patience {
    deadline: Instant,
    endpoints: usize,
}

impl Patience {
    fn new(client: &Client) -> Self {
        Self {
            deadline: Instant::now() + client.command_timeout,
            endpoints: client.endpoints.len(),
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What endpoint `number`, counted from 0, may take if those after it shall get as much.
    fn share(&self, number: usize) -> Duration {
        let left = u32::try_from(self.endpoints - number).unwrap_or(u32::MAX);
        self.left() / left
    }
}

async fn answer<T>(
    most: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Failure> {
    match timeout(most, call).await {
        Ok(result) => result.map_err(|status| Failure::Status(Box::new(status))),
        Err(_elapsed) => Err(Failure::Timeout(most)),
    }
}

fn reason(error: &transport::Error) -> String {
    innermost(error).map_or_else(|| error.to_string(), ToString::to_string)
}
