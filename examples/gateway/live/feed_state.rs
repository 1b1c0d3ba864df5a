//! [`FeedState`]: what a feed has sent, and the events that bring its streams up to date.
//!
//! A stream of a page (a limit or a cursor) gets the page again after every change. A stream of the whole
//! history gets one `message` for each appended message for as long as [`Tail`] says that this is all that
//! changes; after anything else it gets the whole `history`.

use std::{io, ops::Range, path::PathBuf, sync::Arc};

use super::{
    FeedKey, Ids,
    event::Event,
    feed::BACKLOG,
    resume::Start,
    tail::{Step, Tail},
};
use crate::{
    json::{Object, Value},
    sessions::{
        history::{Page, Query},
        now,
        transcript::{Change, Position, Transcript, Transcripts, View},
    },
};

/// The longest `history` event that is kept for the next stream that joins; a longer one is made anew.
const KEPT_HISTORY: usize = 256 * 1024;

/// The state of one feed.
pub struct FeedState {
    key: FeedKey,
    ids: Ids,
    /// The transcript that was read last. Kept, so that it is the same however many others are read.
    transcript: Option<Arc<Transcript>>,
    /// As of when, once it was read; `None` inside when there is no transcript.
    position: Option<Option<Position>>,
    tail: Tail,
    /// The `history` event as of the position, once somebody asked for it.
    history: Option<Event>,
}

/// What has to be sent.
#[derive(Default)]
pub struct Update {
    /// To those who have had everything before.
    pub events: Vec<Event>,
    /// To the one who joins.
    pub first: Vec<Event>,
}

/// More has changed than messages can say.
struct NeedsHistory;

impl FeedState {
    pub fn new(key: FeedKey, ids: Ids) -> Self {
        let tail = Tail::default();
        Self { key, ids, transcript: None, position: None, tail, history: None }
    }

    /// Reads the transcript. All of the answer is as of one moment. After an error the streams wait for the
    /// next update.
    pub fn update(&mut self, transcripts: &Transcripts, joining: Option<&Start>) -> io::Result<Update> {
        if self.position.is_none() && joining.is_none() {
            return Ok(Update::default());
        }
        let view = self.view(transcripts)?;
        let position = view.as_ref().map(View::position);
        let events = match self.position {
            Some(before) if before == position => Vec::new(),
            Some(before) => self.advance(before, view.as_ref()).inspect_err(|_| {
                // What was sent of it is not known any more: the next update begins anew.
                self.position = Some(None);
            })?,
            None => {
                self.reset(view.as_ref());
                Vec::new()
            }
        };
        self.position = Some(position);
        let first = match joining {
            None => Vec::new(),
            Some(Start::History) => vec![self.history(view.as_ref())?],
            Some(Start::After(id)) => match self.missed(id, view.as_ref()) {
                Some(missed) => missed,
                None => vec![self.history(view.as_ref())?],
            },
        };
        Ok(Update { events, first })
    }

    /// The transcript as it is now, if there is one.
    fn view(&mut self, transcripts: &Transcripts) -> io::Result<Option<View>> {
        let path: Option<&PathBuf> = self.key.candidates.iter().find(|path| path.exists());
        let is_same = |last: &Arc<Transcript>| path.is_some_and(|path| last.path() == path);
        if !self.transcript.as_ref().is_some_and(is_same) {
            self.transcript = path.map(|path| transcripts.at(path));
        }
        match self.transcript.as_deref().map(Transcript::view) {
            None => Ok(None),
            Some(Ok(view)) => Ok(Some(view)),
            Some(Err(error)) if self.reads_as_empty(&error) => Ok(None),
            Some(Err(error)) => Err(error),
        }
    }

