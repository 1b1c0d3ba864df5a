//! The one value that the layers share, and what is needed to check it again: [`Access`], which a handler
//! finds in the request's extensions, and [`AccessSource`], which makes one without a door.

// - `value`: the access itself: identity, granted scopes, required scopes.
// - `entered`: how it is handed on, in the extensions of requests and responses.
// - `terms`: what an access has established so far; it changes at a recheck and at a renewal.
// - `source`: where an access came from, which is what is asked again.
// - `policy`: what holds at the door and for as long as the response streams.
// - `credential`: the credential that a stream goes by, its own or the one it was renewed with.
// - `own`: a source of one's own in place of the door.
// - `renew`: `Access::renew`, and why it refuses.
//
// The door makes an access with `Access::from_source` and puts it into the request by `enter`; a
// stream that starts subscribes to its credential with `Access::subscribe` and hands each answer to
// `Access::apply`. Whether access holds is judged by `Policy::judge`, in every case, and whether scopes are
// enough by `Terms::check`.

mod credential;
mod entered;
mod own;
mod policy;
mod renew;
mod source;
mod terms;
mod value;

pub(crate) use self::{
    credential::{CredentialInUse, Effect},
    entered::{Entered, Watched, enter, of, of_mut},
    policy::Policy,
    source::Source,
};
pub use self::{own::AccessSource, renew::RenewError, value::Access};
