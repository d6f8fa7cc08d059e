//! The message codec: what goes in comes out, what is damaged is refused, and the bytes stay the
//! bytes they are today.
//!
//! Every story walks over random messages of every kind, drawn from a seed. Read next:
//! `src/codec/message.rs`, and `docs/WIRE_FORMAT.md` for the golden bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use raft_core::codec::{
    CodecError, Reader, decode_membership, decode_message, decode_payload, encode_membership,
    encode_message, encode_payload_header, payload_len, put_varint, varint_len,
};
use raft_core::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, Checksum, Entry, EntryId, Epoch,
    Incarnation, Index, InstallSnapshot, InstallSnapshotResponse, LogSlice, Member, Membership,
    Message, NodeId, Payload, Peer, PreVote, PreVoteResponse, Propose, ProposeResponse, ReadIndex,
    ReadIndexResponse, RefusedProposal, RequestVote, RequestVoteResponse, Round, SnapshotId,
    SnapshotMeta, Term, Ticket,
};

const INCARNATION: Incarnation = Incarnation::new(0x1ca2);

/// Kinds of messages; `Body` has no more and no fewer.
const KINDS: u64 = 13;

/// Same seed, same messages.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a length")
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Numbers of every length, so that varints of every length are met.
    fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }

    /// As `number`, with room above for a few successors.
    fn low_number(&mut self) -> u64 {
        self.number() >> 2
    }

    fn id(&mut self) -> EntryId {
        EntryId::new(Term::new(self.low_number()), Index::new(self.low_number()))
    }

    fn node(&mut self) -> NodeId {
        NodeId::new(self.number().max(1)).expect("not zero")
    }

    fn bytes(&mut self, len_max: u64) -> Bytes {
        let len = self.below(len_max + 1);
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Any payload: kinds and seals that no constructor makes come from the decoder.
    fn payload(&mut self) -> Payload {
        match self.below(4) {
            0 => Payload::no_op(),
            1 => Payload::command(self.bytes(300)),
            _ => {
                let (origin, session) = (self.coin(), self.coin());
                let kind = u8::try_from(self.below(3)).expect("below three");
                let mut body = BytesMut::new();
                body.extend([kind | u8::from(origin) << 4 | u8::from(session) << 5]);
                if origin {
                    put_varint(&mut body, self.node().get());
                    body.extend(self.next().to_le_bytes());
                    put_varint(&mut body, self.number());
                }
                if session {
                    (0..3).for_each(|_| put_varint(&mut body, self.number()));
                }
                body.extend(self.bytes(40));
                let checksum = Checksum::of(&body);
                decode_payload(body.freeze(), checksum).expect("a well-formed body")
            }
        }
    }

    fn slice(&mut self) -> LogSlice {
        let prev = self.id();
        let (mut entries, mut before) = (Vec::new(), prev);
        for _ in 0..self.below(6) {
            let term = Term::new(before.term.get() + self.below(200));
            let id = EntryId::new(term, before.index.next());
            entries.push(Entry { id, payload: self.payload() });
            before = id;
        }
        LogSlice::new(prev, entries).expect("consecutive indexes, terms that never fall")
    }

    fn membership(&mut self) -> Membership {
        let mut members = BTreeMap::new();
        let (mut voters, mut outgoing) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..self.below(6) {
            let node = self.node();
            let incarnation = self.coin().then(|| Incarnation::new(self.next().into()));
            members.insert(node, Member { address: self.bytes(30), incarnation });
            if self.coin() {
                voters.insert(node);
            }
            if self.coin() {
                outgoing.insert(node);
            }
        }
        if voters.is_empty() {
            outgoing.clear();
        }
        Membership::from_parts(self.id(), members, voters, outgoing).expect("voters are members")
    }

    fn append_result(&mut self) -> AppendResult {
        let (one, other) = (Index::new(self.number()), Index::new(self.number()));
        if self.coin() {
            AppendResult::Matched { match_index: one, accepted: other }
        } else {
            AppendResult::Conflict { hint: self.id(), rejected: other }
        }
    }

    fn refused(&mut self) -> (Ticket, RefusedProposal) {
        let reason = match self.below(3) {
            0 => RefusedProposal::NotLeader,
            1 => RefusedProposal::Overloaded,
            _ => RefusedProposal::TooLarge,
        };
        (Ticket::new(self.number()), reason)
    }

    fn body(&mut self, kind: u64) -> Body {
        let round = Round::new(self.number());
        match kind {
            0 => Body::PreVote(PreVote { last: self.id() }),
            1 => Body::PreVoteResponse(PreVoteResponse { granted: self.coin() }),
            2 => Body::RequestVote(RequestVote { last: self.id(), transfer: self.coin() }),
            3 => Body::RequestVoteResponse(RequestVoteResponse { granted: self.coin() }),
            4 => {
                let (slice, leader_commit) = (self.slice(), Index::new(self.number()));
                let broadcast_time =
                    Duration::from_micros(if self.coin() { self.number() } else { 0 });
                Body::AppendEntries(AppendEntries { slice, leader_commit, round, broadcast_time })
            }
            5 => {
                let result = self.append_result();
                Body::AppendEntriesResponse(AppendEntriesResponse { round, result })
            }
            6 => {
                let snapshot = SnapshotMeta {
                    id: SnapshotId::new(self.next().into()),
                    last_included: self.id(),
                    membership: self.membership(),
                    data_bytes: self.number(),
                };
                Body::InstallSnapshot(InstallSnapshot { snapshot, round })
            }
            7 => {
                let match_index = Index::new(self.number());
                Body::InstallSnapshotResponse(InstallSnapshotResponse { match_index, round })
            }
            8 => Body::ReadIndex(ReadIndex { batch: self.number() }),
            9 => {
                let index = self.coin().then(|| Index::new(self.low_number()));
                Body::ReadIndexResponse(ReadIndexResponse { batch: self.number(), index })
            }
            10 => {
                let payloads = (0..self.below(5)).map(|_| self.payload()).collect();
                let (boot, serial) = (self.next(), self.number());
                Body::Propose(Propose { boot, serial, payloads })
            }
            11 => {
                let refused = (0..self.below(5)).map(|_| self.refused()).collect();
                Body::ProposeResponse(ProposeResponse { boot: self.next(), refused })
            }
            12 => Body::TimeoutNow,
            _ => unreachable!("kinds end at {KINDS}"),
        }
    }

    fn message(&mut self, kind: u64) -> Message {
        Message {
            from: Peer { node: self.node(), incarnation: INCARNATION },
            to: self.node(),
            term: Term::new(self.number()),
            epoch: Epoch::new(self.number()),
            body: self.body(kind),
        }
    }
}

