//! Who exists and where: from the memberships of the log to the transport.

use std::collections::BTreeMap;

use raft_core::{Member, NodeId};
use raft_net::{PeerAddress, Roster, Transport};

/// Tells the transport whom to dial. A member without an address keeps the one the transport was
/// given by the application.
pub(crate) fn update_roster(transport: &dyn Transport, members: &BTreeMap<NodeId, Member>) {
    if members.values().all(|member| member.address.is_empty()) {
        return;
    }
    let roster: Roster = members
        .iter()
        .map(|(node, member)| {
            let address = String::from_utf8_lossy(&member.address).into_owned();
            (*node, PeerAddress { address, incarnation: member.incarnation })
        })
        .collect();
    transport.set_roster(roster);
}
