//! A page's messages, projected without the rest of the transcript.
//!
//! What is projected is a stretch around the page. Whether that is long enough shows only
//! afterwards: the projection begins its answer where it can be trusted, and says which messages are
//! still in doubt. If the page is not settled the stretch is made longer on that side, at least
//! twice as long, so that a page costs a few times the page and never much more than the whole.

use std::{io, ops::Range};

use crate::gateway::{
    js::Object,
    projection::{Before, Doubt, Shown, project_window},
    transcript::Selection,
};

/// Which part of the projected messages a page is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The page ends before the first message that has this number or a greater one.
    pub(super) before: Option<u64>,
    pub(super) limit: Option<usize>,
    /// Text is cut after so many UTF-16 units.
    pub(super) max_chars: usize,
}

/// A page cut out of the projected messages.
#[derive(Debug)]
pub(super) struct Cut {
    /// The messages, as a JSON array.
    pub(super) messages: Vec<u8>,
    /// The number of the first message, if there is one.
    pub(super) first_seq: Option<u64>,
    /// There are messages before it.
    pub(super) has_more: bool,
}

/// Reads and projects what the page takes.
pub(super) fn cut(selection: &Selection<'_>, wanted: Wanted, now: f64) -> io::Result<Cut> {
    let mut stretch = wanted.first_guess(selection);
    loop {
        let raw = selection.read(stretch.clone())?;
        let spoken = selection.spoken_from(stretch.end);
        let later: Vec<_> = spoken.iter().map(|(_, key)| (*key).clone()).collect();
        let before = if stretch.start == 0 { Before::Nothing } else { Before::Unknown };
        let is_last = stretch.end == selection.len();
        let shown = project_window(raw.values(now), before, &later, wanted.max_chars);
        match wanted.page(&shown, before, is_last) {
            Ok(page) => {
                let messages = &shown[page.clone()];
                return Ok(Cut {
                    first_seq: messages.first().and_then(|shown| seq(&shown.message)),
                    messages: array(messages),
                    has_more: page.start > 0,
                });
            }
            Err(Short::Before) => {
                stretch.start = stretch.end.saturating_sub(2 * stretch.len());
            }
            Err(Short::After) => {
                stretch.end = selection.len().min(stretch.end + stretch.len());
            }
            Err(Short::Spoken(at)) => stretch.end = spoken[at].0 + 1,
        }
    }
}

/// What a stretch is too short for.
#[derive(Debug)]
enum Short {
    /// The beginning of the page.
    Before,
    /// The end of the page.
    After,
    /// Its end with the spoken form of one of its messages: this one of those after the stretch.
    Spoken(usize),
}

impl Wanted {
    /// Twice the page and some more, so that a second look is seldom needed.
    fn first_guess(&self, selection: &Selection<'_>) -> Range<usize> {
        const MORE: usize = 16;
        let last = selection.len();
        let end = self.before.map_or(last, |seq| {
            let at = seq.saturating_sub(selection.first_seq() as u64);
            usize::try_from(at).map_or(last, |at| at.min(last))
        });
        let start = self.limit.map_or(0, |limit| end.saturating_sub(2 * limit + MORE));
        start..last.min(end + MORE)
    }

    /// Which of the messages are the page, if that is certain.
    fn page(&self, shown: &[Shown<'_>], before: Before, is_last: bool) -> Result<Range<usize>, Short> {
        let end = match self.before {
            None => shown.len(),
            Some(before) => {
                let mut messages = shown.iter();
                match messages.position(|shown| seq(&shown.message) >= Some(before)) {
                    Some(at) => at,
                    None if is_last => shown.len(),
                    None => return Err(Short::After),
                }
            }
        };
        let start = self.limit.map_or(0, |limit| end.saturating_sub(limit));
        if before == Before::Unknown {
            // One message before the page shows that there is more. It and the one after the page
            // have to be there; how they look does not matter.
            if start == 0 {
                return Err(Short::Before);
            }
            let mut around = shown[start - 1..].iter().take(end - start + 2);
            if around.any(|shown| shown.doubt == Some(Doubt::PartnerBefore)) {
                return Err(Short::Before);
            }
        }
        let spoken = shown[start..end].iter().filter_map(|shown| match shown.doubt? {
            Doubt::SupplementAfter(at) => Some(at),
            Doubt::PartnerBefore => None,
        });
        spoken.max().map_or(Ok(start..end), |at| Err(Short::Spoken(at)))
    }
}

fn seq(message: &Object<'_>) -> Option<u64> {
    let seq = message.object("__openclaw")?.number("seq")?;
    Some(seq as u64)
}

fn array(messages: &[Shown<'_>]) -> Vec<u8> {
    let mut json = vec![b'['];
    for (at, shown) in messages.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        shown.message.write(&mut json);
    }
    json.push(b']');
    json
}
