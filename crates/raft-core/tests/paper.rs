//! The extended Raft paper, sentence by sentence: each rule of §5.1 to §5.4 and of Figure 2 is a
//! test with its section in the name, and says in its first line what it shows, in words of our
//! own.
//!
//! One node stands on a bench (`support/bench.rs`) and the test is its peers; where a rule speaks
//! of a cluster, the golden scripts of `raft-sim` and the random schedules of `properties.rs` show
//! it. Deviations: a pre-vote comes before a vote (thesis §9.6), so these tests switch it off; a
//! new leader appends a no-op (§8); a rejection carries a hint (§5.3, end).

#[path = "support/bench.rs"]
mod bench;
#[path = "support/disk.rs"]
#[expect(dead_code, reason = "the random schedules use the rest")]
mod disk;
#[path = "paper/figure_2.rs"]
mod figure_2;
#[path = "support/mutant.rs"]
mod mutant;
#[path = "paper/s5_1.rs"]
mod s5_1;
#[path = "paper/s5_2.rs"]
mod s5_2;
#[path = "paper/s5_3.rs"]
mod s5_3;
#[path = "paper/s5_4.rs"]
mod s5_4;
