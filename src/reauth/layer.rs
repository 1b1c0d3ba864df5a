//! The layer of the third question.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use http::{Method, Response, StatusCode, header::CONTENT_LENGTH, response::Parts};
use http_body::Body;
use tokio::time::Instant;
use tower_layer::Layer;

use super::{
    EndReason, Ending, GuardedSink, GuardedStream, OpenStreams, StreamId, StreamLabel, StreamReauth,
    StreamReauthService, SupervisedBody, WithUploads,
    guard::Guard,
    rules::{OnEnd, Rules},
    stream::confirm,
};
use crate::{Access, ended::Ended, respond::EmptyBody};

/// Wraps responses that stream in [`StreamReauth`], so that they end when access ends.
///
/// Where it finds no [`Access`] it refuses with an empty 500: before anybody can ask for how long, a layer
/// outside of this one has to ask who.
///
/// `R` makes the response to a refusal, and `U` says whether what a client sends is watched too.
pub struct StreamReauthLayer<R = EmptyBody, U = ResponsesOnly> {
    settings: Arc<Settings>,
    respond: R,
    uploads: PhantomData<U>,
}

/// A layer that watches what the server sends.
#[derive(Clone, Copy, Debug)]
pub enum ResponsesOnly {}

/// A layer that watches what the client sends too.
#[derive(Clone, Copy, Debug)]
pub enum UploadsToo {}

type Filter = dyn Fn(&Parts) -> bool + Send + Sync;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) rules: Arc<Rules>,
    pub(super) ending: Ending,
    pub(super) comment: Bytes,
    pub(super) retry: Duration,
    pub(super) missing_access_allowed: bool,
    pub(super) is_enabled: bool,
    filters: Vec<Arc<Filter>>,
}

impl StreamReauthLayer {
    /// A heartbeat every 15 seconds, confirmation for each frame, a clean end.
    #[must_use]
    pub fn new() -> Self {
        let rules = Rules {
            heartbeat: Some(Duration::from_secs(15)),
            jitter: 0.2,
            max_age: Duration::ZERO,
            check_timeout: Duration::from_secs(5),
            grace: Duration::ZERO,
            early_close: Duration::ZERO,
            since: Instant::now(),
            on_end: OnEnd::default(),
            registry: None,
        };
        let settings = Settings {
            rules: Arc::new(rules),
            ending: Ending::Clean,
            comment: Bytes::from_static(b": keepalive\n\n"),
            retry: Duration::from_secs(1),
            missing_access_allowed: false,
            is_enabled: true,
            filters: Vec::new(),
        };
        Self { settings: Arc::new(settings), respond: EmptyBody, uploads: PhantomData }
    }
}

impl<R, U> StreamReauthLayer<R, U> {
    /// Checks again every `interval`, even when the stream is idle, and then writes a comment into an
    /// event stream. Default: 15 s, less the [jitter](Self::with_jitter). More than 30 days count as 30 days.
    /// `None` is the same as [`without_heartbeat`](Self::without_heartbeat).
    ///
    /// # Panics
    ///
    /// If the interval is shorter than a millisecond, which no timer can tell from none.
    #[must_use]
    pub fn with_heartbeat(self, interval: impl Into<Option<Duration>>) -> Self {
        let interval = interval.into();
        let is_long_enough = interval.is_none_or(|interval| interval >= Duration::from_millis(1));
        assert!(is_long_enough, "a heartbeat's interval is at least a millisecond");
        self.with_rules(|rules| rules.heartbeat = interval)
    }

    /// Leaves an idle stream alone until its expiry, which ends it without a check, until the revision moves
    /// or until another stream of its credential gets a denial.
    #[must_use]
    pub fn without_heartbeat(self) -> Self {
        self.with_heartbeat(None)
    }

