//! One stream of choices behind everything that is not code under test.
//!
//! Whatever a world does not compute it asks for: `choose(site, domain)`. So one mechanism gives
//! seeds, replay, shrinking, fuzzing and exhaustive enumeration of small worlds.
//!
//! * Zero is the mildest value at every site: no fault, no delay, the first of several.
//! * A draw is named by its site and by how many were drawn there before, so a new draw at one site
//!   does not shift the others.
//! * A recording keeps what was not mildest; what a replay does not find is the mildest.
//!
//! Read next: `swarm.rs`, its first user in every world.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

macro_rules! sites {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Where something is chosen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Site { $($(#[$doc])* $name,)* }

        impl Site {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

sites! {
    /// What a seed decides once: features, kinds of faults, their strength.
    Swarm = "swarm",
    /// The order of what happens at one instant.
    Tie = "tie",
    /// Numbers a host draws for its node: seeds, salts, incarnations.
    Entropy = "entropy",
    /// When a node is pumped after something happened to it.
    Pump = "pump",
    /// How long a message takes.
    Delay = "network.delay",
    /// Whether a message is lost.
    Loss = "network.loss",
    /// Whether a message arrives twice.
    Double = "network.double",
    /// Whether a message is kept, to be sent again much later.
    Keep = "network.keep",
    /// Whether bytes of a message are damaged, and which.
    Corrupt = "network.corrupt",
    /// How long a sync takes.
    SyncTime = "disk.sync-time",
    /// How much of a read or write is carried out.
    Short = "disk.short",
    /// What a power loss leaves of what was not synced.
    PowerLoss = "disk.power-loss",
    /// What a failed sync leaves.
    FailedSync = "disk.failed-sync",
    /// Where damage strikes.
    Damage = "disk.damage",
    /// How long the state machine takes.
    ApplyTime = "apply.time",
    /// Whether a state machine is replaced by its own snapshot.
    RoundTrip = "apply.round-trip",
    /// What a client does next, and where.
    Client = "client",
    /// What a workload asks.
    Workload = "workload",
    /// Which fault comes next, whom it hits and when.
    Nemesis = "nemesis",
    /// Which nodes go on in liveness mode, and how the others freeze.
    Core = "core",
    /// Choices of a user's own.
    User = "user",
    /// Who may join, who should lead, and how fresh reads have to be.
    Members = "members",
    /// What an operator does, when and where.
    Operator = "operator",
    /// What is taken of the log into snapshots, and how they travel.
    Snapshot = "snapshot",
}

/// A choice that was not the mildest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    /// Where.
    pub site: Site,
    /// How many choices were made there before.
    pub number: u64,
    /// What was chosen.
    pub value: u64,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{} = {}", self.site.name(), self.number, self.value)
    }
}

/// The stream. Clones share it: a disk draws from the stream of its world.
#[derive(Clone, Debug)]
pub struct Choices(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    source: Source,
    drawn: Vec<u64>,
    recorded: Option<Vec<Choice>>,
}

#[derive(Debug)]
enum Source {
    /// A key for each site: the n-th value there is a function of seed, site and n.
    Random(Vec<u64>),
    Replay(BTreeMap<(Site, u64), u64>),
    Bytes {
        bytes: Vec<u8>,
        at: usize,
    },
    Exhaustive(Odometer),
}

/// All sequences of choices up to a length, one run after the other.
#[derive(Clone, Debug, Default)]
struct Odometer {
    /// Value and domain of each choice so far.
    path: Vec<(u64, u64)>,
    at: usize,
    depth_max: usize,
}

impl Choices {
    /// Choices made from a seed.
    pub fn random(seed: u64) -> Self {
        let key = |site: usize| mix(seed ^ mix(0x5173_u64.wrapping_add(site as u64)));
        Self::new(Source::Random((0..Site::ALL.len()).map(key).collect()))
    }

    /// The choices of an earlier run; all others are the mildest.
    pub fn replay(choices: &[Choice]) -> Self {
        let kept = choices.iter().map(|choice| ((choice.site, choice.number), choice.value));
        Self::new(Source::Replay(kept.collect()))
    }

    /// Choices made from the bytes of a fuzzer; after the last byte all are the mildest.
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self::new(Source::Bytes { bytes, at: 0 })
    }

    /// The first of all sequences of choices: every choice the mildest. Go on with
    /// [`advance`](Self::advance). Choices beyond the first `depth_max` are the mildest.
    pub fn exhaustive(depth_max: usize) -> Self {
        Self::new(Source::Exhaustive(Odometer { depth_max, ..Odometer::default() }))
    }

    fn new(source: Source) -> Self {
        let drawn = vec![0; Site::ALL.len()];
        Self(Arc::new(Mutex::new(Inner { source, drawn, recorded: None })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A world that panicked is thrown away, its stream only read.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps from now on what is not the mildest.
    #[must_use]
    pub fn recording(self) -> Self {
        self.inner().recorded.get_or_insert_default();
        self
    }

    /// What was recorded.
    pub fn recorded(&self) -> Vec<Choice> {
        self.inner().recorded.clone().unwrap_or_default()
    }

    /// How many choices were made so far.
    pub fn count(&self) -> u64 {
        self.inner().drawn.iter().sum()
    }

    /// The next sequence of an exhaustive enumeration; `None` after the last.
    pub fn advance(&self) -> Option<Self> {
        let inner = self.inner();
        let Source::Exhaustive(odometer) = &inner.source else { return None };
        let mut next = odometer.clone();
        next.at = 0;
        while let Some((value, domain)) = next.path.pop() {
            if value + 1 < domain {
                next.path.push((value + 1, domain));
                return Some(Self::new(Source::Exhaustive(next)));
            }
        }
        None
    }

    /// A value below `domain`; zero if there is nothing to choose.
    pub fn choose(&self, site: Site, domain: u64) -> u64 {
        self.inner().draw(site, domain, |random| scale(random, domain))
    }

    /// Whether something happens that does so this often in a million.
    pub fn chance(&self, site: Site, per_million: u64) -> bool {
        if per_million == 0 {
            return false;
        }
        self.inner().draw(site, 2, |random| u64::from(scale(random, MILLION) < per_million)) == 1
    }

    /// A value from `low` up to, but not including, `high`; the mildest is `low`.
    pub fn between(&self, site: Site, low: u64, high: u64) -> u64 {
        low + self.choose(site, high.saturating_sub(low))
    }

    /// A value from `low` up to `high` whose magnitude is uniform: as often between 1 and 2 as
    /// between 512 and 1024.
    pub fn spread(&self, site: Site, low: u64, high: u64) -> u64 {
        let low = low.max(1);
        let doublings = 64 - (high / low).max(1).leading_zeros();
        let from = low << self.choose(site, doublings.into());
        self.between(site, from, (2 * from).min(high.max(from + 1)))
    }

    /// One of several things; the mildest is the first.
    ///
    /// # Panics
    ///
    /// If there is nothing to pick from.
    pub fn pick<'a, T>(&self, site: Site, things: &'a [T]) -> &'a T {
        let at = self.choose(site, things.len() as u64);
        &things[usize::try_from(at).expect("an index into a slice")]
    }
}

impl Inner {
    fn draw(&mut self, site: Site, domain: u64, from_random: impl Fn(u64) -> u64) -> u64 {
        let number = self.drawn[site as usize];
        self.drawn[site as usize] += 1;
        if domain < 2 {
            return 0;
        }
        let value = match &mut self.source {
            Source::Random(keys) => {
                from_random(mix(keys[site as usize].wrapping_add(number.wrapping_mul(GOLDEN))))
            }
            Source::Replay(kept) => kept.get(&(site, number)).copied().unwrap_or(0).min(domain - 1),
            Source::Bytes { bytes, at } => take_bytes(bytes, at, domain),
            Source::Exhaustive(odometer) => odometer.next(domain),
        };
        if value != 0
            && let Some(recorded) = &mut self.recorded
        {
            recorded.push(Choice { site, number, value });
        }
        value
    }
}

impl Odometer {
    fn next(&mut self, domain: u64) -> u64 {
        let at = self.at;
        self.at += 1;
        match self.path.get(at) {
            Some((value, _)) => *value,
            None if at >= self.depth_max => 0,
            None => {
                self.path.push((0, domain));
                0
            }
        }
    }
}

/// As many bytes as the domain needs, little-endian.
fn take_bytes(bytes: &[u8], at: &mut usize, domain: u64) -> u64 {
    let width = usize::try_from((64 - (domain - 1).leading_zeros()).div_ceil(8)).unwrap_or(8);
    let mut value = [0; 8];
    for (to, from) in value.iter_mut().zip(bytes.iter().skip(*at).take(width)) {
        *to = *from;
    }
    *at += width;
    u64::from_le_bytes(value) % domain
}

const MILLION: u64 = 1_000_000;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of `SplitMix64`: every bit of the result depends on every bit of the argument.
pub(crate) const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Brings 64 random bits below a domain.
fn scale(random: u64, domain: u64) -> u64 {
    let wide = u128::from(random) * u128::from(domain);
    u64::try_from(wide >> 64).expect("the high half of a product fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(choices: &Choices) -> Vec<u64> {
        let sites = [Site::Swarm, Site::Loss, Site::Swarm, Site::Client];
        sites.iter().map(|site| choices.choose(*site, 1000)).collect()
    }

    /// A recording replayed gives the same values, at sites where more is drawn, too.
    #[test]
    fn what_was_recorded_can_be_replayed() {
        let first = Choices::random(7).recording();
        let values = some(&first);
        assert_eq!(some(&Choices::random(7)), values, "same seed, same values");
        assert_ne!(some(&Choices::random(8)), values, "another seed, others");
        let replay = Choices::replay(&first.recorded());
        assert_eq!(replay.choose(Site::Delay, 1000), 0, "nothing was drawn there");
        assert_eq!(some(&replay), values);
        assert_eq!(replay.choose(Site::Swarm, 1000), 0, "nothing more was drawn there");
    }

    /// An extra draw at one site does not shift the others.
    #[test]
    fn sites_do_not_shift_each_other() {
        let (a, b) = (Choices::random(3), Choices::random(3));
        b.choose(Site::Tie, 1 << 40);
        assert_eq!(some(&a), some(&b));
    }

    /// Enumeration meets every sequence once, also where later domains depend on earlier values.
    #[test]
    fn enumeration_meets_every_sequence_once() {
        let mut seen = Vec::new();
        let mut next = Some(Choices::exhaustive(10));
        while let Some(choices) = next {
            let first = choices.choose(Site::User, 3);
            let then = choices.choose(Site::User, first + 1);
            seen.push((first, then));
            next = choices.advance();
        }
        assert_eq!(seen, [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]);
    }

    /// Bytes of a fuzzer are used up, and then everything is mild; no value leaves its domain.
    #[test]
    fn bytes_run_out_mildly() {
        let choices = Choices::bytes(vec![5, 255, 255]);
        let drawn: Vec<u64> = [4, 300, 300].map(|d| choices.choose(Site::User, d)).into();
        assert_eq!(drawn, [1, 65535 % 300, 0]);
    }

    /// Spans stay inside their bounds and their magnitudes are met alike.
    #[test]
    fn a_spread_meets_every_magnitude() {
        let choices = Choices::random(1);
        let drawn: Vec<u64> = (0..4000).map(|_| choices.spread(Site::User, 1, 1 << 16)).collect();
        assert!(drawn.iter().all(|value| (1..=1 << 16).contains(value)));
        let small = drawn.iter().filter(|value| **value < 256).count();
        assert!((1500..2500).contains(&small), "{small} of 4000 are below 256");
    }
}
