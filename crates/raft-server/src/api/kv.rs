//! The KV service: Range, Put, `DeleteRange`, Txn, Compact.

use std::time::Duration;

use raft_api::etcdserverpb as pb;
use raft_api::etcdserverpb::kv_server::Kv;
use raft_api::tonic::codegen::tokio_stream;
use raft_api::tonic::{Request, Response, Status, async_trait};
use raft_kv::{Command, CompactionRequest, Response as Answer};

use super::{Api, unsupported};
use crate::convert;

/// A stream of answers that is never begun.
type Never<T> = tokio_stream::Empty<Result<T, Status>>;

#[async_trait]
impl Kv for Api {
    type RangeStreamStream = Never<pb::RangeStreamResponse>;

    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let request = request.into_inner();
        let range = convert::range(&request);
        range.validate().map_err(|error| convert::refused(&error))?;
        self.0.metrics.range.inc();
        if !request.serializable {
            self.0.linearizable().await?;
        }
        let answer = self.0.store.range(&range).map_err(|error| convert::refused(&error))?;
        let (revision, mut response) = convert::range_response(answer);
        response.header = self.0.header(revision);
        Ok(Response::new(response))
    }

    async fn range_stream(
        &self,
        _: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(unsupported("RangeStream"))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let request = request.into_inner();
        let command = Command::Put(convert::put(&request));
        command.validate(&self.0.limits()).map_err(|error| convert::refused(&error))?;
        self.0.metrics.put.inc();
        let Answer::Put(answer) = self.0.propose(&command, &request).await? else {
            return Err(mismatched());
        };
        let (revision, mut response) = convert::put_response(answer);
        response.header = self.0.header(revision);
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        let command = Command::DeleteRange(convert::delete_range(&request));
        command.validate(&self.0.limits()).map_err(|error| convert::refused(&error))?;
        self.0.metrics.delete.inc();
        let Answer::DeleteRange(answer) = self.0.propose(&command, &request).await? else {
            return Err(mismatched());
        };
        let (revision, mut response) = convert::delete_response(answer);
        response.header = self.0.header(revision);
        Ok(Response::new(response))
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let request = request.into_inner();
        let txn = convert::txn(&request)?;
        let read = txn.is_read_only().then(|| txn.clone());
        let command = Command::Txn(txn);
        command.validate(&self.0.limits()).map_err(|error| convert::refused(&error))?;
        self.0.metrics.txn.inc();
        let answer = if let Some(read) = read {
            if !is_serializable(&request) {
                self.0.linearizable().await?;
            }
            Answer::Txn(self.0.store.read_txn(&read).map_err(|error| convert::refused(&error))?)
        } else {
            self.0.propose(&command, &request).await?
        };
        let Answer::Txn(answer) = answer else { return Err(mismatched()) };
        let (revision, mut response) = convert::txn_response(answer);
        response.header = self.0.header(revision);
        Ok(Response::new(response))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let request = request.into_inner();
        let pb::CompactionRequest { revision, physical } = request;
        let command = Command::Compact(CompactionRequest { revision, physical });
        let Answer::Compact(answer) = self.0.propose(&command, &request).await? else {
            return Err(mismatched());
        };
        while physical && self.0.store.stats().reclaimable_changes > 0 {
            // Reclaimed piece by piece, so that commands do not wait for long (CMP-4).
            self.0.store.reclaim(RECLAIM_CHANGES);
            tokio::time::sleep(RECLAIM_PAUSE).await;
        }
        let header = self.0.header(answer.revision);
        Ok(Response::new(pb::CompactionResponse { header }))
    }
}

/// Changes reclaimed at once for who waits for it: some hundred microseconds.
const RECLAIM_CHANGES: usize = 1000;
/// The pause between two such pieces.
const RECLAIM_PAUSE: Duration = Duration::from_millis(1);

/// Whether every range of a read-only transaction may be answered locally (TXN-11). One without any
/// operation is not: its compares ask for the truth.
fn is_serializable(request: &pb::TxnRequest) -> bool {
    let mut ops = request.success.iter().chain(&request.failure).peekable();
    ops.peek().is_some()
        && ops.all(|op| match &op.request {
            Some(pb::request_op::Request::RequestRange(range)) => range.serializable,
            Some(_) | None => false,
        })
}

/// The store answered another question than it was asked: a bug, said aloud.
fn mismatched() -> Status {
    Status::internal("etcdserver: the store's answer does not belong to the request")
}