    /// Lets each heartbeat come early by a random part of its interval, up to `part`, so that many
    /// streams do not wake in one tick. Default: 0.2, which makes 15 s 12 to 15 s.
    ///
    /// Within that time streams of one credential have theirs together, about 64 of them at most: to wake the runtime
    /// costs more than a heartbeat does.
    ///
    /// # Panics
    ///
    /// If `part` is not from 0 to 1.
    #[must_use]
    pub fn with_jitter(self, part: f64) -> Self {
        assert!((0.0..=1.0).contains(&part), "a part of an interval is from 0 to 1");
        self.with_rules(|rules| rules.jitter = part)
    }

    /// Lets a frame pass when access was confirmed at most `max_age` before, for a verifier that has
    /// no [`Revision`](crate::revoke::Revision) and must ask far away. Default: zero, each frame is
    /// confirmed. More than 30 days count as 30 days.
    #[must_use]
    pub fn with_max_age(self, max_age: Duration) -> Self {
        self.with_rules(|rules| rules.max_age = max_age)
    }

    /// Ends the stream when an answer takes longer than `timeout`. Default: 5 s. More than 30 days count as
    /// 30 days.
    #[must_use]
    pub fn with_check_timeout(self, timeout: Duration) -> Self {
        self.with_rules(|rules| rules.check_timeout = timeout)
    }

