//! How an access is handed on: in the extensions of a request, and to a layer further out in those of the
//! response.

use std::sync::Arc;

use http::{Extensions, Request};

use super::Access;
use crate::Denied;

/// The [`Access`] of a request, or the refusal that says which layer missed it.
pub(crate) fn of<'r, B>(request: &'r Request<B>, layer: &'static str) -> Result<&'r Access, Denied> {
    request.extensions().get().ok_or(Denied::NoAccess { layer })
}

/// The same, to be changed.
pub(crate) fn of_mut<'r, B>(request: &'r mut Request<B>, layer: &'static str) -> Result<&'r mut Access, Denied> {
    request.extensions_mut().get_mut().ok_or(Denied::NoAccess { layer })
}

/// Puts a new access into a request, inside of the one that is there already. Returns what is to be told with
/// the response, if a layer further out watches that.
pub(crate) fn enter(extensions: &mut Extensions, mut access: Access) -> (&Access, Option<Entered>) {
    let mut is_watched = extensions.remove::<Watched>().is_some();
    if let Some(outer) = extensions.remove::<Access>() {
        is_watched |= outer.terms().is_watched;
        // Nobody else has it yet.
        if let Some(inner) = Arc::get_mut(&mut access.0) {
            inner.outer = Some(outer);
        }
    }
    let entered = is_watched.then(|| {
        access.is_watched();
        Entered(access.clone())
    });
    (extensions.get_or_insert_with(|| access), entered)
}

/// A layer is going to watch the response to a request that has no access yet: an extension of that.
#[derive(Clone, Copy)]
pub(crate) struct Watched;

/// The access of a door that stands inside of the layer that watches the response: an extension of the
/// response, by which that layer learns of it.
#[derive(Clone)]
pub(crate) struct Entered(Access);

impl Entered {
    /// Of two doors the inner one's stays: the outer one's access is in it.
    pub(crate) fn tell(self, extensions: &mut Extensions) {
        extensions.get_or_insert_with(|| self);
    }

    /// The innermost access that a response tells of.
    pub(crate) fn innermost(extensions: &Extensions) -> Option<&Access> {
        extensions.get().map(|Self(access)| access)
    }
}
