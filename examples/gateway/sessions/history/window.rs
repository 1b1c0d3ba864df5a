//! Reading a page out of no more of a history than it takes.
//!
//! 1. Without a limit all of the history is projected.
//! 2. With one, a window of messages before the page's end is: at the end of the history 20 for each message asked for
//!    and 20 more, in no more than 12 MiB; before a cursor as many as are asked for. If that shows too few it is made
//!    longer, piece by piece, until it is more than 8,000 messages or 6 MiB longer than 20 for each.
//! 3. The message before the window says whether a turn begins with it. A turn that has failed before a cursor may be
//!    mended after it: as much is read on as tells.
//!
//! What is shown depends on the window, and OpenClaw's is the same.

use std::{io, ops::Range};

use super::{Page, Query};
use crate::{
    json::{Object, Value, Write as _},
    sessions::{
        projection::{self, Shown, State, is_turn_boundary, seq},
        record::History,
    },
};

/// The most messages of a window at the end, and the most bytes.
const MOST: usize = 10_000;
const MOST_BYTES: u64 = 12 * 1024 * 1024;

/// How much longer a window is made, and in what steps.
const LONGER: usize = 8000;
const LONGER_BYTES: usize = 6 * 1024 * 1024;
const STEP: usize = 100;
const LONGEST_STEP: usize = 400;

/// What was read for a page, and the page.
#[derive(Debug)]
pub struct Window {
    pub page: Page,
    /// What is pending at the end of the history, if the page is at its end.
    pub after: State,
}

/// Reads a page of a history. What happens at this moment is at `now`, in milliseconds since 1970. Blocks.
pub fn read(history: &impl History, query: Query, now: f64) -> io::Result<Window> {
    let Some(limit) = query.limit else {
        let shown = projection::project(history.read(0..history.len())?.values(now), State::default());
        return Ok(Window { page: Page::of(shown.messages, query), after: shown.after });
    };
    let total = history.len();
    let end = query.cursor.map_or(total, |cursor| usize::try_from(cursor - 1).unwrap_or(total).min(total));
    let mut reading = Reading::begin(history, end, limit, query.cursor.is_none(), now)?;
    reading.fill()?;
    let is_whole = reading.start == 0 && end == total;
    let oldest = reading.messages.iter().find_map(Value::as_object).and_then(seq);
    let after = reading.shown.after;
    let mut page = Page::of(reading.shown.messages, query);
    if !is_whole && (query.cursor.is_none() || oldest.is_some_and(|oldest| oldest > 1)) {
        page.has_more = true;
        page.next_cursor = page.messages.first().map_or(oldest, seq).or(page.next_cursor);
    }
    Ok(Window { page, after })
}

/// A window that is made longer until it fills a page.
struct Reading<'a, H> {
    history: &'a H,
    limit: usize,
    now: f64,
    /// The records of the window.
    start: usize,
    end: usize,
    /// Their messages, and the one before them.
    messages: Vec<Value>,
    before: Option<Value>,
    /// What follows the window, as far as it has a say. `None` until that is known.
    newer: Option<Vec<Value>>,
    shown: Shown,
}

impl<'a, H: History> Reading<'a, H> {
    fn begin(history: &'a H, end: usize, limit: usize, is_newest: bool, now: f64) -> io::Result<Self> {
        let is_at_end = end == history.len();
        let length = if is_newest || is_at_end { window(limit) } else { limit };
        let mut first = end.saturating_sub(length + 1);
        if is_at_end {
            first = start_within(history, first.max(end.saturating_sub(MOST))..end)?;
        }
        let mut reading = Self {
            history,
            limit,
            now,
            start: end,
            end,
            messages: Vec::new(),
            before: None,
            newer: is_at_end.then(Vec::new),
            shown: Shown { messages: Vec::new(), after: State::default(), mended: false },
        };
        reading.messages = reading.read_back(first, length)?;
        reading.project()?;
        Ok(reading)
    }

    /// Reads the records before the window from this one on, which is the one before them if they are more than so
    /// many.
    fn read_back(&mut self, first: usize, count: usize) -> io::Result<Vec<Value>> {
        let has_before = self.start - first > count;
        let start = first + usize::from(has_before);
        self.before = self.history.read(first..start)?.values(self.now).pop();
        let messages = self.history.read(start..self.start)?.values(self.now);
        self.start = start;
        Ok(messages)
    }

