//! Live history: what is appended to a transcript reaches the streams that show it.
//!
//! 1. Streams that show the same thing (session, page, text limit) share one [`Feed`]: a change is
//!    read, projected and written once, and every stream gets the same bytes.
//! 2. A stream first gets what the feed last knew, and from then on every event after that: nothing
//!    is lost or repeated in between.
//! 3. A stream that reads so slowly that events were dropped for it gets the whole history again.
//! 4. A stream that was cut can go on where it was ([`resume`]).
//! 5. The last stream to go takes the feed with it.
//! 6. Streams end when their session is killed or the gateway stops. Ending them when access ends is
//!    not done here, but by the layer around the route.
//! 7. The client of an open stream can renew its credential ([`renewal`]), and is told of its scopes if
//!    it asks ([`scopes`]).

mod event;
mod feed;
mod renewal;
mod resume;
mod scopes;
mod shown;
mod streams;

pub use self::{
    feed::{Feed, FeedKey, Readers},
    renewal::{Renewable, Renewals, StreamId},
    resume::{Ids, Wish},
    scopes::Told,
    streams::{EventBody, Streams},
};