    /// Lets a stream go on while the verifier cannot be reached, for at most `grace` after access was
    /// last confirmed; a verifier that is silent is found out after the check timeout, if that is
    /// later. Frames pass meanwhile, unconfirmed. A denial, a panic of the verifier, a revocation and the
    /// expiry end the stream as ever. Default: zero, the stream ends. More than 30 days count as 30 days.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        self.with_rules(|rules| rules.grace = grace)
    }

    /// Ends each stream by a random part of `at_most` before its credential expires, so that the
    /// clients of credentials that expire together do not all come back together; never later. A
    /// credential loses at most half of what was left of it when the stream began. The reason is
    /// [`Expired`](super::EndReason::Expired): a client comes back with a fresh credential, though the old
    /// one is good for a while. Default: zero. More than 30 days count as 30 days.
    #[must_use]
    pub fn with_early_close(self, at_most: Duration) -> Self {
        self.with_rules(|rules| rules.early_close = at_most)
    }

    /// Enters each stream that is watched into this list for as long as it is open, so that it can be seen, and ended
    /// by hand. A handler names its stream there by a [`StreamLabel`](super::StreamLabel), and may choose its number by a
    /// [`StreamId`](super::StreamId), in the extensions of its response. A layer has one list: set again, it is replaced.
    #[must_use]
    pub fn with_registry(self, streams: &OpenStreams) -> Self {
        self.with_rules(|rules| rules.registry = Some(streams.clone()))
    }

    /// Chooses what the client sees when its access ends. Default: a clean end. A response that has an [`Ending`] in
    /// its extensions ends in that way instead.
    #[must_use]
    pub fn with_ending(self, ending: Ending) -> Self {
        self.with(|settings| settings.ending = ending)
    }

    /// Says in a [last event](Ending::LastEvent) that a client should come back after `retry`, or later
    /// if the denial said so, where it should come back at all. In milliseconds, rounded up; more than 24
    /// days count as 24 days, the longest that a browser waits. Default: 1 s.
    ///
    /// Each client gets up to five times as long, at random, so that those which are cut together do
    /// not come back together; the very time where [`with_jitter`](Self::with_jitter) is zero.
    #[must_use]
    pub fn with_retry(self, retry: Duration) -> Self {
        self.with(|settings| settings.retry = retry)
    }

    /// Writes another comment at a heartbeat than `: keepalive`.
    ///
    /// # Panics
    ///
    /// If there is a line end in `text`: what follows would be no comment.
    #[must_use]
    pub fn with_comment(self, text: &str) -> Self {
        assert!(!text.contains(['\r', '\n']), "a comment is one line");
        let comment = format!(": {text}\n\n");
        self.with(|settings| settings.comment = comment.into())
    }

    /// Watches only those of the responses that stream for which `is_stream` is true. Of several filters
    /// all must be.
    #[must_use]
    pub fn with_filter(self, is_stream: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.filters.push(Arc::new(is_stream)))
    }

    /// Lets requests without an [`Access`] through, in place of a 500: their responses are unwatched, unless
    /// a door further in lets them in.
    #[must_use]
    pub fn with_missing_access_allowed(self) -> Self {
        self.with(|settings| settings.missing_access_allowed = true)
    }

    /// Calls `hook` when a stream has ended, for an audit: once for each, after it has let go of all that
    /// it held. Several hooks are all called, in the order in which they were added, though one of them
    /// panics.
    #[must_use]
    pub fn with_on_end(self, hook: impl Fn(&Ended) + Send + Sync + 'static) -> Self {
        self.with_rules(|rules| rules.on_end.add(hook))
    }

    /// Leaves every response and every upload unwatched while `is_enabled` is false, for a layer whose type
    /// must not depend on a setting. Default: true.
    #[must_use]
    pub fn with_enabled(self, is_enabled: bool) -> Self {
        self.with(|settings| settings.is_enabled = is_enabled)
    }

    /// Answers a request without an [`Access`] by `respond`, for instance a closure
    /// `Fn(&Denied) -> Response<StreamReauth<B>>`; a body becomes one by [`StreamReauth::from`].
    #[must_use]
    pub fn with_response<T>(self, respond: T) -> StreamReauthLayer<T, U> {
        StreamReauthLayer { settings: self.settings, respond, uploads: PhantomData }
    }

    /// Watches what the client sends too: the request's body becomes an
    /// [`UploadReauth`](super::UploadReauth), whose reading ends with an error when access ends. For long
    /// uploads, and for the client's half of a two-way gRPC call.
    #[must_use]
    pub fn with_uploads(self) -> StreamReauthLayer<R, UploadsToo> {
        StreamReauthLayer { settings: self.settings, respond: self.respond, uploads: PhantomData }
    }

    /// Watches one response by hand, where no layer fits: the answer to a `method` request that
    /// `access` was granted for.
    pub fn watch<B: Body>(&self, access: &Access, method: &Method, response: Response<B>) -> Response<StreamReauth<B>> {
        self.settings.watch(access, method, response)
    }

    /// Watches what the server sends where that is no body but a stream of its own, such as the ticks
    /// for a WebSocket: its items end when access ends. The ending, the comment, the retry and the filter of
    /// this layer are for bodies; all else holds here too.
    pub fn watch_stream<S: Stream>(&self, access: &Access, stream: S) -> GuardedStream<S> {
        self.watch_stream_as(access, None, None, stream)
    }

    /// The same, known in the [registry](Self::with_registry) by this id, unless another stream has it, and with this
    /// label: what a response has in its extensions.
    pub fn watch_stream_as<S: Stream>(
        &self,
        access: &Access,
        id: Option<StreamId>,
        label: Option<&StreamLabel>,
        stream: S,
    ) -> GuardedStream<S> {
        let rules = self.settings.rules.clone();
        GuardedStream::new(stream, Guard::new(access.clone(), rules, id, label))
    }

    /// Watches what the server sends into a sink, such as a WebSocket: what is sent after access has
    /// ended is refused, and what the other side sends is no longer read. The sink is then dropped: have it
    /// say goodbye [by itself](GuardedSink::with_farewell), or hand in `&mut socket`. Of the layer's settings
    /// it goes by the same as [`watch_stream`](Self::watch_stream).
    pub fn watch_sink<S: Sink<T>, T>(&self, access: &Access, sink: S) -> GuardedSink<S, T> {
        self.watch_sink_as(access, None, None, sink)
    }

    /// The same, known in the [registry](Self::with_registry) by this id, unless another stream has it, and with this
    /// label.
    pub fn watch_sink_as<S: Sink<T>, T>(
        &self,
        access: &Access,
        id: Option<StreamId>,
        label: Option<&StreamLabel>,
        sink: S,
    ) -> GuardedSink<S, T> {
        let rules = self.settings.rules.clone();
        GuardedSink::new(sink, Guard::new(access.clone(), rules, id, label))
    }

    /// Asks once more whether access holds, by the rules by which an item of a stream is let pass that is ready now:
    /// for a response that is no stream and took long to make. It is not counted, listed or reported as one.
    ///
    /// # Errors
    ///
    /// Why a stream would end now.
    pub async fn confirm(&self, access: &Access) -> Result<(), EndReason> {
        confirm(access.clone(), self.rules()).await
    }

    /// The same as [`watch`](Self::watch), and the body is dropped when access ends even while nobody
    /// polls it, as a server does not while its client does not read: for a body whose resources must not
    /// wait for the server's write deadline. It takes the place of this layer on its route.
    ///
    /// Costs a task for each stream, and a lock for each frame.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn supervise<B>(&self, access: &Access, method: &Method, response: Response<B>) -> Response<SupervisedBody<B>>
    where
        B: Body<Data: From<Bytes> + Send> + Send + 'static,
    {
        self.watch(access, method, response).map(SupervisedBody::new)
    }

    /// The same settings, for what is watched by hand.
    #[cfg(feature = "axum-ws")]
    pub(crate) fn by_hand(&self) -> StreamReauthLayer {
        StreamReauthLayer { settings: Arc::clone(&self.settings), respond: EmptyBody, uploads: PhantomData }
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.settings.rules)
    }

    fn with_rules(self, change: impl FnOnce(&mut Rules)) -> Self {
        self.with(|settings| change(Arc::make_mut(&mut settings.rules)))
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl Default for StreamReauthLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, R: Clone> Layer<S> for StreamReauthLayer<R> {
    type Service = StreamReauthService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        StreamReauthService { inner, settings: Arc::clone(&self.settings), respond: self.respond.clone() }
    }
}

