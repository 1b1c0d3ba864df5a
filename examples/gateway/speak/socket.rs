//! One socket, from the challenge to the last word.

use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::request::Parts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
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
    methods::{self, Answer, METHODS, Then},
    subscriptions::Subscriptions,
};
use crate::{http::operate::ids, json::Write as _};

/// The longest message that is taken, in bytes.
pub const LONGEST: usize = 64 * 1024;
/// How much of what is sent may wait in here for a client that does not read.
pub const BUFFERED: usize = 4 * 1024;
/// How often a client hears that the gateway is there.
const TICK: Duration = Duration::from_secs(30);
/// How many requests wait while one is answered, and how many bytes of them.
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
    drop(head);

    let Entered { access, method } = entered;
    // Whoever has this scope now is not to stay when it is lost.
    let _ = access.require(crate::http::handlers::READ);
    let stream = ids::random();
    let label: Arc<str> = format!("websocket {}", said.client).into();
    if let Some(stream) = stream {
        speak.state.audit.opened(stream, &label, &access.identity(), client);
    }
    let hello = hello(&access, method);
    drop(said);
    let mut socket = socket.admit(&access, &speak.watched, stream, Some(&StreamLabel::new(label)));
    if socket.send(frame::answered(&id, &hello)).await.is_ok() {
        Box::pin(go_on(&speak, access, &mut socket)).await;
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
async fn go_on(speak: &Speak, access: Access, socket: &mut ReauthSocket) {
    let mut waiting = VecDeque::new();
    let mut waiting_bytes = 0;
    let mut answering: Option<Answering> = None;
    let mut subscriptions = Subscriptions::default();
    let mut events = Events::default();
    let mut tick = interval_at(Instant::now() + TICK, TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if answering.is_none() {
            if let Some((request, length)) = waiting.pop_front() {
                waiting_bytes -= length;
                answering = Some(Box::pin(methods::answer(Arc::clone(&speak.state), access.clone(), request)));
            }
        }
        let sent = tokio::select! {
            message = socket.recv() => {
                let bytes = match message {
                    Some(Ok(Message::Text(text))) => text.into(),
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    // Whoever closes is answered when the socket is dropped.
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                };
                match Request::read(&bytes) {
                    Ok(request) => {
                        let subscribes = request.method == METHODS[1];
                        let is_full = waiting.len() == WAITING || waiting_bytes + bytes.len() > LONGEST;
                        if is_full || subscribes && subscriptions.are_full() {
                            socket.send(frame::refused(&request.id, &Refusal::busy())).await
                        } else {
                            waiting_bytes += bytes.len();
                            waiting.push_back((request, bytes.len()));
                            continue;
                        }
                    }
                    Err(NoRequest::NoJson) => continue,
                    Err(NoRequest::Malformed { id, what }) => {
                        let refusal = Refusal::invalid(format!("invalid request frame: {what}"));
                        socket.send(frame::refused(&id, &refusal)).await
                    }
                }
            }
            Answer { message, then } = answered(&mut answering) => {
                answering = None;
                let sent = socket.send(message).await;
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

/// The answer to the request that is being answered, if one is.
async fn answered(answering: &mut Option<Answering>) -> Answer {
    match answering {
        Some(answering) => answering.await,
        None => std::future::pending().await,
    }
}

fn hello(access: &Access, method: &str) -> Value {
    let granted = access.granted();
    let scopes: Vec<&str> = granted.scopes().iter().map(Scope::as_str).collect();
    json!({
        "type": "hello-ok",
        "protocol": 4,
        "server": { "version": env!("CARGO_PKG_VERSION"), "connId": nonce() },
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
    let end = reason.floor_char_boundary(LONGEST_REASON);
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
