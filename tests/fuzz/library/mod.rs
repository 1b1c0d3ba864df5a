//! The targets of the library: what strangers, providers and other nodes send.

pub(crate) mod scopes;