fn encoded(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    encode_message(message, &mut out);
    out.freeze()
}

/// Runs a story over messages of every kind.
fn for_messages(count: u64, mut story: impl FnMut(&Message, Bytes, &mut Random)) {
    let mut random = Random(0xc0dec);
    for i in 0..count {
        let message = random.message(i % KINDS);
        let bytes = encoded(&message);
        story(&message, bytes, &mut random);
    }
}

/// Whatever is encoded is decoded to the same message, with the incarnation of the handshake.
#[test]
fn what_is_encoded_is_decoded() {
    let mut names = BTreeSet::new();
    for_messages(20_000, |message, bytes, _| {
        assert_eq!(decode_message(bytes, INCARNATION).as_ref(), Ok(message));
        names.insert(message.body.name());
    });
    assert_eq!(names.len() as u64, KINDS, "a kind was never drawn: {names:?}");
}

/// Encoding appends to what is there, and leaves it alone.
#[test]
fn encoding_appends() {
    for_messages(500, |message, bytes, _| {
        let mut out = BytesMut::from(&b"before"[..]);
        encode_message(message, &mut out);
        assert_eq!(out, [b"before", &bytes[..]].concat());
    });
}

/// A message that is cut anywhere is refused, and so is one with a byte too many.
#[test]
fn every_cut_is_an_error() {
    for_messages(2_000, |message, bytes, _| {
        for len in 0..bytes.len() {
            let cut = decode_message(bytes.slice(..len), INCARNATION);
            assert!(
                cut.is_err(),
                "{} cut after {len} of {} bytes",
                message.body.name(),
                bytes.len()
            );
        }
        let longer = Bytes::from([&bytes[..], &[0]].concat());
        assert_eq!(decode_message(longer, INCARNATION), Err(CodecError::Trailing(1)));
    });
}

