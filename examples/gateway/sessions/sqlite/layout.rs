//! [`Layout`]: the history of a session as numbers, found without its text.
//!
//! Shown are the messages of the branch and the markers between them (compactions, resets, what extensions show).
//! After a reset only the turns that it keeps are shown, then the reset, then what comes after it.
//!
//! Messages are counted by the database (`message_position`), so their numbers take no memory; where its index is
//! not up to date they are counted by [`Branch`]. The markers are few and are kept.

use std::{io, ops::Range};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    branch::{Branch, Row},
    database::failed,
    facts::Facts,
};

/// The JSON of a record as far as [`Facts`] need it: a compressed one has that beside it.
pub(super) const FACTS: &str = "coalesce(event_json, json_extract(navigation_json, '$.navigation'))";

/// What is shown of a branch, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// How many messages the branch has.
    messages: u64,
    /// Where in the branch the messages are that the last reset keeps.
    kept: Vec<u64>,
    /// Where in the branch the first message is that comes after it.
    after_reset: u64,
    markers: Vec<Marker>,
}

/// A record that is shown although it has no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marker {
    /// Its place in the history.
    shown_at: u64,
    raw: u64,
}

/// What is shown at a place of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The message of this place in the branch.
    Message(u64),
    /// The record of this number.
    Marker(u64),
}

impl Layout {
    pub(super) fn len(&self) -> usize {
        (self.kept.len() as u64 + self.messages.saturating_sub(self.after_reset)) as usize + self.markers.len()
    }

