//! The history of a session, page by page.
//!
//! A [`Query`] says which page, [`read`] reads it, and [`Page::body`] is what is sent. Pages are
//! counted from the end: a page without a cursor is the newest, and its `nextCursor` asks for the
//! messages before it.
//!
//! - Without a limit, or with a cursor, a page is cut out of the *full* history.
//! - With a limit alone it is cut out of the *tail* of the transcript, and may differ.

mod page;
mod query;

pub use self::{
    page::{Page, read, reads_as_empty},
    query::{Cursor, Query},
};