/// Bytes that were tampered with never make the decoder panic, and what it accepts nonetheless is
/// the one way to write that message: equal messages, equal bytes.
#[test]
fn a_tampered_message_is_refused_or_canonical() {
    let mut accepted = 0;
    for_messages(60_000, |_, bytes, random| {
        let mut bytes = bytes.to_vec();
        for _ in 0..=random.below(3) {
            let place = random.place(bytes.len());
            match random.below(3) {
                0 => bytes[place] ^= 1 << random.below(8),
                1 => bytes[place] = random.next().to_le_bytes()[0],
                _ => bytes.insert(place, random.next().to_le_bytes()[0]),
            }
        }
        if let Ok(message) = decode_message(Bytes::from(bytes.clone()), INCARNATION) {
            let again = encoded(&message);
            assert_eq!(decode_message(again.clone(), INCARNATION).as_ref(), Ok(&message));
            assert_eq!(again, bytes, "{message:?}");
            accepted += 1;
        }
    });
    assert!(accepted > 1000, "only {accepted} were accepted: the story tells nothing");
}

/// Pure noise never makes a decoder panic, whatever it is taken for.
#[test]
fn noise_never_panics() {
    let mut random = Random(0xbad);
    for _ in 0..100_000 {
        let mut noise = random.bytes(60).to_vec();
        if let [version, kind, ..] = &mut noise[..] {
            // Most noise would end at the first two bytes.
            *version = 1;
            *kind %= 15;
        }
        let noise = Bytes::from(noise);
        drop(decode_message(noise.clone(), INCARNATION));
        drop(decode_membership(noise.clone()));
        drop(decode_payload(noise, Checksum::new(0)));
    }
}

/// A count or a length that claims more than there is reserves nothing and is refused.
#[test]
fn a_lying_count_is_refused() {
    let message = |kind: u8, rest: &[u8]| {
        let head = [1, kind, 1, 2, 1, 1];
        decode_message(Bytes::from([&head[..], rest].concat()), INCARNATION)
    };
    let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let append = [&[0, 0, 0, 0, 0][..], &most].concat();
    assert_eq!(message(5, &append), Err(CodecError::Truncated("entries")));
    let propose = [&[0; 9][..], &most].concat();
    assert_eq!(message(11, &propose), Err(CodecError::Truncated("propose payloads")));
    let refused = [&[0; 8][..], &most].concat();
    assert_eq!(message(12, &refused), Err(CodecError::Truncated("refused proposals")));
    let payload = [&[0, 0, 0, 0, 0, 1, 0][..], &most].concat();
    assert!(matches!(message(5, &payload), Err(CodecError::Truncated(_))));
}

/// Unknown versions and kinds are refused with what was found and what is known.
#[test]
fn what_is_unknown_is_named() {
    let decode = |bytes: &[u8]| decode_message(Bytes::copy_from_slice(bytes), INCARNATION);
    let later = decode(&[9, 13, 1, 2, 0, 0]).unwrap_err();
    assert_eq!(later, CodecError::Version { found: 9, known: 1 });
    assert_eq!(later.to_string(), "format version 9, this code knows version 1");
    let kind = decode(&[1, 14, 1, 2, 0, 0]).unwrap_err();
    assert_eq!(kind, CodecError::Invalid("message kind", 14));
    assert_eq!(kind.to_string(), "message kind cannot be 14");
    let nobody = decode(&[1, 13, 0, 2, 0, 0]).unwrap_err();
    assert_eq!(nobody, CodecError::Invalid("message from", 0));
}

