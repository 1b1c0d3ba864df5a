//! [`FeedState`]: what a feed has sent, and the events that bring its streams up to date.
//!
//! A stream of a page (a limit or a cursor) gets the page again after every change. A stream of the whole
//! history gets one `message` for each appended message for as long as [`Tail`] says that this is all that
//! changes, and they are not too many for one look; after anything else it gets the whole `history`.
//!
//! A `history` is not written here: each stream asks for it when it comes to it, so that a slow one is not
//! written those in between, and nothing else waits for it.

use std::{io, ops::Range, sync::Arc};

use super::{
    FeedKey, Ids,
    event::Event,
    feed::{LOOK, LOOK_BYTES},
    resume::Start,
    tail::{Shown, Tail},
};
use crate::{
    json::{self, Fields as _, Object},
    sessions::{
        history::{Query, reads_as_empty},
        now,
        record::History as _,
        transcript::{Change, Place, Position, Transcript, Transcripts, View},
    },
};

/// How many messages are read at once.
const AT_ONCE: usize = 32;

/// The state of one feed.
pub struct FeedState {
    key: FeedKey,
    /// Where the transcript may be, the best place first.
    candidates: Vec<Place>,
    ids: Ids,
    /// The transcript that was read last. Kept, so that it is the same however many others are read.
    transcript: Option<Arc<Transcript>>,
    told: Told,
    tail: Tail,
}

/// What the streams were told.
#[derive(Clone, Copy)]
enum Told {
    /// There were none.
    Nothing,
    /// Everything up to here; `None` when there was no transcript.
    UpTo(Option<Position>),
    /// It is not known: reading failed in between.
    Unknown,
}

/// What has to be sent.
#[derive(Default)]
pub struct Update {
    /// To those who have had everything before.
    pub events: Vec<Event>,
    /// To them, in place of events: the history as it is now.
    pub anew: bool,
    /// To the one who joins.
    pub first: First,
}

/// What a stream begins with.
#[derive(Default)]
pub enum First {
    #[default]
    Nothing,
    /// What it missed.
    Events(Vec<Event>),
    /// The history of this moment, if there is a transcript.
    History(Option<View>),
}

impl FeedState {
    pub fn new(key: FeedKey, ids: Ids, candidates: Vec<Place>) -> Self {
        Self { key, candidates, ids, transcript: None, told: Told::Nothing, tail: Tail::default() }
    }

    /// The transcript may be at these places from now on.
    pub fn move_to(&mut self, candidates: Vec<Place>) {
        self.candidates = candidates;
    }

    /// Reads the transcript. All of the answer is as of one moment. After an error the streams wait for the
    /// next update.
    pub fn update(&mut self, transcripts: &Transcripts, joining: Option<&Start>) -> io::Result<Update> {
        if matches!(self.told, Told::Nothing) && joining.is_none() {
            return Ok(Update::default());
        }
        let Some(transcript) = self.transcript(transcripts)? else { return self.update_to(None, joining) };
        match transcript.look(|view| self.update_to(Some(view), joining)) {
            Err(error) if reads_as_empty(&error) => self.update_to(None, joining),
            update => update,
        }
    }

    /// The transcript, if there is one.
    fn transcript(&mut self, transcripts: &Transcripts) -> io::Result<Option<Arc<Transcript>>> {
        let mut found = None;
        for place in &self.candidates {
            if place.exists()? {
                found = Some(place);
                break;
            }
        }
        let is_same = |last: &Arc<Transcript>| found.is_some_and(|place| last.place() == place);
        if !self.transcript.as_ref().is_some_and(is_same) {
            self.transcript = found.map(|place| transcripts.at(place));
        }
        Ok(self.transcript.clone())
    }

