//! What is promised, to whom, against whom, and what is not.
//!
//! What is guarded is what a service answers: that it reaches those who may have it, and only for as long as they may. Its
//! owner is who is promised something here; a caller is promised that their secret is not told on.
//!
//! # What is promised
//!
//! | against | it holds that | by |
//! | --- | --- | --- |
//! | who has no good credential | no handler sees the request; the answer depends on what was presented, not on what was asked for | [`BearerAuthLayer`](crate::BearerAuthLayer), [`Denied`](crate::Denied) |
//! | who sends two credentials, or half of one | it is refused, never taken for another or for nobody | [`bearer`](crate::bearer) |
//! | a verifier that fails, hangs or panics | nobody is let in, and a stream ends: 503 within a time limit, or 500 after a panic | [`VerifyError`](crate::verify::VerifyError), [`with_verify_timeout`](crate::BearerAuthLayer::with_verify_timeout) |
//! | who may do less than they ask for | the handler does not run; what a request declares of its scopes only narrows them | [`RequireScopeLayer`](crate::RequireScopeLayer), [`Strict`](crate::Strict) |
//! | whose access has ended while a response streams | no frame becomes ready after the end and is passed on; an idle stream ends, too, and its handler's body is dropped | [`StreamReauth`](crate::StreamReauth), as late as [`reauth`](crate::reauth#how-late-a-revocation-is) says |
//! | whose credential was taken back | the door and all open streams on this node know at once | [`Revocations`](crate::revoke::Revocations), [`Tokens`](crate::Tokens), [`StaticToken::rotate`](crate::StaticToken::rotate) |
//! | the same, on another node | it knows within a bound that is stated, or vouches for nobody (unless told to prefer availability) | [`SharedRevocations`](crate::revoke::shared::SharedRevocations) |
//! | who guesses, and times the answer | secrets are compared as digests, in constant time, whatever their length | [`StaticToken`](crate::StaticToken), [`TokenDigest`](crate::verify::TokenDigest) |
//! | who guesses often | they are locked out, in memory that is bounded; a good token is then no different from a bad one | [`FailureLimiter`](crate::limiter::FailureLimiter) |
//! | who reads logs, metrics, errors or `Debug` | no secret and no digest of one is there | [`BearerToken`](crate::verify::BearerToken), [`observe`](crate::observe) |
//! | who makes up tokens, or has one for somebody else | signature, issuer, audience, type and times are checked; subjects are those of an issuer; a token that is bound to a key is refused | [`verify::jwt`](crate::verify::jwt), [`Introspection`](crate::verify::Introspection) |
//! | who writes the headers of a proxy | they count from its addresses only, and are read from the nearest hop on | [`TrustedProxy`](crate::proxy::TrustedProxy), [`ClientAddress`](crate::proxy::ClientAddress) |
//! | a page in somebody's browser | other hosts and origins are refused before anything is read | [`AllowedHostsLayer`](crate::hosts::AllowedHostsLayer), [`OriginPolicy`](crate::proxy::OriginPolicy) |
//! | who learned the id of another's session | it is good for its caller only | [`SessionBindingLayer`](crate::session::SessionBindingLayer) |
//! | who sends much | what one request costs is bounded by what it sends, tokens by [`MAX_LEN`](crate::verify::BearerToken::MAX_LEN) | each layer |
//! | code of yours that panics or blocks | nothing of it runs under a lock of ours, or before our state is final | all of it; there is no `unsafe` |
//!
//! # What is not
//!
//! - **The wire.** A bearer token is whoever's has it: TLS is the server's to do. What the server took before access ended may
//!   still arrive: hyper buffers some 400 kB, and kernels more.
//! - **Those who are believed.** A verifier or a provider that was taken over lets in whom it likes. So does
//!   [`TrustedProxy`](crate::proxy::TrustedProxy): all who can connect from its networks can say that they are anybody, within what
//!   they may. A door of [`Anonymous`](crate::AuthMethod::Anonymous) callers (`--auth none` of the example gateway) is open to every
//!   program that can connect; [`hosts`](crate::hosts) keeps browsers out, and nobody else.
//! - **The time until a revocation is known.** A token that was revoked elsewhere is good here until then: up to
//!   [`with_max_staleness`](crate::revoke::shared::SharedRevocations::with_max_staleness) with a shared log, up to the age that
//!   [`Cached`](crate::verify::Cached) was given, up to a heartbeat where a verifier only answers, and until its expiry where
//!   nobody says that it is revoked. A leeway, a grace and a `max_age` that were chosen add to it.
//! - **Who can write to a shared Redis.** They can have tokens refused, undo revocations, and by stopping it all doors. They can let
//!   nobody in whom no verifier knows. What no node and not the log remembers is no longer revoked.
//! - **Timing of what is not ours.** A verifier, resolver or store of yours is as even as you write it. That a token is good or over, or
//!   was asked about before ([`Cached`](crate::verify::Cached)), can be told by who holds it. How long a token is, is told by how
//!   long it takes, to who sent it. Lengths and times of what streams are for all on the wire to see.
//! - **The memory of the process.** The token of an open stream is in it, and zeroed when the last stream of it ends; what the server, TLS
//!   and your handlers copied is not. Who reads memory, swap or a core has it.
//! - **What you name things by.** Ids and subjects are logged. What other crates trace is theirs: `tungstenite` writes whole messages at TRACE.
//! - **Short secrets.** A digest of a word can be guessed at, and so can a word at the door, by many addresses together. Let
//!   secrets be random, of 128 bits or more.
//! - **What a handler does beside its response.** What it has spawned or written goes on. Bodies that clients send are watched
//!   where [`with_uploads`](crate::StreamReauthLayer::with_uploads) says so.
//! - **Floods.** How many connections, heads and bodies there may be, and how slow, is for the server to say. Clocks are believed: one
//!   that is set back lengthens what has not yet expired.
