//! A byte order mark behind what was written before it.
//!
//! A decoder strips one mark at the very start of a stream (WHATWG Encoding, "UTF-8 decode"). Once a
//! comment stands there, a mark that the inner body begins with would be a letter of its first field's
//! name. So it is left out, as the decoder would have done.

use bytes::{Buf, Bytes};
use http_body::Frame;

const MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Mark {
    /// Nothing was passed on yet.
    #[default]
    Start,
    /// Something was written before the inner body began, which is left to be read; so many bytes of a
    /// mark were taken out of it.
    Behind(u8),
    Settled,
}

impl Mark {
    /// Something is written before whatever comes next.
    pub(super) fn is_written_before(&mut self) {
        if let Self::Start = self {
            *self = Self::Behind(0);
        }
    }

    /// Whether a mark that comes next is to be taken out.
    pub(super) fn is_behind(self) -> bool {
        matches!(self, Self::Behind(_))
    }

    /// A frame of the inner body passes: if there is anything in it, a mark that comes next is a letter.
    pub(super) fn is_past<D: Buf>(&mut self, frame: &Frame<D>) {
        if frame.data_ref().is_none_or(Buf::has_remaining) {
            *self = Self::Settled;
        }
    }

    /// Whether all that was taken out is known to have been a mark.
    pub(super) fn is_settled(self) -> bool {
        !matches!(self, Self::Behind(1..))
    }

    /// The frame as it is passed on; `None` if nothing is left of it.
    pub(super) fn pass<D: Buf + From<Bytes>>(&mut self, frame: Frame<D>) -> Option<Frame<D>> {
        let Self::Behind(taken) = *self else {
            *self = Self::Settled;
            return Some(frame);
        };
        let taken = usize::from(taken);
        match frame.into_data() {
            Ok(data) if !data.has_remaining() => Some(Frame::data(data)),
            Ok(mut data) => {
                let expected = &MARK[taken..];
                let here = data.chunk().iter().zip(expected).take_while(|(byte, mark)| byte == mark).count();
                if here == expected.len() {
                    *self = Self::Settled;
                    data.advance(here);
                    Some(Frame::data(data))
                } else if here == data.remaining() {
                    *self = Self::Behind((taken + here) as u8);
                    None
                } else {
                    *self = Self::Settled;
                    Some(Frame::data(with_taken(taken, data)))
                }
            }
            Err(trailers) => {
                // A body of a part of a mark and nothing more: no event stream, and no loss.
                *self = Self::Settled;
                Some(trailers)
            }
        }
    }
}

/// What was taken for the beginning of a mark, and `data`.
fn with_taken<D: Buf + From<Bytes>>(taken: usize, data: D) -> D {
    if taken == 0 {
        return data;
    }
    let length = taken + data.remaining();
    MARK[..taken].chain(data).copy_to_bytes(length).into()
}
