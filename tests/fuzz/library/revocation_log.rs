//! An entry that another node wrote is read as what it prints, on one line; and a node that follows a log knows what its
//! entries revoke, whichever of them it had from the state and whichever came later: of each topic what ranks highest.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::time::timeout;
use tower_reauth::revoke::{
    Revocations,
    shared::{Entry, LogError, Origin, RevocationLog, Standing},
};

use super::security_event::{clock, revoked};
use crate::support;

/// The highest rank: of what is revoked for ever.
const HIGHEST: u64 = (1 << 53) - 1;

/// A log whose first entries are its state, and whose others come after it.
struct Log {
    entries: Arc<[Entry]>,
    in_state: usize,
    /// Whether it was asked where it stands: what comes after the state has come by then.
    was_asked: AtomicBool,
}

impl RevocationLog for Log {
    async fn standing(&self) -> Result<Standing, LogError> {
        let now = clock().now();
        let is_later = self.was_asked.swap(true, Ordering::Relaxed);
        let (first, last) = (1, if is_later { self.entries.len() } else { self.in_state } as u64);
        Ok(Standing { life: "1".into(), since: now - Duration::from_secs(3600), first, last, now })
    }

    async fn state(&self, take: &mut (dyn FnMut(Entry) + Send)) -> Result<(), LogError> {
        self.entries[..self.in_state].iter().cloned().for_each(take);
        Ok(())
    }

    async fn read(&self, after: u64, _: Duration) -> Result<Vec<(u64, Entry)>, LogError> {
        let numbered = (1..).zip(self.entries.iter().cloned()).skip(after as usize);
        let news: Vec<_> = numbered.collect();
        if news.is_empty() { pending().await } else { Ok(news) }
    }

    async fn append(&self, _: &[Entry], _: Origin) -> Result<(), LogError> {
        panic!("nothing is revoked here")
    }
}

/// How many entries are in the state, and behind that byte a line for each.
pub(crate) fn run(input: &[u8]) {
    let Some((in_state, lines)) = input.split_first() else { return };
    let Ok(lines) = std::str::from_utf8(lines) else { return };
    let entries: Arc<[Entry]> = lines.split('\n').filter_map(read).collect();
    let in_state = usize::from(*in_state).min(entries.len());

    let node = Revocations::shared(Log { entries: Arc::clone(&entries), in_state, was_asked: AtomicBool::new(false) })
        .with_clock(clock());
    let revocations = node.revocations();
    support::ready(async { timeout(Duration::from_millis(100), node.run()).await }).expect_err("it never ends");

    // What is forgotten, or everything that was revoked at once, is told by other tests.
    if entries.iter().any(|entry| entry.rank().is_none()) {
        return;
    }
    let mut highest = BTreeMap::new();
    for entry in entries.iter() {
        let rank: &mut u64 = highest.entry(entry.topic()).or_default();
        *rank = (*rank).max(entry.rank().expect("it revokes"));
    }
    let is_kept = |entry: &Entry| entry.kept_until().is_none_or(|until| until > clock().now());
    let listed = revoked(&revocations);
    for text in &listed {
        let entry: Entry = text.parse().expect("it was printed");
        let all = highest.get("all").copied().filter(|_| entry.topic() == "issued-before");
        let rank = highest.get(&entry.topic()).copied().max(all);
        // Of what is revoked by a date none is for ever.
        let is_by_date = ["subject", "issued-before"].iter().any(|word| entry.topic().starts_with(word));
        assert_eq!(entry.rank(), rank.map(|rank| if is_by_date { rank.min(HIGHEST - 1) } else { rank }), "{text}");
    }
    for (topic, rank) in highest {
        let entry: Entry = format!("1 {topic} {rank}").parse().expect("its parts were read");
        if is_kept(&entry) && !topic.starts_with("answers") && topic != "all" {
            assert!(listed.iter().any(|text| text.starts_with(&format!("1 {topic} "))), "{entry} is not known");
        }
    }
}

fn read(line: &str) -> Option<Entry> {
    let entry: Entry = line.parse().ok()?;
    let printed = entry.to_string();
    assert_eq!(printed.parse(), Ok(entry.clone()));
    assert!(!printed.contains(|character: char| character.is_ascii_control()), "{printed:?} is more than a line");
    assert!(entry.rank().is_none_or(|rank| rank <= HIGHEST));
    assert!(entry.kept_until().is_none_or(|until| until > SystemTime::UNIX_EPOCH));
    assert_eq!(entry.topic().split(' ').next(), line.split(' ').nth(1));
    Some(entry)
}
