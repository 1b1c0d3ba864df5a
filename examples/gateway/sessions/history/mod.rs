//! The history of a session, page by page.
//!
//! A [`Query`] says which page, [`read`] reads it, and [`Page::body`] is what is sent. Pages are counted from the end:
//! a page without a cursor is the newest, and its `nextCursor` asks for the messages before it. With a limit no more is
//! read than it takes ([`window`]); without one all that there is.

mod page;
mod query;
mod window;

#[cfg(feature = "websocket")]
pub use self::page::page_from_end;
pub use self::{
    page::{Page, page, reads_as_empty},
    query::{BadQuery, Query, limit},
    window::read,
};