/// A varint has one form: the shortest. Its length is known beforehand, and every number fits.
#[test]
fn a_varint_has_one_form() {
    let mut random = Random(7);
    let edges = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit]).chain([u64::MAX]);
    for value in edges.chain((0..10_000).map(|_| random.number())) {
        let mut out = BytesMut::new();
        put_varint(&mut out, value);
        assert_eq!(out.len(), varint_len(value), "{value}");
        let mut reader = Reader::new(out.freeze());
        assert_eq!(reader.varint("it"), Ok(value));
        assert_eq!(reader.finish(), Ok(()));
    }
    let read = |bytes: &'static [u8]| Reader::new(Bytes::from_static(bytes)).varint("it");
    assert_eq!(read(&[0x80, 0x00]), Err(CodecError::Invalid("it", 0)), "zero in two bytes");
    assert_eq!(read(&[0xff; 10]), Err(CodecError::Invalid("it", 0x7f)), "more than 64 bits");
    assert_eq!(read(&[0x80]), Err(CodecError::Truncated("it")));
}

/// A payload keeps its seal on the way, is shared and not copied, and shows when it was changed.
#[test]
fn a_payload_keeps_its_seal() {
    let mut random = Random(11);
    for _ in 0..2_000 {
        let payload = random.payload();
        assert!(payload.verify());
        let mut body = BytesMut::new();
        encode_payload_header(&payload, &mut body);
        body.extend_from_slice(payload.bytes());
        assert_eq!(body.len(), payload_len(&payload));
        let body = body.freeze();
        let decoded = decode_payload(body.clone(), payload.checksum()).unwrap();
        assert_eq!(decoded, payload);
        if !decoded.bytes().is_empty() {
            let at_end = body.len() - decoded.bytes().len();
            assert_eq!(decoded.bytes().as_ptr(), body[at_end..].as_ptr(), "copied");
        }
        let mut turned = body.to_vec();
        let place = random.place(turned.len());
        turned[place] ^= 1 << random.below(8);
        if let Ok(turned) = decode_payload(Bytes::from(turned), payload.checksum()) {
            assert!(!turned.verify(), "a turned bit went unseen");
        }
    }
}

/// A membership survives alone as it does inside an offer, and every cut of it is refused.
#[test]
fn a_membership_survives_alone() {
    let mut random = Random(13);
    for _ in 0..2_000 {
        let membership = random.membership();
        let bytes = encode_membership(&membership);
        assert_eq!(decode_membership(bytes.clone()).as_ref(), Ok(&membership));
        for len in 0..bytes.len() {
            assert!(decode_membership(bytes.slice(..len)).is_err());
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), Index::new(index))
}

fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("not zero")
}