impl<S, R: Clone> Layer<S> for StreamReauthLayer<R, UploadsToo> {
    type Service = StreamReauthService<WithUploads<S>, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = WithUploads { inner, settings: Arc::clone(&self.settings) };
        StreamReauthService { inner, settings: Arc::clone(&self.settings), respond: self.respond.clone() }
    }
}

impl<R: Clone, U> Clone for StreamReauthLayer<R, U> {
    fn clone(&self) -> Self {
        Self { settings: Arc::clone(&self.settings), respond: self.respond.clone(), uploads: PhantomData }
    }
}

impl<R, U> fmt::Debug for StreamReauthLayer<R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReauthLayer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Settings {
    pub(super) fn watch<B: Body>(
        self: &Arc<Self>,
        access: &Access,
        method: &Method,
        response: Response<B>,
    ) -> Response<StreamReauth<B>> {
        let (parts, body) = response.into_parts();
        let is_wanted = || self.filters.iter().all(|filter| filter(&parts));
        let body = if self.is_enabled && streams(method, &parts, &body) && is_wanted() {
            StreamReauth::watched(body, access.clone(), Arc::clone(self), &parts)
        } else {
            StreamReauth::untouched(body)
        };
        Response::from_parts(parts, body)
    }
}

/// Whether a response may be cut short: one whose length was announced may not, and one without a
/// body has nothing to cut.
fn streams<B: Body>(method: &Method, parts: &Parts, body: &B) -> bool {
    let has_no_body = *method == Method::HEAD
        || *method == Method::CONNECT
        || parts.status.is_informational()
        || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || body.is_end_stream();
    !(has_no_body || body.size_hint().exact().is_some() || parts.headers.contains_key(CONTENT_LENGTH))
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("rules", &self.rules)
            .field("ending", &self.ending)
            .field("comment", &self.comment)
            .finish_non_exhaustive()
    }
}
