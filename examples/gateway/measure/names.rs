//! What the gateway counts, by the names of OpenTelemetry's and Prometheus's conventions. Where no recorder is
//! installed nothing comes of it.
//!
//! No label has a value that a client chooses: a route is named by its template, and what no route serves has none.

use std::time::Duration;

use ::http::StatusCode;
use metrics::{Gauge, SharedString, counter, gauge, histogram};

const REQUEST_DURATION: &str = "http_server_request_duration_seconds";
const PAGE_DURATION: &str = "gateway_page_duration_seconds";
const TRANSCRIPTS_FOLLOWED: &str = "gateway_transcripts_followed";
const WATCHER_LAG: &str = "gateway_watcher_lag_seconds";
const CONNECTIONS_OPEN: &str = "gateway_connections_open";
const CONNECTIONS_ACCEPTED: &str = "gateway_connections_accepted_total";
const CONNECTIONS_HELD_BACK: &str = "gateway_connections_held_back_total";

/// Gives the recorder that is installed the units and the help texts.
#[cfg(feature = "metrics")]
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

    describe_histogram!(REQUEST_DURATION, Unit::Seconds, "How long requests took until their answers began.");
    describe_histogram!(PAGE_DURATION, Unit::Seconds, "How long it took to find a page of a history, or to read it.");
    describe_gauge!(TRANSCRIPTS_FOLLOWED, Unit::Count, "Transcripts that are followed for open streams.");
    describe_histogram!(
        WATCHER_LAG,
        Unit::Seconds,
        "From the notice of a change until the streams were brought up to date."
    );
    describe_gauge!(CONNECTIONS_OPEN, Unit::Count, "Connections that are open.");
    describe_counter!(CONNECTIONS_ACCEPTED, Unit::Count, "Connections that were accepted.");
    describe_counter!(
        CONNECTIONS_HELD_BACK,
        Unit::Count,
        "Times that no more connections could be accepted, by reason."
    );
}

/// The answer to a request begins.
pub fn request_answered(method: &'static str, route: Option<&str>, status: StatusCode, after: Duration) {
    let status = SharedString::from_owned(status.as_str().to_owned());
    let duration = match route {
        Some(route) => histogram!(
            REQUEST_DURATION,
            "http_request_method" => method,
            "http_route" => SharedString::from_owned(route.to_owned()),
            "http_response_status_code" => status,
        ),
        None => {
            histogram!(REQUEST_DURATION, "http_request_method" => method, "http_response_status_code" => status)
        }
    };
    duration.record(after);
}

/// Where a page came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFrom {
    Memory,
    Disk,
    /// From nowhere: there was none, or it could not be read.
    Nowhere,
}

/// A page was asked for.
pub fn page(from: PageFrom, after: Duration) {
    match from {
        PageFrom::Memory => histogram!(PAGE_DURATION, "result" => "hit"),
        PageFrom::Disk => histogram!(PAGE_DURATION, "result" => "read"),
        PageFrom::Nowhere => histogram!(PAGE_DURATION, "result" => "none"),
    }
    .record(after);
}

/// The streams of a transcript show what was noticed so long ago.
pub fn caught_up(after: Duration) {
    histogram!(WATCHER_LAG).record(after);
}

/// A connection was accepted.
pub fn accepted() {
    counter!(CONNECTIONS_ACCEPTED).increment(1);
}

/// Why no more connections are accepted for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// As many are open as may be.
    Limit,
    /// The operating system has no more to give.
    Failed,
}

/// No more connections are accepted for now.
pub fn held_back(why: HeldBack) {
    match why {
        HeldBack::Limit => counter!(CONNECTIONS_HELD_BACK, "reason" => "limit"),
        HeldBack::Failed => counter!(CONNECTIONS_HELD_BACK, "reason" => "failed"),
    }
    .increment(1);
}

/// One of those that a gauge counts, for as long as this is there.
pub struct Counted(Gauge);

impl Counted {
    pub fn connection() -> Self {
        Self::of(gauge!(CONNECTIONS_OPEN))
    }

    pub fn transcript() -> Self {
        Self::of(gauge!(TRANSCRIPTS_FOLLOWED))
    }

    fn of(gauge: Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
