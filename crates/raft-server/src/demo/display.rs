//! What the demo shows while it runs: a live picture on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::observe::View;

/// How things are.
#[derive(Debug)]
pub(super) struct Progress {
    /// Acknowledged writes.
    pub(super) acked: u64,
    /// How many there should be.
    pub(super) goal: u64,
    /// Acknowledged writes by member.
    pub(super) acked_by: Vec<u64>,
    /// Since the run began.
    pub(super) elapsed: Duration,
    /// Kills or changes so far, and how many there will be.
    pub(super) events: (usize, u32),
    /// What these are.
    pub(super) noun: &'static str,
    /// What members say about themselves.
    pub(super) views: Vec<View>,
}

/// Shows progress on stderr.
#[derive(Debug)]
pub(super) struct Display {
    names: Vec<String>,
    is_live: bool,
    /// Lines of the live picture now on the screen.
    lines: usize,
    /// When it was last shown, and how many writes each member had acknowledged by then.
    shown: Option<(Duration, Vec<u64>)>,
}

impl Display {
    /// For members of these names.
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names, is_live: io::stderr().is_terminal(), lines: 0, shown: None }
    }

    /// Tells of something that happened, above the live picture.
    pub(super) fn event(&mut self, text: &str) {
        self.wipe();
        note(text);
    }

    /// Shows how things are, if the last time is long enough ago.
    pub(super) fn show(&mut self, progress: &Progress) {
        let interval = if self.is_live { LIVE_INTERVAL } else { LINE_INTERVAL };
        let (since, before) = match &self.shown {
            Some((since, before)) => (*since, before.clone()),
            None => (Duration::ZERO, vec![0; progress.acked_by.len()]),
        };
        let passed = progress.elapsed.saturating_sub(since);
        if passed < interval {
            return;
        }
        let rates: Vec<u64> = progress
            .acked_by
            .iter()
            .zip(&before)
            .map(|(now, before)| rate(now.saturating_sub(*before), passed))
            .collect();
        self.shown = Some((progress.elapsed, progress.acked_by.clone()));
        if !self.is_live {
            note(&head(progress, &rates));
            return;
        }
        let picture = picture(&self.names, progress, &rates);
        self.wipe();
        self.lines = picture.lines().count();
        write(&picture);
    }

    /// Takes the live picture off the screen.
    fn wipe(&mut self) {
        if self.lines > 0 {
            // Up to its first line, then clear to the end of the screen.
            write(&format!("\x1b[{}A\x1b[J", self.lines));
            self.lines = 0;
        }
    }
}

fn head(progress: &Progress, rates: &[u64]) -> String {
    let Progress { acked, goal, events: (done, all), noun, .. } = progress;
    let rate: u64 = rates.iter().sum();
    format!("{acked} of {goal} writes, {rate} per second, {done} of {all} {noun}")
}

fn picture(names: &[String], progress: &Progress, rates: &[u64]) -> String {
    let filled = progress.acked.min(progress.goal) * BAR / progress.goal.max(1);
    let bar: String = (0..BAR).map(|place| if place < filled { '#' } else { '.' }).collect();
    let mut text = format!("[{bar}] {}\n", head(progress, rates));
    for ((name, view), rate) in names.iter().zip(&progress.views).zip(rates) {
        // Writing into a string cannot fail.
        _ = match view {
            Some(standing) => {
                let role = if standing.is_leader { "leader" } else { "follower" };
                let (term, commit) = (standing.term, standing.commit_index);
                writeln!(
                    text,
                    "{name}  {role:<8}  term {term:<4}  commit {commit:<9}  {rate} writes/s"
                )
            }
            None => writeln!(text, "{name}  does not answer"),
        };
    }
    text
}

fn rate(count: u64, passed: Duration) -> u64 {
    let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / millis
}

/// Tells the user something, on stderr.
pub(super) fn note(text: &str) {
    write(&format!("{text}\n"));
}

/// Prints the result, on stdout.
pub(super) fn print(text: &str) {
    let mut out = io::stdout().lock();
    // Nobody reads it: the exit status still tells.
    _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn write(text: &str) {
    // A closed stderr is no reason to stop.
    _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Characters of the bar.
const BAR: u64 = 30;

const LIVE_INTERVAL: Duration = Duration::from_millis(200);

const LINE_INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::super::observe::Standing;
    use super::*;

    /// The picture has a bar and a line per member, whatever is known of it.
    #[test]
    fn the_picture_shows_every_member() {
        let leader = Standing { is_leader: true, term: 4, commit_index: 1234 };
        let progress = Progress {
            acked: 50,
            goal: 100,
            acked_by: vec![30, 20],
            elapsed: Duration::from_secs(1),
            events: (1, 5),
            noun: "kills",
            views: vec![Some(leader), None],
        };
        assert_eq!(
            picture(&["n1".into(), "n2".into()], &progress, &[30, 20]),
            "[###############...............] 50 of 100 writes, 50 per second, 1 of 5 kills\n\
             n1  leader    term 4     commit 1234       30 writes/s\n\
             n2  does not answer\n"
        );
        assert_eq!(rate(10, Duration::from_millis(500)), 20);
    }
}
