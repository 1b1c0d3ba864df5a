//! The open streams, and those that ended lately: one JSON object each, and an event whenever one begins or ends.

use std::{
    convert::Infallible,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;
use tower_reauth::{
    AuthMethod, Identity, Scope,
    reauth::{OpenStreams, StreamInfo},
};

use super::{Ends, ids};

/// How long nothing is said after an event: a hundred streams that end at once are one event.
const PAUSE: Duration = Duration::from_millis(100);
/// The same in terms of what it took to write the last one, so that a long list takes a small part of the time.
const SHARE: u32 = 10;

/// All open streams, in the order in which they began, and those that ended lately, the last one last.
pub fn list(streams: &OpenStreams, ends: &Ends) -> Value {
    let now = SystemTime::now();
    let streams: Vec<Value> = streams.list().iter().map(|stream| described(stream, now)).collect();
    json!({ "streams": streams, "ended": ends.list() })
}

/// The same as an event now, and as another whenever a stream has begun or ended.
pub fn watch(streams: OpenStreams, ends: Ends) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold((streams, ends, None), async |(streams, ends, last): (_, Ends, Option<(u64, u64, Duration)>)| {
        if let Some((known, told, took)) = last {
            sleep(PAUSE.max(took * SHARE)).await;
            // A stream has left the list a moment before it is told why.
            tokio::select! {
                _ = streams.changed_since(known) => {}
                () = ends.changed_since(told) => {}
            }
        }
        // Counted first: what changes while the list is made is in the next one.
        let (known, told, began) = (streams.changes(), ends.count(), Instant::now());
        let retry = if last.is_none() { "retry: 1000\n\n" } else { "" };
        let event = format!("{retry}event: streams\ndata: {}\n\n", list(&streams, &ends));
        Some((Ok(event.into()), (streams, ends, Some((known, told, began.elapsed())))))
    })
}

fn described(stream: &StreamInfo, now: SystemTime) -> Value {
    let ago = |time: Duration| now.checked_sub(time).and_then(date);
    let scopes: Vec<&str> = stream.scopes.iter().map(Scope::as_str).collect();
    let mut shown = json!({ "id": ids::text(stream.id), "label": stream.label.as_deref() });
    if let (Value::Object(shown), Value::Object(caller)) = (&mut shown, caller(&stream.identity)) {
        shown.extend(caller);
        shown.insert("scopes".to_owned(), scopes.into());
        for (name, date) in [
            ("opened", ago(stream.age)),
            ("expires", stream.identity.expires_at().and_then(date)),
            ("confirmed", ago(stream.confirmed)),
        ] {
            shown.insert(name.to_owned(), date.into());
        }
        shown.insert("frames".to_owned(), stream.frames.into());
        shown.insert("bytes".to_owned(), stream.bytes.into());
    }
    shown
}

/// Who somebody is, without a secret.
pub fn caller(identity: &Identity) -> Value {
    json!({
        "subject": identity.subject(),
        "issuer": identity.issuer(),
        "credential": identity.credential_id(),
        "method": match identity.method() {
            AuthMethod::SharedSecret => "shared-secret",
            AuthMethod::Token => "token",
            AuthMethod::TrustedProxy => "trusted-proxy",
            AuthMethod::Anonymous => "anonymous",
            _ => "other",
        },
    })
}

/// A time as RFC 3339 has it; none of a year that it cannot write.
pub fn date(time: SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(|time| time.to_string())
}