/// One message of each kind, from n1 to n2 in term 7 and epoch 300.
fn golden_bodies() -> Vec<Body> {
    let round = Round::new(9);
    let entry = |id, payload| Entry { id, payload };
    let entries =
        vec![entry(id(7, 12), Payload::no_op()), entry(id(9, 13), Payload::command("hi"))];
    let slice = LogSlice::new(id(6, 11), entries).expect("consecutive");
    let incarnation = Some(Incarnation::new(0xabc));
    let members = BTreeMap::from([
        (node(1), Member { address: Bytes::from_static(b"a:1"), incarnation }),
        (node(2), Member::default()),
    ]);
    let (voters, outgoing) = (BTreeSet::from([node(1)]), BTreeSet::from([node(1), node(2)]));
    let membership = Membership::from_parts(id(3, 4), members, voters, outgoing);
    let snapshot = SnapshotMeta {
        id: SnapshotId::new(0x51),
        last_included: id(6, 200),
        membership: membership.expect("voters are members"),
        data_bytes: 1000,
    };
    let (hint, rejected) = (id(5, 10), Index::new(11));
    let (match_index, accepted) = (Index::new(12), Index::new(13));
    let refused = vec![(Ticket::new(5), RefusedProposal::TooLarge)];
    let origin = b"\x31\x02\x08\x07\x06\x05\x04\x03\x02\x01\x05\x0a\x0b\x0chi";
    let forwarded = decode_payload(Bytes::from_static(origin), Checksum::of(origin));
    let payloads = vec![forwarded.expect("a command with origin and session")];
    vec![
        Body::PreVote(PreVote { last: id(6, 200) }),
        Body::PreVoteResponse(PreVoteResponse { granted: true }),
        Body::RequestVote(RequestVote { last: id(6, 200), transfer: true }),
        Body::RequestVoteResponse(RequestVoteResponse { granted: false }),
        Body::AppendEntries(AppendEntries {
            slice,
            leader_commit: Index::new(10),
            round,
            broadcast_time: Duration::ZERO,
        }),
        Body::AppendEntriesResponse(AppendEntriesResponse {
            round,
            result: AppendResult::Matched { match_index, accepted },
        }),
        Body::AppendEntriesResponse(AppendEntriesResponse {
            round,
            result: AppendResult::Conflict { hint, rejected },
        }),
        Body::InstallSnapshot(InstallSnapshot { snapshot, round }),
        Body::InstallSnapshotResponse(InstallSnapshotResponse { match_index, round }),
        Body::ReadIndex(ReadIndex { batch: 3 }),
        Body::ReadIndexResponse(ReadIndexResponse { batch: 3, index: Some(Index::new(12)) }),
        Body::ReadIndexResponse(ReadIndexResponse { batch: 3, index: None }),
        Body::Propose(Propose { boot: 0x0807, serial: 4, payloads }),
        Body::ProposeResponse(ProposeResponse { boot: 0x0807, refused }),
        Body::TimeoutNow,
    ]
}

/// After version, kind, from, to, term and epoch (`01 kind 01 02 07 ac02`).
const GOLDEN: [&str; 15] = [
    "01 01 01 02 07 ac02 06c801",
    "01 02 01 02 07 ac02 01",
    "01 03 01 02 07 ac02 06c801 01",
    "01 04 01 02 07 ac02 00",
    "01 05 01 02 07 ac02 09 0a 00 060b 02 01 01 51537d52 00 02 03 149fd9c1 016869",
    "01 06 01 02 07 ac02 09 00 0c 0d",
    "01 06 01 02 07 ac02 09 01 050a 0b",
    "01 07 01 02 07 ac02 09 51000000000000000000000000000000 06c801 e807 01 0304 02 01 07 \
     bc0a0000000000000000000000000000 03 613a31 02 02 00",
    "01 08 01 02 07 ac02 0c 09",
    "01 09 01 02 07 ac02 03",
    "01 0a 01 02 07 ac02 03 0d",
    "01 0a 01 02 07 ac02 03 00",
    "01 0b 01 02 07 ac02 0708000000000000 04 01 10 263eb104 31 02 0807060504030201 05 0a0b0c \
     6869",
    "01 0c 01 02 07 ac02 0708000000000000 01 05 02",
    "01 0d 01 02 07 ac02",
];

/// The bytes of every kind of message are these, for ever: a change of the format is a new version.
#[test]
fn golden_bytes() {
    let bodies = golden_bodies();
    for (body, golden) in bodies.iter().zip(GOLDEN) {
        let from = Peer { node: node(1), incarnation: INCARNATION };
        let (term, epoch) = (Term::new(7), Epoch::new(300));
        let message = Message { from, to: node(2), term, epoch, body: body.clone() };
        assert_eq!(hex(&encoded(&message)), golden.replace(' ', ""), "{}", body.name());
    }
    assert_eq!(bodies.len(), GOLDEN.len());
    let kinds: BTreeSet<_> = bodies.iter().map(Body::name).collect();
    assert_eq!(kinds.len() as u64, KINDS);
}
