//! Live history: what is appended to a transcript reaches the streams that show it.
//!
//! From an appended line to an event: [`Watcher`](crate::files::Watcher) wakes the feed's
//! `Follower`; [`FeedState::update`](feed_state::FeedState::update) reads what was added
//! ([`View::since`](crate::sessions::transcript::View::since)), [`Tail::append`](tail::Tail::append) projects it,
//! the feed broadcasts the [`Event`](event::Event), and each [`EventBody`] writes its bytes.
//!
//! - `held`: what is there for as long as somebody holds it
//! - `shown`: a session for streams that are elsewhere
//! - `streams`: the open streams, by session and by feed, and the body of each
//! - `following`: a session that is followed without its history
//! - `feed`: one transcript, followed for the streams that share it
//! - `feed_state`: what was sent, and the events that come next
//! - `history`: the event that a stream begins with
//! - `tail`: what an appended message does to what is shown
//! - `resume`: ids of events, and where a stream that was cut goes on
//! - `event`: the bytes of an event, with its id and without
//! - `scopes`: the `scopes` event
//!
//! 1. Streams that show the same thing (session, page, text limit) share one [`Feed`]: a change is
//!    read, projected and written once, and every stream gets the same bytes.
//! 2. A stream first gets what the feed last knew, and from then on every event after that: nothing
//!    is lost or repeated in between.
//! 3. A stream that reads so slowly that events were dropped for it gets the whole history again.
//! 4. A stream that was cut can go on where it was ([`resume`]).
//! 5. The last stream to go takes the feed with it.
//! 6. Streams end when their session is killed. Ending them when access ends, or the gateway, is not done here, but by
//!    the layer around the route.
//! 7. A feed follows its session: when the row names another transcript, that is shown.
//! 8. The client of an open stream is told of its scopes if it asks ([`scopes`]).

mod event;
mod feed;
mod feed_state;
#[cfg(feature = "websocket")]
mod following;
mod held;
mod history;
mod resume;
mod scopes;
#[cfg(feature = "edge")]
mod shown;
mod streams;
mod tail;

#[cfg(feature = "websocket")]
pub use self::following::{Following, News};
#[cfg(feature = "edge")]
pub use self::{
    event::{Event, KeptEvent},
    feed::{BACKLOG, Sent},
    held::{Held, Shared},
    resume::{Start, position},
    shown::Shown,
    streams::{EventBody, WAIT},
};
pub use self::{
    feed::{Feed, FeedKey, Readers},
    resume::{Ids, StreamOptions},
    scopes::ScopeUpdates,
    streams::Streams,
};