    /// What is not there is empty, and so is a folder to a read of the full history.
    fn reads_as_empty(&self, error: &io::Error) -> bool {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => true,
            io::ErrorKind::IsADirectory => self.key.query.tail().is_none(),
            _ => false,
        }
    }

    /// What came after the event with this id, if messages say it all.
    fn missed(&self, id: &str, view: Option<&View>) -> Option<Vec<Event>> {
        let then = self.ids.read(&self.key, id)?;
        let (Some(then), Some(view)) = (then, view) else {
            // There was nothing and there is nothing.
            return (then.is_none() && view.is_none()).then(Vec::new);
        };
        let missed = match view.since(then) {
            Change::Appended(range) if range.is_empty() => return Some(Vec::new()),
            Change::Appended(range) if self.key.query == Query::default() && range.len() <= BACKLOG => range,
            _ => return None,
        };
        let tail = Tail::read(view, missed.start, self.key.max_chars);
        let (key, ids) = (self.key.clone(), self.ids.clone());
        let mut as_it_was = Self { key, ids, transcript: None, position: Some(Some(then)), tail, history: None };
        let mut events = Vec::new();
        as_it_was.append(view, missed, &mut events).ok()?;
        Some(events)
    }

    fn advance(&mut self, before: Option<Position>, view: Option<&View>) -> io::Result<Vec<Event>> {
        let Some((before, view)) = before.zip(view) else { return Ok(vec![self.rewritten(view)?]) };
        let appended = match view.since(before) {
            Change::Appended(range) if range.is_empty() => return Ok(Vec::new()),
            Change::Appended(range) if self.key.query == Query::default() => range,
            _ => return Ok(vec![self.rewritten(Some(view))?]),
        };
        self.history = None;
        let mut events = Vec::new();
        match self.append(view, appended, &mut events) {
            Err(NeedsHistory) => events.push(self.rewritten(Some(view))?),
            Ok(()) if self.tail.is_long() => {
                self.tail = Tail::read(view, view.total(), self.key.max_chars);
            }
            Ok(()) => {}
        }
        Ok(events)
    }

    /// Takes in the messages that were appended. What can be said by messages is in `events`.
    fn append(&mut self, view: &View, range: Range<usize>, events: &mut Vec<Event>) -> Result<(), NeedsHistory> {
        let raw = view.history().read(range).map_err(|_| NeedsHistory)?;
        for message in raw.values(now()) {
            match self.tail.append(message, self.key.max_chars) {
                Step::Nothing => {}
                Step::Message { message, id, seq } => events.push(self.message_event(view, message, id, seq)),
                Step::History => return Err(NeedsHistory),
            }
        }
        Ok(())
    }

    fn message_event(&self, view: &View, mut message: Object<'static>, id: Option<Value<'static>>, seq: f64) -> Event {
        // A reply that was sent with a tool is shown when the silent message after it arrives, and
        // has the number of that.
        if let Some(Value::Object(meta)) = message.get_mut("__openclaw") {
            meta.insert("seq", seq);
        }
        let mut body = Object::new();
        body.insert("sessionKey", self.key.session.clone());
        body.insert("message", message);
        if let Some(id) = id {
            body.insert("messageId", id);
        }
        body.insert("messageSeq", seq);
        let mut data = Vec::new();
        body.write(&mut data);
        Event::new(&self.ids.write(&self.key, view.position_after(seq as usize - 1)), "message", &data)
    }

    /// All was read anew: the `history` that says so.
    fn rewritten(&mut self, view: Option<&View>) -> io::Result<Event> {
        self.reset(view);
        self.history(view)
    }

    fn reset(&mut self, view: Option<&View>) {
        self.history = None;
        self.tail = match view {
            Some(view) if self.key.query == Query::default() => Tail::read(view, view.total(), self.key.max_chars),
            _ => Tail::default(),
        };
    }

    fn history(&mut self, view: Option<&View>) -> io::Result<Event> {
        if let Some(history) = &self.history {
            return Ok(history.clone());
        }
        let FeedKey { session, query, max_chars, .. } = &self.key;
        let page = view.map_or_else(|| Ok(Page::default()), |view| Page::of(view, *query, *max_chars, now()))?;
        let id = self.ids.write(&self.key, view.map(View::position));
        let history = Event::new(&id, "history", &page.body(session));
        self.history = (history.len() <= KEPT_HISTORY).then(|| history.clone());
        Ok(history)
    }
}

#[cfg(test)]
mod tests;
