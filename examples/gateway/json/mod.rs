//! JSON and text as JavaScript has them.
//!
//! The transcripts were written by a JavaScript program, and the rules for showing them are
//! stated in its terms. Two of its habits rule out an ordinary JSON library:
//!
//! 1. A string is a sequence of UTF-16 units. `"\ud83d"` alone is a legal string, lengths count
//!    units, and a cut can fall inside a pair. [`Text`] is therefore WTF-8: UTF-8 that can also
//!    hold a lone surrogate.
//! 2. A number is a double, and is written the way JavaScript writes doubles.
//!
//! The rest is plain: [`parse`] reads a line and borrows from it, a [`Value`] is looked at and
//! changed in place, and [`Value::write`] writes what `JSON.stringify` would.

mod object;
mod parse;
pub mod skim;
mod text;
mod value;
mod write;
pub mod wtf8;

pub use self::{
    object::Object,
    parse::{MAX_DEPTH, ParseError, decode, parse},
    text::Text,
    value::Value,
};
