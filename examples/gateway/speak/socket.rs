//! One socket, from the challenge to the last word.

use std::{
    collections::VecDeque,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::request::Parts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tower_reauth::{
    Access, Scope,
    proxy::PeerAddr,
    reauth::StreamLabel,
    websocket::{OpeningSocket, ReauthSocket},
};

use super::{
    Speak,
    connect::{self, Connect},
    door::Entered,
    frame::{self, Events, NoRequest, Refusal, Request},
    methods::{self, Answer, METHODS, SUBSCRIBE, Then},
    subscriptions::Subscriptions,
};
use crate::{http::operate::ids, json::Write as _, serve::Guest};

/// The longest message that is taken, in bytes.
pub const LONGEST: usize = 64 * 1024;
/// How much of what is sent may wait in here for a client that does not read.
pub const BUFFERED: usize = 4 * 1024;
/// How often a client hears that the gateway is there.
const TICK: Duration = Duration::from_secs(30);
/// How many requests wait while one is answered. Of their bytes there are no more than of the longest message.
const WAITING: usize = 16;
/// The longest reason of a close frame, as OpenClaw has it; it may be 123 bytes (RFC 6455 section 5.5).
const LONGEST_REASON: usize = 120;

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Speaks with a client until it goes, or its access ends. `head` is that of its handshake.
pub async fn speak(speak: Arc<Speak>, head: Box<Parts>, mut socket: OpeningSocket) {
    let mut stopped = pin!(speak.stop.clone().cancelled_owned());
    let opened = tokio::select! {
        opened = open(&speak, &head, &mut socket) => opened,
        // Those that are known are told by the list of them.
        () = &mut stopped => Err(Some(close(1001, "shutting_down"))),
    };
    let (id, said, entered) = match opened {
        Ok(opened) => opened,
        Err(last) => {
            if let Some(last) = last {
                let _ = socket.send(last).await;
            }
            return;
        }
    };
    let client = head.extensions.get::<PeerAddr>().map(|peer| peer.ip());
    // It keeps its place, as a stream does.
    let _asks = head.extensions.get::<Guest>().map(Guest::asks);
    drop(head);

    let Entered { access, seat: _seat, method } = entered;
    // Whoever has this scope now is not to stay when it is lost.
    let _ = access.require(crate::http::handlers::READ);
    let stream = ids::random();
    let label: Arc<str> = format!("websocket {}", said.client).into();
    if let Some(stream) = stream {
        speak.state.audit.opened(stream, &label, &access.identity(), client);
    }
    let hello = hello(&access, method, stream.map(ids::text));
    drop(said);
    let mut socket = socket.admit(&access, &speak.watched, stream, Some(&StreamLabel::new(label)));
    if socket.send(frame::answered(&id, &hello)).await.is_ok() {
        Box::pin(go_on(&speak, access, client, &mut socket)).await;
    }
}

/// Waits for the client to say who it is. An error is what to close with, if there is anybody to be told.
async fn open(
    speak: &Speak,
    head: &Parts,
    socket: &mut OpeningSocket,
) -> Result<(Value, Connect, Entered), Option<Message>> {
    let challenge = json!({ "nonce": nonce(), "ts": now() });
    socket.send(frame::event("connect.challenge", &challenge)).await.map_err(|_| None)?;
    let request = loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => break Request::read(text.as_bytes()),
            Some(Ok(Message::Binary(bytes))) => break Request::read(&bytes),
            Some(Ok(Message::Close(_)) | Err(_)) => return Err(None),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            // Its time is up.
            None => return Err(Some(close(1000, ""))),
        }
    };
    let Request { id, method, params, .. } = match request {
        Ok(request) => request,
        Err(NoRequest::NoJson) => return Err(Some(close(1000, ""))),
        Err(NoRequest::Malformed { .. }) => return Err(Some(close(1008, "invalid request frame"))),
    };
    // It waits for the gateway now.
    let _waits = head.extensions.get::<Guest>().map(Guest::waits);
    let connected = match &*method {
        "connect" => match Connect::read(&params) {
            Ok(said) => speak.doors.enter(head, &said).await.map(|entered| (said, entered)),
            Err(refusal) => Err(refusal),
        },
        _ => Err(Refusal::invalid("invalid handshake: first request must be connect")),
    };
    match connected {
        Ok((said, entered)) => Ok((id, said, entered)),
        Err(refusal) => {
            socket.send(frame::refused(&id, &refusal)).await.map_err(|_| None)?;
            Err(Some(close(connect::close_code(&refusal), &refusal.message)))
        }
    }
}

