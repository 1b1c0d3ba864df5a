//! Events that are fetched (RFC 8936).

use std::{collections::BTreeMap, error::Error, fmt, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{EventReceiver, receiver::NotTaken};
use crate::{
    claims, fault,
    http_client::{
        HttpClient, MAX_BODY_LEN,
        secure::{is_secure, shown_url},
        told as told_by,
    },
    media_type,
    timer::{timer, within},
    unwind::{Contained, contained},
    verify::InvalidSecret,
};

/// Fetches a transmitter's events (RFC 8936) for an [`EventReceiver`], one poll after another.
///
/// 1. What was taken is acknowledged with the next poll, and what was refused is reported with it (`setErrs`), in the codes
///    of RFC 8935. What could not be judged, as keys were not to be had, is neither, and comes again: after the time
///    that the keys said to take, a minute at the most.
/// 2. The next poll follows within 100 ms while there is more, or something to acknowledge; else after
///    [`with_interval`](Self::with_interval).
/// 3. A transmitter that cannot be reached or answers wrongly is told to the operator, and asked again after a second,
///    then two, then four, and no later than a minute.
///
/// From an event to the end of its streams is therefore up to the interval; with
/// [`with_long_polling`](Self::with_long_polling) the transmitter answers as soon as there is one.
#[must_use = "it fetches nothing unless it is run"]
pub struct EventPoller {
    endpoint: Uri,
    authorization: HeaderValue,
    client: Arc<dyn HttpClient>,
    receiver: EventReceiver,
    interval: Duration,
    time_limit: Duration,
    is_long: bool,
}

/// Why events cannot be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPoller {
    /// It is no absolute URL, or neither `https` nor on this machine: whoever stands between would read the token.
    /// It is named without user, password and query.
    Endpoint(Uri),
    /// No header can carry the token.
    Token(InvalidSecret),
}

/// What is told with the next poll.
#[derive(Default)]
struct Told {
    taken: Vec<String>,
    refused: BTreeMap<String, (&'static str, String)>,
}

/// What comes after an answer.
enum Next {
    More,
    Nothing,
    /// What could not be judged, after this time.
    When(Duration),
}

/// A transmitter that answers the same again and again is not asked in a loop.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl EventPoller {
    /// Fetches from `endpoint` with the bearer token `token` that the transmitter gave.
    ///
    /// # Errors
    ///
    /// If `endpoint` is not an absolute URL, or neither `https` nor on this machine, or no header can carry the token.
    pub fn new(
        endpoint: Uri,
        token: &str,
        client: impl HttpClient,
        receiver: EventReceiver,
    ) -> Result<Self, InvalidPoller> {
        if endpoint.scheme().is_none() || !is_secure(&endpoint) {
            return Err(InvalidPoller::Endpoint(shown_url(&endpoint)));
        }
        InvalidSecret::check(token.as_bytes())?;
        let authorization = HeaderValue::try_from(format!("Bearer {token}"));
        let mut authorization = authorization.map_err(|_| InvalidSecret::ControlCharacter)?;
        authorization.set_sensitive(true);
        Ok(Self {
            endpoint,
            authorization,
            client: Arc::new(client),
            receiver,
            interval: Duration::from_secs(5),
            time_limit: Duration::from_secs(10),
            is_long: false,
        })
    }

    /// How long after a poll that brought nothing the next one follows: 100 ms at the least. Default: five seconds.
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Lets the transmitter hold back its answer until there is an event, for as long as `limit`: the client must wait
    /// as long. Without it a poll returns immediately, and has ten seconds.
    pub fn with_long_polling(mut self, limit: Duration) -> Self {
        (self.is_long, self.time_limit) = (true, limit);
        self
    }