    /// Makes the window longer until it shows a page, or is as long as it may be.
    fn fill(&mut self) -> io::Result<()> {
        let mut most = window(self.limit);
        let (mut step, mut bytes) = (STEP, 0);
        let mut estimate = self.shown.messages.len();
        let mut is_projected = true;
        let mut unmeasured = Vec::new();
        while self.start > 0 {
            if !is_projected && estimate >= self.limit {
                self.project()?;
                is_projected = true;
                estimate = self.shown.messages.len();
            }
            if is_projected && estimate >= self.limit {
                break;
            }
            if self.end - self.start >= window(self.limit) {
                most = window(self.limit) + LONGER;
            }
            let Some(room) = most.checked_sub(self.end - self.start).filter(|room| *room > 0) else { break };
            let count = step.min(room);
            let mut piece = self.read_back(self.start.saturating_sub(count + 1), count)?;
            unmeasured.push(piece.to_json().len());
            estimate += self.project_with(piece.clone(), &[]).messages.len();
            piece.append(&mut self.messages);
            self.messages = piece;
            is_projected = false;
            if self.end - self.start > window(self.limit) {
                bytes += unmeasured.drain(..).sum::<usize>();
                if bytes >= LONGER_BYTES {
                    break;
                }
            }
            step = (2 * step).min(LONGEST_STEP);
        }
        if is_projected { Ok(()) } else { self.project() }
    }

    fn project(&mut self) -> io::Result<()> {
        self.shown = self.project_with(self.messages.clone(), self.newer.as_deref().unwrap_or_default());
        if self.newer.is_none() && self.shown.after.failed_turn {
            let newer = self.read_on()?;
            self.shown = self.project_with(self.messages.clone(), &newer);
            self.newer = Some(newer);
        }
        Ok(())
    }

    fn project_with(&self, mut messages: Vec<Value>, newer: &[Value]) -> Shown {
        let turn_boundary = self.before.as_ref().and_then(Value::as_object).is_some_and(is_turn_boundary);
        let newest = messages.last().and_then(Value::as_object).and_then(seq);
        messages.extend_from_slice(newer);
        let mut shown = projection::project(messages, State { turn_boundary, failed_turn: false });
        if !newer.is_empty() {
            shown.messages.retain(|message| seq(message).is_some_and(|seq| Some(seq) <= newest));
        }
        shown
    }

    /// The messages after the window: up to the next of a user, or to one that settles what is pending.
    fn read_on(&self) -> io::Result<Vec<Value>> {
        let mut newer: Vec<Value> = Vec::new();
        let mut bytes = 0;
        let mut at = self.end;
        while at < self.history.len() && newer.len() < LONGER {
            let piece = self.history.read(at..(at + STEP).min(self.history.len()))?.values(self.now);
            at += STEP;
            for message in piece {
                bytes += message.to_json().len();
                if bytes > LONGER_BYTES {
                    return Ok(newer);
                }
                let is_user = message["role"] == "user";
                newer.push(message);
                if is_user {
                    return Ok(newer);
                }
            }
            if !self.project_with(self.messages.clone(), &newer).after.failed_turn {
                break;
            }
        }
        Ok(newer)
    }
}

/// How long a window is that may be expected to fill a page.
fn window(limit: usize) -> usize {
    20 * limit + 20
}

/// Where a range begins that has no more bytes than a window may have, but for its last message.
fn start_within(history: &impl History, range: Range<usize>) -> io::Result<usize> {
    let sizes = history.sizes(range.clone())?;
    let mut left = MOST_BYTES;
    let fits = |size: &&u64| {
        let room = left.checked_sub(**size);
        left = room.unwrap_or(0);
        room.is_some()
    };
    let count = sizes.iter().rev().take_while(fits).count();
    Ok(range.end - count.max(1).min(range.len()))
}

/// What is shown of messages of one number is shown together: where the first of `messages` from `start` on is, or an
/// earlier one of the same number as one of them.
pub(super) fn start_of_page(messages: &[Object], mut start: usize) -> usize {
    let mut numbers: Vec<u64> = messages[start..].iter().filter_map(seq).collect();
    numbers.sort_unstable();
    for at in (0..start).rev() {
        if seq(&messages[at]).is_some_and(|seq| numbers.binary_search(&seq).is_ok()) {
            start = at;
        }
    }
    start
}
