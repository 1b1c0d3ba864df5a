//! JSON as JavaScript has it, which no crate has: strings that may hold a lone surrogate, numbers and member order
//! as `JSON.stringify` writes them, values that borrow from the line, and members found without parsing it.
//!
//! The transcripts were written by a JavaScript program, and the rules for showing them are
//! stated in its terms. Two of its habits rule out an ordinary JSON library:
//!
//! 1. A string is a sequence of UTF-16 units. `"\ud83d"` alone is a legal string, lengths count
//!    units, and a cut can fall inside a pair. [`Text`] is therefore WTF-8: UTF-8 that can also
//!    hold a lone surrogate.
//! 2. A number is a double, and is written the way JavaScript writes doubles.
//!
//! - `parse`, `write`: what `JSON.parse` reads and `JSON.stringify` writes
//! - `value`, `object`, `text`: a value, an object in its order, a string
//! - `wtf8`: JavaScript's functions on strings, on slices
//! - `skim`: which bytes of a text are the members of its object, without a value built
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
