//! Reads a body and says what it sees.

use std::{error::Error, pin::Pin};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Response};
use http_body::{Body, SizeHint};
use http_body_util::BodyExt;
use tower_reauth::{
    StreamReauth,
    reauth::{AccessEnded, EndReason},
};

/// Reads a body.
pub struct BodyReader<B>(Pin<Box<B>>);

/// Reads a watched body.
pub type Reader<B> = BodyReader<StreamReauth<B>>;

/// What there is to see in a body.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Data(Bytes),
    Trailers(HeaderMap),
    /// It was aborted because access ended.
    Cut(EndReason),
    /// It failed by itself.
    Failure,
    End,
}

impl Seen {
    pub fn data(data: impl Into<Bytes>) -> Self {
        Self::Data(data.into())
    }
}

impl<B> BodyReader<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pub fn of(response: Response<B>) -> Self {
        Self(Box::pin(response.into_body()))
    }

    /// What is to be seen next, after as much time as it takes.
    pub async fn next(&mut self) -> Seen {
        match self.0.frame().await {
            None => Seen::End,
            Some(Err(error)) => match error.into().downcast_ref::<AccessEnded>() {
                Some(ended) => Seen::Cut(ended.reason),
                None => Seen::Failure,
            },
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Seen::Data(data),
                Err(frame) => Seen::Trailers(frame.into_trailers().expect("a frame is data or trailers")),
            },
        }
    }

    /// What is to be seen now, without time going by, if anything is. An abort takes two polls.
    pub fn now(&mut self) -> Option<Seen> {
        self.next().now_or_never()
    }

    /// All that is still to be seen, its end included.
    pub async fn rest(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while seen.last() != Some(&Seen::End) {
            seen.push(self.next().await);
        }
        seen
    }

    pub fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }

    pub fn into_body(self) -> Pin<Box<B>> {
        self.0
    }
}