    fn update_to(&mut self, view: Option<View>, joining: Option<&Start>) -> io::Result<Update> {
        let position = view.as_ref().map(View::position);
        let mut update = Update::default();
        match std::mem::replace(&mut self.told, Told::Unknown) {
            Told::UpTo(before) if before == position => {}
            Told::UpTo(before) => match self.advance(before, view.as_ref())? {
                Some(events) => update.events = events,
                None => update.anew = true,
            },
            Told::Unknown => update.anew = true,
            Told::Nothing => self.tail = self.tail(view.as_ref())?,
        }
        if update.anew {
            self.tail = self.tail(view.as_ref())?;
        }
        self.told = Told::UpTo(position);
        update.first = match joining {
            None => First::Nothing,
            #[cfg(feature = "websocket")]
            Some(Start::Now) => First::Nothing,
            Some(Start::History) => First::History(view),
            Some(Start::After(id)) => match self.missed(id, view.as_ref())? {
                Some(missed) => First::Events(missed),
                None => First::History(view),
            },
        };
        Ok(update)
    }

    /// What came after the event with this id, if messages say it all.
    fn missed(&self, id: &str, view: Option<&View>) -> io::Result<Option<Vec<Event>>> {
        let Some(then) = self.ids.read(&self.key, id) else { return Ok(None) };
        let (Some(then), Some(view)) = (then, view) else {
            // There was nothing and there is nothing.
            return Ok((then.is_none() && view.is_none()).then(Vec::new));
        };
        match self.appended(then, view) {
            None => Ok(None),
            Some(appended) if appended.is_empty() => Ok(Some(Vec::new())),
            Some(appended) => {
                let mut tail = Tail::read(view, appended.start)?;
                self.append(&mut tail, view, appended)
            }
        }
    }

    /// The events of what was appended since then. `None`: more has changed than messages can say.
    fn advance(&mut self, before: Option<Position>, view: Option<&View>) -> io::Result<Option<Vec<Event>>> {
        let Some((before, view)) = before.zip(view) else { return Ok(None) };
        let Some(appended) = self.appended(before, view) else { return Ok(None) };
        let mut tail = std::mem::take(&mut self.tail);
        let events = self.append(&mut tail, view, appended)?;
        self.tail = tail;
        Ok(events)
    }

    /// The messages that were appended, if that is all that happened and they can be said one by one.
    fn appended(&self, before: Position, view: &View) -> Option<Range<usize>> {
        let Change::Appended(range) = view.since(before) else { return None };
        let one_by_one = self.key.query == Query::default() && range.len() <= LOOK;
        (range.is_empty() || one_by_one).then_some(range)
    }

    fn append(&self, tail: &mut Tail, view: &View, range: Range<usize>) -> io::Result<Option<Vec<Event>>> {
        tracing::debug!(key = self.key.session, messages = range.len(), "appended messages are read");
        let mut events = Vec::new();
        let mut bytes = 0;
        for start in range.clone().step_by(AT_ONCE) {
            let raw = view.read(start..range.end.min(start + AT_ONCE))?;
            let Some(shown) = tail.append(raw.values(now())) else { return Ok(None) };
            drop(raw);
            for shown in shown {
                let event = self.message_event(view, shown);
                bytes += event.len();
                events.push(event);
            }
            if events.len() > 1 && bytes > LOOK_BYTES {
                return Ok(None);
            }
        }
        Ok(Some(events))
    }

    fn message_event(&self, view: &View, Shown { message, id, seq }: Shown) -> Event {
        let mut body = Object::new();
        body.set("sessionKey", self.key.session.clone());
        body.set("message", message);
        if let Some(id) = id {
            body.set("messageId", id);
        }
        body.set("messageSeq", seq);
        let id = self.ids.write(&self.key, Some(view.position_after(seq as usize)));
        Event::new(&id, "message", |data| json::write(&body, data))
    }

    /// The end of what is shown, where that matters.
    fn tail(&self, view: Option<&View>) -> io::Result<Tail> {
        match view {
            Some(view) if self.key.query == Query::default() => Tail::read(view, view.len()),
            _ => Ok(Tail::default()),
        }
    }
}

#[cfg(test)]
mod tests;