    /// What is shown at these places, counted from 0. O(range), and the markers by bisection.
    pub(super) fn shown(&self, range: Range<usize>) -> impl Iterator<Item = Shown> + '_ {
        let before = self.markers.partition_point(|marker| marker.shown_at < range.start as u64);
        let mut markers = self.markers[before..].iter().peekable();
        let mut messages = (range.start - before) as u64;
        range.map(move |at| {
            if let Some(marker) = markers.next_if(|marker| marker.shown_at == at as u64) {
                return Shown::Marker(marker.raw);
            }
            let message = messages;
            messages += 1;
            let kept = self.kept.get(message as usize).copied();
            Shown::Message(kept.unwrap_or_else(|| self.after_reset + message - self.kept.len() as u64))
        })
    }

    /// Whether it is the other one and messages at its end that can be told one by one.
    ///
    /// OpenClaw numbers what is appended without the markers. Where that is a number that the history had already
    /// it sends the history anew, and so do we: to a client both numbers would be the same.
    pub(super) fn goes_on_from(&self, before: &Self) -> bool {
        let has_news = self.messages != before.messages;
        let is_new_number = before.messages + 1 > before.len() as u64;
        (&self.kept, self.after_reset, &self.markers) == (&before.kept, before.after_reset, &before.markers)
            && self.messages >= before.messages
            && (!has_news || is_new_number)
    }

    /// Adds a marker before which so many messages of the branch stand.
    fn mark(&mut self, raw: u64, messages_before: u64) {
        let messages = self.kept.len() as u64 + messages_before.saturating_sub(self.after_reset);
        self.markers.push(Marker { shown_at: messages + self.markers.len() as u64, raw });
    }

    /// That of records whose branch was worked out here, with the numbers of its messages' records.
    pub(super) fn of_branch(branch: &Branch) -> (Self, Vec<u64>) {
        let rows = branch.rows();
        // The last one of them, as they were written.
        let reset = rows.iter().enumerate().filter(|(_, row)| row.is_reset).max_by_key(|(_, row)| row.raw);
        let messages_in = |rows: &[Row]| rows.iter().filter(|row| row.has_message).count() as u64;
        let mut layout = Self { messages: messages_in(rows), ..Self::default() };
        let mut first_marker = 0;
        if let Some((at, reset)) = reset {
            layout.after_reset = messages_in(&rows[..at + 1]);
            let first = branch.first_kept(*reset).filter(|first| *first < at).unwrap_or(at);
            let before = rows[first..at].iter().filter(|row| row.has_message);
            let turns = (messages_in(&rows[..first])..).zip(before).filter(|(_, row)| row.is_turn);
            layout.kept = turns.map(|(position, _)| position).collect();
            first_marker = at;
        }
        let mut position = messages_in(&rows[..first_marker]);
        let mut raws = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            if at >= first_marker && row.is_marker {
                // A record that is both comes before itself.
                layout.mark(row.raw, position + u64::from(row.has_message));
            }
            if row.has_message {
                raws.push(row.raw);
                position += u64::from(at >= first_marker);
            }
        }
        (layout, raws)
    }

    /// That of a branch that the database has counted, from these counts on.
    pub(super) fn of_index(
        sqlite: &Connection,
        session: &str,
        counts: Counts,
        known: Option<(&Self, From)>,
    ) -> io::Result<Self> {
        if counts.records == counts.messages {
            return Ok(Self { messages: counts.messages, ..Self::default() });
        }
        let (mut layout, from) = match known {
            Some((known, end)) if Self::latest_reset(sqlite, session, end)?.is_none() => (known.clone(), end),
            _ => match Self::latest_reset(sqlite, session, From::START)? {
                Some(reset) => {
                    let from = From { position: reset.position, ..From::START };
                    (Self::after_reset(sqlite, session, reset, counts)?, from)
                }
                None => (Self::default(), From::START),
            },
        };
        layout.messages = counts.messages;
        let sql = format!(
            "SELECT identity.seq, active.active_position, {FACTS}
            FROM transcript_event_identities AS identity INDEXED BY idx_agent_transcript_event_sequence
                CROSS JOIN session_transcript_active_events AS active
                    ON active.session_id = identity.session_id AND active.event_seq = identity.seq
                CROSS JOIN transcript_events AS event
                    ON event.session_id = identity.session_id AND event.seq = identity.seq
            WHERE identity.session_id = ?1 AND identity.event_type IN ('compaction', 'reset', 'custom_message')
                AND active.active_position >= ?2 AND identity.seq >= ?3
            ORDER BY active.active_position"
        );
        let mut statement = sqlite.prepare_cached(&sql).map_err(failed)?;
        let mut rows = statement.query(params![session, from.position, from.raw]).map_err(failed)?;
        // Markers in a row have one message after them, which is looked for once.
        let mut next = Next { position: 0, messages_before: 0 };
        while let Some(row) = rows.next().map_err(failed)? {
            let (raw, position): (u64, u64) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
            let facts = row.get_ref(2).map_err(failed)?.as_bytes_or_null().map_err(|error| failed(error.into()))?;
            if facts.is_some_and(|facts| Facts::parse(facts).is_marker()) {
                if next.position <= position {
                    next = Next::after(sqlite, session, position, counts)?;
                }
                layout.mark(raw, next.messages_before);
            }
        }
        Ok(layout)
    }

    /// The last reset of the branch from here on.
    fn latest_reset(sqlite: &Connection, session: &str, from: From) -> io::Result<Option<Reset>> {
        let sql = "SELECT identity.seq, active.active_position
            FROM transcript_event_identities AS identity INDEXED BY idx_agent_transcript_event_sequence
                CROSS JOIN session_transcript_active_events AS active
                    ON active.session_id = identity.session_id AND active.event_seq = identity.seq
            WHERE identity.session_id = ?1 AND identity.event_type = 'reset' AND active.active_position >= ?2
                AND identity.seq >= ?3
            ORDER BY identity.seq DESC LIMIT 1";
        let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
        let reset = statement.query_row(params![session, from.position, from.raw], |row| {
            Ok(Reset { raw: row.get(0)?, position: row.get(1)? })
        });
        reset.optional().map_err(failed)
    }

    fn after_reset(sqlite: &Connection, session: &str, reset: Reset, counts: Counts) -> io::Result<Self> {
        let after_reset = Next::after(sqlite, session, reset.position, counts)?.messages_before;
        let mut layout = Self { after_reset, ..Self::default() };
        let sql = format!("SELECT {FACTS} FROM transcript_events WHERE session_id = ?1 AND seq = ?2");
        let mut statement = sqlite.prepare_cached(&sql).map_err(failed)?;
        let facts: Option<Vec<u8>> = statement
            .query_row(params![session, reset.raw], |row| Ok(row.get_ref(0)?.as_bytes_or_null()?.map(<[u8]>::to_vec)))
            .map_err(failed)?;
        let facts = facts.map(|facts| Facts::parse(&facts)).unwrap_or_default();
        let Some(first) = facts.first_kept.text() else { return Ok(layout) };
        let sql = "SELECT active.active_position FROM transcript_event_identities AS identity
                CROSS JOIN session_transcript_active_events AS active
                    ON active.session_id = identity.session_id AND active.event_seq = identity.seq
            WHERE identity.session_id = ?1 AND identity.event_id = ?2";
        let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
        let first = statement.query_row(params![session, first], |row| row.get::<_, u64>(0)).optional();
        let Some(first) = first.map_err(failed)? else { return Ok(layout) };
        let sql = format!(
            "SELECT active.message_position, {FACTS} FROM session_transcript_active_events AS active
                CROSS JOIN transcript_events AS event
                    ON event.session_id = active.session_id AND event.seq = active.event_seq
            WHERE active.session_id = ?1 AND active.active_position >= ?2 AND active.active_position < ?3
                AND active.message_position IS NOT NULL
            ORDER BY active.active_position"
        );
        let mut statement = sqlite.prepare_cached(&sql).map_err(failed)?;
        let mut rows = statement.query(params![session, first, reset.position]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let facts = row.get_ref(1).map_err(failed)?.as_bytes_or_null().map_err(|error| failed(error.into()))?;
            if facts.is_some_and(|facts| Facts::parse(facts).is_turn()) {
                layout.kept.push(row.get(0).map_err(failed)?);
            }
        }
        Ok(layout)
    }
}