    /// Fetches for as long as it is polled: to be spawned, and dropped or aborted at the end.
    pub async fn run(self) -> std::convert::Infallible {
        let (mut told, mut failures) = (Told::default(), 0_u32);
        loop {
            let began = Instant::now();
            let pause = match self.poll(&told).await {
                Ok(response) => {
                    failures = 0;
                    told = Told::default();
                    let held_back = self.is_long && began.elapsed() >= self.interval;
                    match self.take(response, &mut told).await {
                        Next::When(retry_after) => self.interval.max(retry_after.clamp(LEAST_PAUSE, LONGEST_PAUSE)),
                        Next::More => LEAST_PAUSE,
                        Next::Nothing if held_back || !told.is_empty() => LEAST_PAUSE,
                        Next::Nothing => self.interval.max(LEAST_PAUSE),
                    }
                }
                Err(fault) => {
                    fault::report(&format_args!("events at {}", shown_url(&self.endpoint)), &fault);
                    failures = failures.saturating_add(1);
                    Duration::from_secs(1 << (failures - 1).min(6)).min(LONGEST_PAUSE)
                }
            };
            match Instant::now().checked_add(pause).and_then(timer) {
                Some(timer) => timer.await,
                // Without a timer there would be no pause.
                None => pending().await,
            }
        }
    }

    /// One poll: its answer.
    async fn poll(&self, told: &Told) -> Result<Map<String, Value>, String> {
        let refused = told.refused.iter();
        let refused: Map<String, Value> = refused
            .map(|(id, (code, description))| (id.clone(), json!({ "err": code, "description": description })))
            .collect();
        let body = json!({ "ack": told.taken, "setErrs": refused, "returnImmediately": !self.is_long });
        let mut request = Request::new(Bytes::from(body.to_string()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));

        let end = Instant::now().checked_add(self.time_limit);
        let sent = contained(|| self.client.send(request)).ok_or("the client panicked")?;
        let response = match within(end, Contained::new(sent)).await {
            None => return Err(format!("there was no answer within {:?}", self.time_limit)),
            Some(None) => return Err("the client panicked".into()),
            Some(Some(Err(error))) => return Err(format!("it cannot be asked: {}", told_by(error))),
            Some(Some(Ok(response))) => response,
        };
        match response.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(format!("it refuses the credentials of this service: {status}"));
            }
            status => return Err(format!("it answers {status}")),
        }
        if !media_type::of(response.headers()).eq_ignore_ascii_case(b"application/json") {
            return Err("its answer is not application/json".into());
        }
        if response.body().len() > MAX_BODY_LEN {
            return Err(format!("its answer is longer than {MAX_BODY_LEN} bytes"));
        }
        let answer =
            claims::object(response.body()).map_err(|error| format!("its answer is no JSON object: {error}"))?;
        match answer.get("sets") {
            Some(Value::Object(_)) => Ok(answer),
            _ => Err("`sets` is not an object".into()),
        }
    }

    /// Takes what an answer brought.
    async fn take(&self, answer: Map<String, Value>, told: &mut Told) -> Next {
        let has_more = answer.get("moreAvailable").and_then(Value::as_bool).unwrap_or(false);
        let mut next = if has_more { Next::More } else { Next::Nothing };
        let sets = answer.get("sets").and_then(Value::as_object);
        for (id, set) in sets.into_iter().flatten() {
            let Some(token) = set.as_str() else {
                told.refused.insert(id.clone(), ("invalid_request", "it is no text".into()));
                continue;
            };
            match self.receiver.take(token.as_bytes(), Some(id)).await {
                Ok(()) => told.taken.push(id.clone()),
                Err(NotTaken::Refused(error)) => {
                    told.refused.insert(id.clone(), (error.code, error.description));
                }
                Err(NotTaken::Unavailable(retry_after)) => next = Next::When(retry_after),
            }
        }
        next
    }
}

impl Told {
    fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.refused.is_empty()
    }
}

impl From<InvalidSecret> for InvalidPoller {
    fn from(invalid: InvalidSecret) -> Self {
        Self::Token(invalid)
    }
}

impl fmt::Display for InvalidPoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(url) => write!(f, "`{url}` is no absolute URL that is https or on this machine"),
            Self::Token(invalid) => invalid.fmt(f),
        }
    }
}

impl Error for InvalidPoller {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Endpoint(_) => None,
            Self::Token(invalid) => Some(invalid),
        }
    }
}

impl fmt::Debug for EventPoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventPoller").field("endpoint", &shown_url(&self.endpoint)).finish_non_exhaustive()
    }
}
