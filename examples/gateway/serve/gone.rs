//! HTTP/1 streams whose client has closed its half of the socket.
//!
//! That may mean that it has gone, or that it will say no more and listens. Only writing tells: to who has gone
//! the second write fails. So an event stream gets a few comments then, between two of its events. One that
//! listens takes no notice of them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use http_body::{Body as _, Frame, SizeHint};
use tokio::{task::yield_now, time::sleep};

use super::{connection::Asking, hello::Client};

const COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// How long it is waited after each comment, in milliseconds. What comes from this machine comes at once.
const PAUSES: [u64; 6] = [0, 1, 20, 100, 500, 2000];

/// What fits into the buffers of a socket: it is sent when it is there.
const SMALL: u64 = 16 * 1024;

/// The response, which asks after its client if it is an event stream. It is being asked for until it has ended; what the
/// protocol holds of it then is written at once, or the [socket](super::hello::Socket) is full.
pub fn ask(response: Response<Body>, client: Client, asking: Asking) -> Response<Body> {
    let is_events = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/event-stream");
    let comments = match response.headers().get(CONTENT_TYPE).is_some_and(is_events) {
        true => Comments::Waiting(client),
        false if response.body().size_hint().exact().is_some_and(|size| size <= SMALL) => return response,
        false => Comments::Done,
    };
    response.map(|body| Body::new(Asked { body, is_between_events: true, comments, _asking: asking }))
}

struct Asked {
    body: Body,
    /// Whether what was sent last ended an event.
    is_between_events: bool,
    comments: Comments,
    _asking: Asking,
}

enum Comments {
    Waiting(Client),
    Pausing(Pin<Box<dyn Future<Output = ()> + Send>>, usize),
    Done,
}

impl Asked {
    /// Ready when a comment is due, or when the client is known to have gone.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let asked = match &mut self.comments {
            Comments::Waiting(client) => ready!(client.poll_half_closed(cx)).map(|()| 0)?,
            Comments::Pausing(pause, asked) => {
                ready!(pause.as_mut().poll(cx));
                *asked
            }
            Comments::Done => return Poll::Pending,
        };
        self.comments = match PAUSES.get(asked) {
            None => Comments::Done,
            // What was given is written when the next is waited for.
            Some(0) => Comments::Pausing(Box::pin(yield_now()), asked + 1),
            Some(pause) => Comments::Pausing(Box::pin(sleep(Duration::from_millis(*pause))), asked + 1),
        };
        Poll::Ready(Ok(()))
    }
}

impl http_body::Body for Asked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(frame) = frame {
            if let Some(Ok(data)) = frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) {
                self.is_between_events = data.is_some_and(|data| data.ends_with(b"\n\n"));
            }
            return Poll::Ready(frame);
        }
        if !self.is_between_events {
            return Poll::Pending;
        }
        let due = ready!(self.poll_due(cx));
        Poll::Ready(Some(due.map(|()| Frame::data(COMMENT)).map_err(axum::Error::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::{BodyExt, channel::Channel};
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
        time::{Instant, timeout},
    };

    use super::{
        super::{
            connection::Connection,
            guest::Guest,
            hello::{self, Socket},
            wire::Wire,
        },
        *,
    };

    fn asking() -> Asking {
        Arc::new(Connection::new(false, Guest::new(Duration::from_secs(30)))).ask()
    }

    /// A client that has said something, and the other end of its connection.
    async fn connected() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        peer.write_all(b"GET").await.unwrap();
        let socket =
            hello::read(Wire::Plain(listener.accept().await.unwrap().0), Duration::from_secs(30)).await.unwrap();
        (peer, socket)
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_comments_are_sent_between_two_events_and_then_no_more() {
        let (mut events, body) = Channel::<Bytes>::new(4);
        let (mut peer, socket) = connected().await;
        let response = Response::builder().header(CONTENT_TYPE, "text/event-stream; charset=utf-8");
        let mut body = ask(response.body(Body::new(body)).unwrap(), socket.client(), asking()).into_body();
        let mut next = async || match timeout(Duration::from_secs(60), body.frame()).await {
            Ok(frame) => Some(frame.unwrap().unwrap().into_data().unwrap()),
            Err(_) => None,
        };
        assert_eq!(next().await, None);

        events.send_data(Bytes::from_static(b"data: a")).await.unwrap();
        assert_eq!(next().await.unwrap(), "data: a");
        peer.shutdown().await.unwrap();
        assert_eq!(next().await, None);
        events.send_data(Bytes::from_static(b"\n\n")).await.unwrap();
        assert_eq!(next().await.unwrap(), "\n\n");
        let started = Instant::now();
        for _ in 0..=PAUSES.len() {
            assert_eq!(next().await, Some(COMMENT));
        }
        assert!(started.elapsed() >= PAUSES.iter().copied().map(Duration::from_millis).sum());
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn what_is_no_event_stream_passes_untouched() {
        let client = connected().await.1.client();
        let small = ask(Response::new(Body::from("page")), client.clone(), asking());
        assert_eq!(small.body().size_hint().exact(), Some(4));
        let large = ask(Response::new(Body::from(vec![0; 100_000])), client, asking());
        assert_eq!(large.body().size_hint().exact(), Some(100_000));
        assert_eq!(large.into_body().collect().await.unwrap().to_bytes().len(), 100_000);
    }
}