/// How many records and messages a branch has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) records: u64,
    pub(super) messages: u64,
}

/// Where in a branch, and from which record of the session on, something is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    pub(super) position: u64,
    pub(super) raw: u64,
}

impl From {
    const START: Self = Self { position: 0, raw: 0 };
}

#[derive(Clone, Copy)]
struct Reset {
    raw: u64,
    position: u64,
}

/// The next message of a branch.
struct Next {
    /// Where in the branch it is, or behind all that may be in one if there is none.
    position: u64,
    /// How many messages of the branch come before it.
    messages_before: u64,
}

impl Next {
    /// The first after this place. O(records up to it).
    fn after(sqlite: &Connection, session: &str, position: u64, counts: Counts) -> io::Result<Self> {
        let sql = "SELECT active_position, message_position FROM session_transcript_active_events
            WHERE session_id = ?1 AND active_position > ?2 AND message_position IS NOT NULL
            ORDER BY active_position LIMIT 1";
        let mut statement = sqlite.prepare_cached(sql).map_err(failed)?;
        let next = statement.query_row(params![session, position], |row| {
            Ok(Self { position: row.get(0)?, messages_before: row.get(1)? })
        });
        let next = next.optional().map_err(failed)?;
        Ok(next.unwrap_or(Self { position: u64::MAX, messages_before: counts.messages }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(messages: u64, kept: &[u64], after_reset: u64, markers: &[(u64, u64)]) -> Layout {
        let markers = markers.iter().map(|(shown_at, raw)| Marker { shown_at: *shown_at, raw: *raw }).collect();
        Layout { messages, kept: kept.to_vec(), after_reset, markers }
    }

    #[test]
    fn what_is_shown_is_found_from_any_place() {
        use Shown::{Marker, Message};
        let layout = layout(9, &[2, 4], 6, &[(0, 90), (2, 91), (3, 92), (7, 93)]);
        let all = [
            Marker(90),
            Message(2),
            Marker(91),
            Marker(92),
            Message(4),
            Message(6),
            Message(7),
            Marker(93),
            Message(8),
        ];
        assert_eq!(layout.len(), all.len());
        for start in 0..=all.len() {
            for end in start..=all.len() {
                assert_eq!(layout.shown(start..end).collect::<Vec<_>>(), all[start..end]);
            }
        }
    }

    #[test]
    fn a_marker_counts_the_messages_before_it_and_the_markers() {
        let mut marked = layout(9, &[2, 4], 6, &[]);
        for (raw, before) in [(90, 6), (91, 6), (92, 8)] {
            marked.mark(raw, before);
        }
        assert_eq!(marked, layout(9, &[2, 4], 6, &[(2, 90), (3, 91), (6, 92)]));
    }
}