/// Answers requests, one after the other in the order in which they came, and passes on what there is to be told.
async fn go_on(speak: &Speak, access: Access, client: Option<IpAddr>, socket: &mut ReauthSocket) {
    let mut waiting = Waiting::default();
    let mut answering: Option<Answering> = None;
    let mut subscriptions = Subscriptions::default();
    let mut events = Events::default();
    let mut tick = interval_at(Instant::now() + TICK, TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while answering.is_none() {
            let Some(message) = waiting.next() else { break };
            answering = begin(speak, &access, client, &message, subscriptions.are_full());
        }
        let sent = tokio::select! {
            message = socket.recv() => {
                let message = match message {
                    Some(Ok(Message::Text(text))) => text.into(),
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    // Whoever closes is answered when the socket is dropped.
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                };
                match waiting.take(message).map(|message| Request::read(&message)) {
                    None | Some(Err(NoRequest::NoJson)) => continue,
                    Some(Ok(Request { id, .. }) | Err(NoRequest::Malformed { id, .. })) => {
                        socket.send(frame::refused(&id, &Refusal::busy())).await
                    }
                }
            }
            Answer { message, room, then } = answered(&mut answering) => {
                answering = None;
                let sent = socket.send(message).await;
                drop(room);
                match then {
                    Then::Nothing => {}
                    Then::Subscribed(subscription) => subscriptions.add(subscription),
                    Then::Unsubscribed(key) => subscriptions.remove(&key),
                }
                sent
            }
            said = subscriptions.next() => {
                let mut sent = Ok(());
                for event in said {
                    sent = socket.send(events.next(event.name, &event.payload)).await;
                    if sent.is_err() {
                        break;
                    }
                }
                sent
            }
            _ = tick.tick() => socket.send(events.next("tick", &json!({ "ts": now() }).to_json())).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Begins to answer a message, if there is an answer to it.
fn begin(speak: &Speak, access: &Access, client: Option<IpAddr>, message: &[u8], is_full: bool) -> Option<Answering> {
    let (id, refusal) = match Request::read(message) {
        // One more session to be told of.
        Ok(request) if is_full && request.method == SUBSCRIBE => (request.id, Refusal::busy()),
        Ok(request) => {
            return Some(Box::pin(methods::answer(Arc::clone(&speak.state), access.clone(), client, request)));
        }
        Err(NoRequest::NoJson) => return None,
        Err(NoRequest::Malformed { id, what }) => (id, Refusal::invalid(format!("invalid request frame: {what}"))),
    };
    let refused = Answer::from(frame::refused(&id, &refusal));
    Some(Box::pin(std::future::ready(refused)))
}

/// Messages that wait, as they came: what they take is what was sent.
#[derive(Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Waiting {
    /// Takes the message, or gives it back where there is no room for it.
    fn take(&mut self, message: Bytes) -> Option<Bytes> {
        if self.messages.len() == WAITING || self.bytes + message.len() > LONGEST {
            return Some(message);
        }
        self.bytes += message.len();
        self.messages.push_back(message);
        None
    }

    fn next(&mut self) -> Option<Bytes> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }
}

/// The answer to the request that is being answered, if one is.
async fn answered(answering: &mut Option<Answering>) -> Answer {
    match answering {
        Some(answering) => answering.await,
        None => std::future::pending().await,
    }
}

fn hello(access: &Access, method: &str, id: Option<String>) -> Value {
    let granted = access.granted();
    let scopes: Vec<&str> = granted.scopes().iter().map(Scope::as_str).collect();
    json!({
        "type": "hello-ok",
        "protocol": 4,
        "server": { "version": env!("CARGO_PKG_VERSION"), "connId": id.unwrap_or_else(nonce) },
        "features": {
            "methods": METHODS,
            "events": ["connect.challenge", "session.message", "sessions.changed", "tick"],
        },
        "snapshot": {
            "presence": [],
            "health": {},
            "stateVersion": { "presence": 0, "health": 0 },
            "uptimeMs": 0,
        },
        "auth": { "method": method, "role": "operator", "scopes": scopes },
        "policy": {
            "maxPayload": LONGEST,
            "maxBufferedBytes": BUFFERED,
            "tickIntervalMs": TICK.as_millis() as u64,
        },
    })
}

fn close(code: u16, reason: &str) -> Message {
    let longest = reason.len().min(LONGEST_REASON);
    let end = (0..=longest).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or_default();
    Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from(&reason[..end]) }))
}

/// Text that nobody guesses, and nothing depends on: no device signs it here.
fn nonce() -> String {
    ids::random().map(ids::text).unwrap_or_default()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
