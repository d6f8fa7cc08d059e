//! The extended Raft paper and the thesis, sentence by sentence: each rule of §5.1 to §5.4, §6 to
//! §8, of Figures 2 and 13, and of §3.10, §4 and §6.4 of the thesis is a test with its section in
//! the name, and says in its first line what it shows, in words of our own.
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
#[path = "paper/s3_10.rs"]
mod s3_10;
#[path = "paper/s4.rs"]
mod s4;
#[path = "paper/s5_1.rs"]
mod s5_1;
#[path = "paper/s5_2.rs"]
mod s5_2;
#[path = "paper/s5_3.rs"]
mod s5_3;
#[path = "paper/s5_4.rs"]
mod s5_4;
#[path = "paper/s7.rs"]
mod s7;
#[path = "paper/s8.rs"]
mod s8;
