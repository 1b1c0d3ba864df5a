//! Revocations that an identity provider sends: Shared Signals, and OpenID Connect back-channel logout.
//!
//! | what | how it comes | |
//! | --- | --- | --- |
//! | security event tokens (RFC 8417) of the Shared Signals Framework, with the events of CAEP and RISC | pushed (RFC 8935) | [`EventReceiver`], a service to mount |
//! | the same | polled (RFC 8936) | [`EventPoller`], a future to spawn |
//! | logout tokens of OpenID Connect Back-Channel Logout 1.0 | pushed | [`LogoutReceiver`], a service to mount |
//!
//! All of them move [`Revocations`](super::Revocations): what is concerned is refused at the door, and its open
//! streams end at once. Events add to expiry and do not replace it, as one that is never sent is never missed.
//!
//! # How an event token is judged
//!
//! 1. It is at most 16 KiB and signed by the transmitter, which the [`VerifySignature`] that was handed in says;
//!    nothing of it is believed before, and what a stranger sends is in no log. Keys that cannot be had, or not within
//!    ten seconds, are no verdict: 503, and the token comes again.
//! 2. `typ` is `secevent+jwt`, so that no token of another kind passes for one. `sub` or `exp` at the top: refused.
//! 3. `iss` is the transmitter, `aud` names this receiver, `jti` and `iat` are there, and `events` is one event.
//! 4. A `jti` that is known was applied already and is accepted again. It counts as known once its event was
//!    read and applied as a whole: one that could not be is corrected and sent again. The last 10,000 are known;
//!    an older event that comes again takes back no more than it did the first time.
//! 5. Whom it concerns is `sub_id`, or the `subject` of the event itself: an identifier (RFC 9493) in the format
//!    `iss_sub`, `email`, `opaque` or `jwt_id`, or a complex one of a `user` and a `session`. One that has a member
//!    which the transmitter calls critical and is not understood here is discarded, and so is one that names
//!    nobody here, or a subject or token of an [issuer](EventReceiver::with_subject_issuer) that the transmitter does
//!    not speak for; that is told to the operator, and the token is accepted.
//! 6. What was issued before the event is taken back: by its `event_timestamp`, else `toe`, else `iat`, and now
//!    where that lies more than five minutes ahead. The transmitter's clock may go ahead, and what it issued then
//!    is dated by it too.
//!
//! | event | takes back |
//! | --- | --- |
//! | CAEP `session-revoked`, RISC `sessions-revoked` | the session if one is named, else all of the subject |
//! | CAEP `credential-change`, unless its `change_type` is `create` | all of the subject |
//! | CAEP `token-claims-change` | all of the subject, or the one token that is named by `jwt_id` |
//! | OAuth `token-revoked`, `tokens-revoked` | the same |
//! | RISC `account-disabled`, `account-purged` | all of the subject |
//! | verification | nothing: its `state` is handed to [`with_on_verification`](EventReceiver::with_on_verification) |
//! | any other | nothing: accepted |
//!
//! # Example
//!
//! ```
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use tower::ServiceExt;
//! use tower_reauth::{AuthMethod, Identity, revoke::{Revocations, events::{EventReceiver, Signed}}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In place of the transmitter's keys.
//! let keys = async |token: String| Signed::new(Some("secevent+jwt"), token.as_bytes());
//! let revocations = Revocations::new();
//! let receiver = EventReceiver::new("https://issuer.example", "https://us.example", keys, &revocations);
//!
//! let event = r#"{"iss": "https://issuer.example", "aud": "https://us.example", "jti": "1", "iat": 1900000000,
//!     "sub_id": {"format": "iss_sub", "iss": "https://issuer.example", "sub": "alice"},
//!     "events": {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}}}"#;
//! let request = Request::post("/events").header("content-type", "application/secevent+jwt");
//! let response = receiver.oneshot(request.body(Full::new(Bytes::from(event)))?).await?;
//! assert_eq!(response.status(), 202);
//!
//! let alice = Identity::new("alice", AuthMethod::Token).with_issuer("https://issuer.example");
//! assert!(revocations.is_revoked(&alice));
//! # Ok(())
//! # }
//! ```

// - `signed`: whose signature a token bears.
// - `subject`: whom an event concerns, and what is revoked of them.
// - `token`: what a security event token must be, and which event it is.
// - `seen`: the events that were applied.
// - `receiver`: what becomes of an event, and the service that takes it; `poll`: how it is fetched.
// - `logout`: the sibling for back-channel logout.
// - `http`: bodies and responses of the two services.

mod http;
mod logout;
mod poll;
mod receiver;
mod seen;
mod signed;
mod subject;
mod token;

pub use self::{
    http::{ReceiverFuture, ResponseBody},
    logout::LogoutReceiver,
    poll::{EventPoller, InvalidPoller},
    receiver::EventReceiver,
    signed::{Signed, SignedFuture, VerifySignature},
    subject::{SubjectId, Target},
};
