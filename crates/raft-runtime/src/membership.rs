//! The part of the handle that changes who belongs to a group and who leads it.

use std::time::Duration;

use raft_core::{ChangeRequest, Membership, NodeId};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::error::{ChangeError, TransferError};
use crate::host::Event;
use crate::raft::Raft;
use crate::tickets::Refusal;

impl Raft {
    /// Changes the membership (§6, thesis §4) and waits until the last entry of the change is
    /// applied here. Returns the membership of then.
    ///
    /// Only a leader accepts changes. One that is new, or in the middle of another change, is asked
    /// again until the time limit.
    ///
    /// # Errors
    ///
    /// [`ChangeError`], whose [`outcome`](ChangeError::outcome) says whether it may have come
    /// about.
    pub async fn change_membership(
        &self,
        request: ChangeRequest,
    ) -> Result<Membership, ChangeError> {
        use raft_core::ChangeError as Reason;
        let deadline = self.deadline();
        loop {
            let asked = request.clone();
            let answer = self.ask(|ticket| Event::Change { request: asked, ticket });
            let Ok(ended) = timeout_at(deadline, answer).await else {
                return Err(ChangeError::TimedOut { after: self.spans.operation_timeout });
            };
            let reason = match ended {
                Ok(_) => return Ok(self.membership().await),
                Err(Refusal::Change(reason)) => reason,
                Err(Refusal::Stopped { accepted }) => {
                    return Err(ChangeError::Stopped { accepted });
                }
                Err(_) => return Err(ChangeError::Dropped),
            };
            let is_passing = matches!(
                reason,
                Reason::NotReady | Reason::InProgress { .. } | Reason::Transferring
            );
            let again = Instant::now() + self.spans.retry_interval;
            if !is_passing || again >= deadline {
                return Err(ChangeError::Refused(reason));
            }
            tokio::time::sleep_until(again).await;
        }
    }

    /// The membership in force at this node.
    pub async fn membership(&self) -> Membership {
        match self.status_now().await {
            Some(status) => status.membership,
            None => self.metrics.status().membership,
        }
    }

    /// Hands leadership over (thesis §3.10) and waits until the other node leads: the named voter,
    /// or the one that lacks least. Only a leader can; meanwhile proposals wait and reads are
    /// served.
    ///
    /// # Errors
    ///
    /// [`TransferError`] says who leads instead, if that is known.
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let (answer, ended) = oneshot::channel();
        self.events.push(Event::Transfer { to, answer });
        let mut stopped = self.ended.clone();
        let after: Duration = self.spans.operation_timeout;
        tokio::select! {
            biased;
            result = ended => result.unwrap_or(Err(TransferError::Stopped)),
            _ = stopped.wait_for(|ended| *ended) => Err(TransferError::Stopped),
            () = tokio::time::sleep(after) => Err(TransferError::TimedOut { after }),
        }
    }
}
