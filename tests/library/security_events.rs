//! Revocations that an identity provider sends: by Shared Signals, pushed and polled, and by back-channel logout.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{advance, sleep};
use tower::{Service, ServiceExt};
use tower_reauth::{
    AuthMethod, BearerAuthLayer, Identity,
    http_client::BoxError,
    reauth::EndReason,
    revoke::{
        Revocations,
        events::{
            EventPoller, EventReceiver, LogoutReceiver, ResponseBody, Signed, SubjectId, Target, VerifySignature,
        },
    },
    verify::{Rejection, VerifyError, verify_fn},
};

use crate::support::{Seen, Untellable, Wall, logging, open, others, reauth};

const ISSUER: &str = "https://issuer.example";
const US: &str = "https://us.example";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";

/// What the keys say to a token, which is its `typ`, a space and its payload. It stands for a signature that was checked.
fn open_token(token: &str) -> Result<Signed, VerifyError> {
    match token.split_once(' ') {
        Some(("unknown-key", _)) => Err(VerifyError::rejected(Rejection::UNKNOWN_KEY)),
        Some(("bad-signature", _)) => Err(VerifyError::rejected(Rejection::BAD_SIGNATURE)),
        Some(("down", _)) => Err(VerifyError::unavailable_for(Duration::from_secs(7))),
        Some((kind, payload)) => Signed::new((kind != "none").then_some(kind), payload.as_bytes()),
        None => Err(VerifyError::rejected(Rejection::MALFORMED)),
    }
}

fn keys() -> impl VerifySignature {
    async |token: String| open_token(&token)
}

fn iss_sub(subject: &str) -> Value {
    json!({"format": "iss_sub", "iss": ISSUER, "sub": subject})
}

/// The payload of an event token about alice.
fn event(id: &str, kind: &str, event: Value) -> Value {
    json!({
        "iss": ISSUER, "aud": US, "jti": id, "iat": 1_900_000_000, "sub_id": iss_sub("alice"),
        "events": { kind: event },
    })
}

pub fn session_revoked(id: &str) -> Value {
    event(id, &format!("{CAEP}session-revoked"), json!({}))
}

pub fn token(payload: &Value) -> String {
    format!("secevent+jwt {payload}")
}

fn alice() -> Identity {
    Identity::new("alice", AuthMethod::Token).with_issuer(ISSUER)
}

async fn body_of(response: Response<ResponseBody>) -> Value {
    let Ok(body) = response.into_body().collect().await;
    serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null)
}

async fn post<S>(service: S, kind: &str, body: impl Into<Bytes>) -> Response<ResponseBody>
where
    S: Service<Request<Full<Bytes>>, Response = Response<ResponseBody>, Error = Infallible>,
{
    let request = Request::post("/events").header("content-type", kind).body(Full::new(body.into()));
    let Ok(response) = service.oneshot(request.expect("a request")).await;
    response
}

/// Pushes a token: the status, and the error if there is one.
pub async fn push(receiver: &EventReceiver, token: impl Into<Bytes>) -> (u16, Value) {
    let response = post(receiver.clone(), "application/secevent+jwt", token).await;
    let status = response.status().as_u16();
    (status, body_of(response).await["err"].take())
}

pub fn receiver(revocations: &Revocations) -> EventReceiver {
    EventReceiver::new(ISSUER, US, keys(), revocations)
}

/// Who is revoked by one event: alice's tokens of two sessions, bob's, and alice's of another issuer.
async fn revoked_by(payload: &Value) -> [bool; 4] {
    let revocations = Revocations::new();
    assert_eq!(push(&receiver(&revocations), token(payload)).await, (202, Value::Null), "{payload}");
    let elsewhere = Identity::new("alice", AuthMethod::Token).with_issuer("https://other.example");
    let bob = Identity::new("bob", AuthMethod::Token).with_issuer(ISSUER).with_credential_id("t-2");
    let first = alice().with_session_id("s-1").with_credential_id("t-1");
    [first, alice().with_session_id("s-2"), bob, elsewhere].map(|identity| revocations.is_revoked(&identity))
}

const NOBODY: [bool; 4] = [false; 4];
const ALICE: [bool; 4] = [true, true, false, false];
const SESSION: [bool; 4] = [true, false, false, false];

#[tokio::test(start_paused = true)]
async fn each_event_takes_back_what_it_says_and_no_more() {
    const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
    const OAUTH: &str = "https://schemas.openid.net/secevent/oauth/event-type/";
    let about = |kind: String, payload: Value, subject: Value| {
        let mut event = event("1", &kind, payload);
        event["sub_id"] = subject;
        event
    };
    let caep = |name: &str| format!("{CAEP}{name}");
    let session = json!({"format": "complex", "user": iss_sub("alice"), "session": {"format": "opaque", "id": "s-1"}});
    let this_token = json!({"format": "jwt_id", "iss": ISSUER, "jti": "t-1"});
    for (kind, payload, subject, expected) in [
        (caep("session-revoked"), json!({}), iss_sub("alice"), ALICE),
        (caep("session-revoked"), json!({}), session.clone(), SESSION),
        (caep("session-revoked"), json!({}), json!({"user": iss_sub("alice")}), ALICE),
        (caep("session-revoked"), json!({}), json!({"format": "opaque", "id": "alice"}), ALICE),
        (caep("session-revoked"), json!({}), json!({"format": "email", "email": "a@example.com"}), NOBODY),
        (caep("session-revoked"), json!({}), json!({"subject_type": "iss-sub", "iss": ISSUER, "sub": "alice"}), ALICE),
        (caep("session-revoked"), json!({}), json!({"format": "phone_number", "phone_number": "+1"}), NOBODY),
        (
            caep("session-revoked"),
            json!({}),
            json!({"format": "iss_sub", "iss": "https://x.example", "sub": "alice"}),
            NOBODY,
        ),
        (
            caep("credential-change"),
            json!({"change_type": "revoke", "credential_type": "password"}),
            session.clone(),
            ALICE,
        ),
        (caep("credential-change"), json!({"change_type": "delete"}), iss_sub("alice"), ALICE),
        (caep("credential-change"), json!({"change_type": "create"}), iss_sub("alice"), NOBODY),
        (caep("token-claims-change"), json!({"claims": {"role": "guest"}}), iss_sub("alice"), ALICE),
        (caep("token-claims-change"), json!({"claims": {}}), this_token.clone(), SESSION),
        (
            format!("{OAUTH}token-revoked"),
            json!({}),
            json!({"format": "jwt_id", "iss": "https://x.example", "jti": "t-1"}),
            NOBODY,
        ),
        (format!("{OAUTH}token-revoked"), json!({}), this_token, SESSION),
        (format!("{OAUTH}tokens-revoked"), json!({}), iss_sub("alice"), ALICE),
        (format!("{RISC}sessions-revoked"), json!({}), iss_sub("alice"), ALICE),
        (format!("{RISC}account-disabled"), json!({"reason": "hijacking"}), iss_sub("alice"), ALICE),
        (format!("{RISC}account-enabled"), json!({}), iss_sub("alice"), NOBODY),
        (caep("assurance-level-change"), json!({}), iss_sub("alice"), NOBODY),
        ("https://example.com/anything".into(), json!({}), json!(7), NOBODY),
    ] {
        assert_eq!(revoked_by(&about(kind.clone(), payload, subject.clone())).await, expected, "{kind} {subject}");
    }
    // The subject stood in the event before it had a claim of its own.
    let mut older = event("1", &caep("session-revoked"), json!({"subject": iss_sub("alice")}));
    older.as_object_mut().expect("an object").remove("sub_id");
    assert_eq!(revoked_by(&older).await, ALICE);
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_ends_as_its_event_arrives() {
    let revocations = Revocations::new();
    let auth = BearerAuthLayer::new(verify_fn(|_| Ok(alice()))).with_revocations(&revocations);
    let (_feed, mut stream) = open(auth, reauth()).await;
    assert_eq!(stream.now(), None);
    assert_eq!(push(&receiver(&revocations), token(&session_revoked("1"))).await.0, 202);
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn what_was_issued_after_an_event_is_good() {
    let wall = Wall::new();
    let revocations = Revocations::with_clock(wall.clock());
    let receiver = receiver(&revocations).with_clock(wall.clock());
    let ago = |seconds: u64| wall.started() - Duration::from_secs(seconds);
    let seconds = |date: std::time::SystemTime| date.duration_since(std::time::UNIX_EPOCH).expect("later").as_secs();
    let kind = format!("{CAEP}session-revoked");
    let happened = event("1", &kind, json!({"event_timestamp": seconds(ago(100))}));
    assert_eq!(push(&receiver, token(&happened)).await.0, 202);
    assert!(revocations.is_revoked(&alice().with_issued_at(ago(101))));
    assert!(!revocations.is_revoked(&alice().with_issued_at(ago(99))));
    // In milliseconds, as some send it, or otherwise ahead: then it is now.
    let ahead = event("2", &kind, json!({"event_timestamp": seconds(ago(0)) * 1000}));
    assert_eq!(push(&receiver, token(&ahead)).await.0, 202);
    assert!(revocations.is_revoked(&alice().with_issued_at(ago(1))));
    assert!(!revocations.is_revoked(&alice().with_issued_at(wall.after(1))));
}

#[tokio::test(start_paused = true)]
async fn a_transmitter_whose_clock_goes_ahead_takes_back_what_it_issued_before() {
    let wall = Wall::new();
    let revocations = Revocations::with_clock(wall.clock());
    let receiver = receiver(&revocations).with_clock(wall.clock());
    let seconds = |ahead| wall.after(ahead).duration_since(std::time::UNIX_EPOCH).expect("later").as_secs();
    // By its clock, which is 30 s ahead of ours.
    let issued = [28, 30].map(|ahead| alice().with_issued_at(wall.after(ahead)));
    let mut streams = Vec::new();
    for identity in issued.clone() {
        let auth = BearerAuthLayer::new(verify_fn(move |_| Ok(identity.clone()))).with_revocations(&revocations);
        streams.push(open(auth.with_clock(wall.clock()), reauth()).await);
    }
    let event = event("1", &format!("{CAEP}session-revoked"), json!({"event_timestamp": seconds(30)}));
    assert_eq!(push(&receiver, token(&event)).await.0, 202);
    for (_feed, stream) in &mut streams {
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
    }
    assert!(revocations.is_revoked(&issued[0]));
    assert!(!revocations.is_revoked(&alice().with_issued_at(wall.after(31))), "it signed in again");
}

#[tokio::test(start_paused = true)]
async fn keys_that_panic_or_hang_are_keys_that_cannot_be_had() {
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let keys = move |token: String| {
        let call = {
            let mut calls = counted.lock().expect("nobody panics under it");
            *calls += 1;
            *calls
        };
        assert!(call != 1, "the keys panic, as they were told");
        async move {
            assert!(call != 2, "the keys panic later, as they were told");
            if call == 3 {
                std::future::pending::<()>().await;
            }
            open_token(&token)
        }
    };
    let revocations = Revocations::new();
    let receiver = EventReceiver::new(ISSUER, US, keys, &revocations);
    for _ in 0..3 {
        assert_eq!(push(&receiver, token(&session_revoked("1"))).await.0, 503);
    }
    assert_eq!(push(&receiver, token(&session_revoked("1"))).await.0, 202);
    assert!(revocations.is_revoked(&alice()));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_one_event_of_the_transmitter_is_refused_by_the_codes_of_the_rfc() {
    let good = session_revoked("1");
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        token(&changed)
    };
    let without = |name: &str| {
        let mut changed = good.clone();
        changed.as_object_mut().expect("an object").remove(name);
        token(&changed)
    };
    let kind = format!("{CAEP}session-revoked");
    let deep = format!("secevent+jwt {}", "[".repeat(5_000));
    let long = format!("secevent+jwt {{\"x\":\"{}\"}}", "x".repeat(16 * 1024));
    for (sent, code) in [
        (String::new(), "invalid_request"),
        ("secevent+jwt {".into(), "invalid_request"),
        ("secevent+jwt []".into(), "invalid_request"),
        (deep, "invalid_request"),
        (long, "invalid_request"),
        (format!("secevent+jwt {}", good.to_string().replacen('{', "{\"jti\":\"0\",", 1)), "invalid_request"),
        (format!("none {good}"), "invalid_request"),
        (format!("JWT {good}"), "invalid_request"),
        (format!("logout+jwt {good}"), "invalid_request"),
        (format!("at+jwt {good}"), "invalid_request"),
        (format!("unknown-key {good}"), "invalid_key"),
        (format!("bad-signature {good}"), "authentication_failed"),
        (with("sub", json!("alice")), "invalid_request"),
        (with("exp", json!(4_000_000_000_u64)), "invalid_request"),
        (with("iss", json!("https://issuer.example/")), "invalid_issuer"),
        (without("iss"), "invalid_issuer"),
        (with("iss", json!([ISSUER])), "invalid_request"),
        (with("aud", json!("https://them.example")), "invalid_audience"),
        (with("aud", json!([])), "invalid_audience"),
        (without("aud"), "invalid_audience"),
        (with("aud", json!({"a": US})), "invalid_request"),
        (without("jti"), "invalid_request"),
        (with("jti", json!("")), "invalid_request"),
        (with("jti", json!(1)), "invalid_request"),
        (without("iat"), "invalid_request"),
        (with("iat", json!("1900000000")), "invalid_request"),
        (with("iat", json!(1e300)), "invalid_request"),
        (with("toe", json!([])), "invalid_request"),
        (without("events"), "invalid_request"),
        (with("events", json!({})), "invalid_request"),
        (with("events", json!({"a": {}, "b": {}})), "invalid_request"),
        (with("events", json!({ &kind: 1 })), "invalid_request"),
        (with("events", json!([kind])), "invalid_request"),
        (with("events", json!({ &kind: {"event_timestamp": "now"} })), "invalid_request"),
        (without("sub_id"), "invalid_request"),
        (with("sub_id", json!("alice")), "invalid_request"),
        (with("sub_id", json!({"format": 1})), "invalid_request"),
        (with("sub_id", json!({"format": "iss_sub", "iss": ISSUER})), "invalid_request"),
        (with("sub_id", json!({"format": "iss_sub", "iss": ISSUER, "sub": 1})), "invalid_request"),
        (with("sub_id", json!({"user": 1})), "invalid_request"),
    ] {
        let revocations = Revocations::new();
        let (status, error) = push(&receiver(&revocations), sent.clone()).await;
        assert_eq!((status, error.as_str()), (400, Some(code)), "{}", &sent[..sent.len().min(120)]);
        assert!(!revocations.is_revoked(&alice()), "{}", &sent[..sent.len().min(120)]);
    }

    let revocations = Revocations::new();
    let down = post(receiver(&revocations), "application/secevent+jwt", format!("down {good}")).await;
    assert_eq!((down.status().as_u16(), &down.headers()["retry-after"]), (503, &"7".parse().expect("one")));
    let refused = post(receiver(&revocations), "application/jwt", token(&good)).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["content-type"]),
        (400, &"application/json".parse().expect("a header"))
    );
    assert_eq!(refused.headers()["content-language"], "en");
    let get = Request::get("/events").header("content-type", "application/secevent+jwt").body(Full::new(Bytes::new()));
    let Ok(get) = receiver(&revocations).oneshot(get.expect("a request")).await;
    assert_eq!((get.status().as_u16(), &get.headers()["allow"]), (405, &"POST".parse().expect("one")));
    // In another case, with the whole media type, and one of several audiences, it is taken.
    let several = with("aud", json!(["https://them.example", US])).replace("secevent+jwt", "application/SecEvent+JWT");
    let taken = post(receiver(&revocations), "Application/SecEvent+JWT; charset=utf-8", several).await;
    assert_eq!(taken.status(), 202);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_again_is_accepted_and_does_nothing_again() {
    let revocations = Revocations::new();
    let receiver = receiver(&revocations);
    assert_eq!(push(&receiver, token(&session_revoked("1"))).await.0, 202);
    assert!(revocations.forget_subject((ISSUER, "alice")));
    assert_eq!(push(&receiver, token(&session_revoked("1"))).await.0, 202);
    assert!(!revocations.is_revoked(&alice()));
    assert_eq!(push(&receiver.clone(), token(&session_revoked("2"))).await.0, 202);
    assert!(revocations.is_revoked(&alice()));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_not_applied_is_taken_when_it_comes_again() {
    let revocations = Revocations::new();
    let receiver = receiver(&revocations);
    let mut broken = session_revoked("1");
    broken["sub_id"] = json!({"format": "iss_sub"});
    assert_eq!(push(&receiver, token(&broken)).await.0, 400);
    assert_eq!(push(&receiver, format!("down {}", session_revoked("1"))).await.0, 503);
    assert_eq!(push(&receiver, token(&session_revoked("1"))).await.0, 202);
    assert!(revocations.is_revoked(&alice()));

    // So is one at which the code that says whom it concerns panicked.
    let calls = Mutex::new(0);
    let receiver = receiver.with_targets(move |_| {
        let mut calls = calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *calls += 1;
        if *calls == 1 {
            drop(calls);
            panic!("it panics, as it was told");
        }
        vec![Target::Credential("laptop".into())]
    });
    assert_eq!(push(&receiver, token(&session_revoked("2"))).await.0, 503);
    assert_eq!(push(&receiver, token(&session_revoked("2"))).await.0, 202);
    assert!(revocations.is_revoked(&Identity::new("anybody", AuthMethod::Token).with_credential_id("laptop")));
}

#[tokio::test(start_paused = true)]
async fn a_critical_member_that_is_not_understood_discards_the_event_and_the_operator_is_told() {
    let with_device = json!({
        "format": "complex", "user": iss_sub("alice"), "device": {"format": "opaque", "id": "d-1"},
    });
    let mut payload = session_revoked("1");
    payload["sub_id"] = with_device;
    for (critical, is_revoked) in
        [(&[][..], true), (&["user"], true), (&["tenant"], true), (&["user", "device"], false)]
    {
        let log = logging();
        let revocations = Revocations::new();
        let receiver = receiver(&revocations).with_critical_subject_members(critical.iter().copied());
        assert_eq!(push(&receiver, token(&payload)).await, (202, Value::Null));
        assert_eq!(revocations.is_revoked(&alice()), is_revoked, "{critical:?}");
        assert_eq!(
            log.count("the critical member `device` of its subject is not understood"),
            usize::from(!is_revoked)
        );
    }
    // One that is understood by name, and not in this format, neither.
    payload["sub_id"] = json!({"user": iss_sub("alice"), "session": {"format": "did", "url": "did:x"}});
    let revocations = Revocations::new();
    let receiver = receiver(&revocations).with_critical_subject_members(["session"]);
    assert_eq!(push(&receiver, token(&payload)).await.0, 202);
    assert!(!revocations.is_revoked(&alice()));
}

#[tokio::test(start_paused = true)]
async fn what_a_stranger_sends_is_in_no_log_and_what_the_transmitter_gets_wrong_is() {
    let receiver = receiver(&Revocations::new());
    let log = logging();
    for sent in ["", "nothing", "bad-signature {}", "unknown-key {}"] {
        assert_eq!(push(&receiver, sent).await.0, 400);
    }
    assert_eq!(log.count("ERROR"), 0);
    let mut wrong = session_revoked("1");
    wrong["aud"] = json!("them");
    assert_eq!(push(&receiver, token(&wrong)).await.0, 400);
    assert!(log.text().contains("invalid_audience: `aud` does not name this receiver"), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn subjects_of_another_issuer_and_of_ones_own_naming_are_taken_where_it_is_said() {
    let mut payload = session_revoked("1");
    payload["sub_id"]["iss"] = json!("https://tokens.example");
    let theirs = Identity::new("alice", AuthMethod::Token).with_issuer("https://tokens.example");
    let revocations = Revocations::new();
    let log = logging();
    assert_eq!(push(&receiver(&revocations), token(&payload)).await.0, 202);
    assert!(!revocations.is_revoked(&theirs));
    assert_eq!(log.count("the transmitter does not speak for the issuer of its subject"), 1);
    let speaks = receiver(&revocations).with_subject_issuer("https://tokens.example");
    assert_eq!(push(&speaks, token(&payload)).await.0, 202);
    assert!(revocations.is_revoked(&theirs));

    let by_address = receiver(&revocations).with_targets(|id| match id {
        SubjectId::Email("bob@example.com") => {
            vec![Target::Subject { issuer: None, subject: "bob".into() }, Target::Credential("laptop".into())]
        }
        _ => Vec::new(),
    });
    payload["sub_id"] = json!({"format": "email", "email": "bob@example.com"});
    payload["jti"] = json!("2");
    assert_eq!(push(&by_address, token(&payload)).await.0, 202);
    assert!(revocations.is_revoked(&Identity::new("bob", AuthMethod::Token)));
}

#[tokio::test(start_paused = true)]
async fn a_verification_event_hands_on_its_state() {
    let states: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let told = Arc::clone(&states);
    let receiver = receiver(&Revocations::new())
        .with_on_verification(move |state| told.lock().expect("nobody panics").push(state.map(Into::into)));
    let kind = "https://schemas.openid.net/secevent/ssf/event-type/verification";
    for (id, payload) in [("1", json!({"state": "VGhpcyBpcw=="})), ("2", json!({}))] {
        let mut event = event(id, kind, payload);
        event["sub_id"] = json!({"format": "opaque", "id": "stream-1"});
        assert_eq!(push(&receiver, token(&event)).await, (202, Value::Null));
    }
    assert_eq!(*states.lock().expect("nobody panics"), [Some("VGhpcyBpcw==".to_owned()), None]);
    assert_eq!(push(&receiver, token(&event("3", kind, json!({"state": 1})))).await.0, 400);
}

/// A transmitter that is polled: what it was asked, and what it answers.
#[derive(Clone, Default)]
struct Transmitter {
    asked: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<Vec<Response<Bytes>>>>,
}

impl Transmitter {
    fn answers(&self, answer: Value) {
        let response = Response::builder().header("content-type", "application/json").body(answer.to_string().into());
        self.responds(response.expect("a response"));
    }

    fn responds(&self, response: Response<Bytes>) {
        self.answers.lock().expect("nobody panics").insert(0, response);
    }

    fn poller(&self, revocations: &Revocations) -> EventPoller {
        let itself = self.clone();
        let client = move |request: Request<Bytes>| {
            assert_eq!(request.headers()["authorization"], "Bearer p0ll");
            let asked = serde_json::from_slice(request.body()).expect("JSON");
            itself.asked.lock().expect("nobody panics").push(asked);
            let answer = itself.answers.lock().expect("nobody panics").pop();
            let nothing = || {
                let response = Response::builder().header("content-type", "application/json");
                response.body("{\"sets\":{}}".into()).expect("a response")
            };
            let answer = answer.unwrap_or_else(nothing);
            async move { Ok::<_, BoxError>(answer) }
        };
        let endpoint = "https://issuer.example/poll".parse().expect("a URI");
        EventPoller::new(endpoint, "p0ll", client, receiver(revocations)).expect("a token")
    }

    fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut self.asked.lock().expect("nobody panics"))
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_fetched_acknowledged_and_refused_with_the_next_poll() {
    let (transmitter, revocations) = (Transmitter::default(), Revocations::new());
    transmitter.answers(json!({
        "sets": {
            "1": token(&session_revoked("1")),
            "2": "secevent+jwt {}",
            "3": 3,
            "4": token(&session_revoked("another")),
            "5": format!("down {}", session_revoked("5")),
        },
        "moreAvailable": true,
    }));
    let running = tokio::spawn(transmitter.poller(&revocations).run());
    others().await;
    assert!(revocations.is_revoked(&alice()));
    assert_eq!(transmitter.asked(), [json!({"ack": [], "setErrs": {}, "returnImmediately": true})]);
    // Keys that could not be had are waited for.
    sleep(Duration::from_millis(7_001)).await;
    let asked = transmitter.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["ack"], json!(["1"]));
    let codes: Vec<_> = ["2", "3", "4"].map(|id| asked[0]["setErrs"][id]["err"].clone()).into();
    assert_eq!(codes, ["invalid_issuer", "invalid_request", "invalid_request"]);
    assert_eq!(asked[0]["setErrs"].as_object().map(|errors| errors.len()), Some(3));
    // What was told is told once; and nothing is asked in a loop.
    sleep(Duration::from_secs(60)).await;
    let asked = transmitter.asked();
    assert!(asked.iter().all(|asked| asked["ack"] == json!([]) && asked["setErrs"] == json!({})));
    assert_eq!(asked.len(), 12);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_transmitter_that_is_down_or_broken_is_asked_less_and_less_and_what_it_was_told_is_not_lost() {
    let (transmitter, revocations) = (Transmitter::default(), Revocations::new());
    transmitter.answers(json!({"sets": {"1": token(&session_revoked("1"))}}));
    let answer = |status: u16, kind: &str, body: &str| {
        let response = Response::builder().status(status).header("content-type", kind).body(body.to_owned().into());
        response.expect("a response")
    };
    transmitter.responds(answer(500, "text/plain", ""));
    transmitter.responds(answer(401, "application/json", "{\"sets\":{}}"));
    transmitter.responds(answer(200, "text/html", "{\"sets\":{}}"));
    transmitter.responds(answer(200, "application/json", "{\"sets\":[]}"));
    transmitter.responds(answer(200, "application/json", "{\"sets\":{}"));
    let log = logging();
    let running = tokio::spawn(transmitter.poller(&revocations).run());
    // 0.1 s, then 1, 2, 4, 8 and 16 s after failures.
    sleep(Duration::from_millis(31_200)).await;
    let asked = transmitter.asked();
    assert_eq!(asked.len(), 7);
    assert!(asked[1..].iter().all(|asked| asked["ack"] == json!(["1"])));
    assert_eq!(log.count("ERROR"), 5);
    assert!(log.text().contains("it refuses the credentials of this service: 401") && !log.text().contains("p0ll"));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_panics_or_hangs_does_not_end_the_poller() {
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let client = move |_: Request<Bytes>| {
        let call = {
            let mut calls = counted.lock().expect("nobody panics under it");
            *calls += 1;
            *calls
        };
        assert!(call != 1, "the client panics, as it was told");
        async move {
            assert!(call != 2, "the client panics later, as it was told");
            sleep(Duration::from_secs(3_600)).await;
            Ok::<_, BoxError>(Response::new(Bytes::new()))
        }
    };
    let endpoint = "https://issuer.example/poll".parse().expect("a URI");
    let poller = EventPoller::new(endpoint, "p0ll", client, receiver(&Revocations::new())).expect("a token");
    let running = tokio::spawn(poller.run());
    sleep(Duration::from_secs(30)).await;
    assert!(!running.is_finished());
    assert_eq!(*calls.lock().expect("nobody panics"), 4);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_client_that_cannot_be_told_does_not_end_the_poller() {
    let client = async |_: Request<Bytes>| Err::<Response<Bytes>, _>(BoxError::from(Untellable));
    let endpoint = "https://issuer.example/poll".parse().expect("a URI");
    let poller = EventPoller::new(endpoint, "p0ll", client, receiver(&Revocations::new())).expect("a token");
    let running = tokio::spawn(poller.run());
    sleep(Duration::from_secs(30)).await;
    assert!(!running.is_finished());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_transmitter_is_not_asked_in_a_loop_and_not_forgotten() {
    // However short the interval is.
    let transmitter = Transmitter::default();
    let running = tokio::spawn(transmitter.poller(&Revocations::new()).with_interval(Duration::ZERO).run());
    others().await;
    assert_eq!(transmitter.asked().len(), 1);
    running.abort();

    // However long keys that cannot be had are said to take.
    let keys = async |_: String| Err::<Signed, _>(VerifyError::unavailable_for(Duration::MAX));
    let waiting = EventReceiver::new(ISSUER, US, keys, &Revocations::new());
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let client = move |_: Request<Bytes>| {
        *counted.lock().expect("nobody panics") += 1;
        let answer = json!({"sets": {"1": token(&session_revoked("1"))}}).to_string();
        let response = Response::builder().header("content-type", "application/json").body(answer.into());
        async move { Ok::<_, BoxError>(response.expect("a response")) }
    };
    let endpoint = "https://issuer.example/poll".parse().expect("a URI");
    let running = tokio::spawn(EventPoller::new(endpoint, "p0ll", client, waiting).expect("a token").run());
    sleep(Duration::from_secs(61)).await;
    assert_eq!(*asked.lock().expect("nobody panics"), 2);
    running.abort();
}

#[test]
fn a_poller_sends_its_token_to_nobody_who_listens_on_the_way() {
    let client = async |_: Request<Bytes>| Err::<Response<Bytes>, BoxError>("nobody asks".into());
    for (url, is_good) in [
        ("https://issuer.example/poll", true),
        ("http://127.0.0.1:1/poll", true),
        ("http://issuer.example/poll", false),
        ("/poll", false),
        ("issuer.example", false),
    ] {
        let endpoint = url.parse().expect("a URI");
        assert_eq!(EventPoller::new(endpoint, "p0ll", client, receiver(&Revocations::new())).is_ok(), is_good, "{url}");
    }
}

const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn logout_token(wall: &Wall) -> Value {
    let now = wall.now().duration_since(std::time::UNIX_EPOCH).expect("later").as_secs();
    json!({
        "iss": ISSUER, "aud": "client", "jti": "l-1", "iat": now, "exp": now + 120, "sub": "alice", "sid": "s-1",
        "events": { LOGOUT: {} },
    })
}

async fn log_out(receiver: &LogoutReceiver, kind: &str, payload: &Value) -> (u16, Value) {
    let token: String = form_encoded(&format!("{kind} {payload}"));
    let response = post(receiver.clone(), "application/x-www-form-urlencoded", format!("logout_token={token}")).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let status = response.status().as_u16();
    (status, body_of(response).await["error"].take())
}

fn form_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_back_channel_logout_ends_the_session_that_it_names_or_all_of_the_subject() {
    let wall = Wall::new();
    for (session, subject, expected) in
        [(true, true, [true, false, false]), (true, false, [true, false, false]), (false, true, [true, true, false])]
    {
        let revocations = Revocations::with_clock(wall.clock());
        let receiver = LogoutReceiver::new(ISSUER, "client", keys(), &revocations).with_clock(wall.clock());
        let mut token = logout_token(&wall);
        for (name, stays) in [("sid", session), ("sub", subject)] {
            if !stays {
                token.as_object_mut().expect("an object").remove(name);
            }
        }
        let auth =
            BearerAuthLayer::new(verify_fn(|_| Ok(alice().with_session_id("s-1")))).with_revocations(&revocations);
        let (_feed, mut stream) = open(auth.with_clock(wall.clock()), reauth()).await;
        assert_eq!(log_out(&receiver, "logout+jwt", &token).await, (200, Value::Null));
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
        let bob = Identity::new("bob", AuthMethod::Token).with_issuer(ISSUER).with_session_id("s-3");
        let known = [alice().with_session_id("s-1"), alice().with_session_id("s-2"), bob];
        assert_eq!(known.map(|identity| revocations.is_revoked(&identity)), expected);
        // A session's id is its issuer's.
        let elsewhere = Identity::new("alice", AuthMethod::Token).with_session_id("s-1");
        assert!(!revocations.is_revoked(&elsewhere) && !revocations.is_revoked(&elsewhere.with_issuer("https://x")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_no_logout_token_is_refused() {
    let wall = Wall::new();
    let good = logout_token(&wall);
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    let without = |names: &[&str]| {
        let mut changed = good.clone();
        names.iter().for_each(|name| _ = changed.as_object_mut().expect("an object").remove(*name));
        changed
    };
    for (kind, payload) in [
        ("secevent+jwt", good.clone()),
        ("at+jwt", good.clone()),
        ("bad-signature", good.clone()),
        ("logout+jwt", with("nonce", json!("n"))),
        ("logout+jwt", with("nonce", Value::Null)),
        ("logout+jwt", with("iss", json!("https://other.example"))),
        ("logout+jwt", with("aud", json!("another"))),
        ("logout+jwt", with("exp", json!(2_000_000_000))),
        ("logout+jwt", with("exp", json!("4000000000"))),
        ("logout+jwt", without(&["exp"])),
        ("logout+jwt", without(&["iat"])),
        ("logout+jwt", without(&["jti"])),
        ("logout+jwt", without(&["events"])),
        ("logout+jwt", without(&["sid", "sub"])),
        ("logout+jwt", with("sid", json!(1))),
        ("logout+jwt", with("events", json!({ LOGOUT: null }))),
        ("logout+jwt", with("events", json!({ "https://other.example": {} }))),
        ("logout+jwt", with("events", json!([LOGOUT]))),
    ] {
        let revocations = Revocations::with_clock(wall.clock());
        let receiver = LogoutReceiver::new(ISSUER, "client", keys(), &revocations).with_clock(wall.clock());
        assert_eq!(log_out(&receiver, kind, &payload).await, (400, json!("invalid_request")), "{kind} {payload}");
        assert!(!revocations.is_revoked(&alice().with_session_id("s-1")));
    }

    let revocations = Revocations::with_clock(wall.clock());
    let receiver = LogoutReceiver::new(ISSUER, "client", keys(), &revocations).with_clock(wall.clock());
    let form = "application/x-www-form-urlencoded";
    for (kind, body) in [(form, ""), (form, "logout_token=a&logout_token=b"), (form, "other=1"), ("text/plain", "x")] {
        let response = post(receiver.clone(), kind, body).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["cache-control"]),
            (400, &"no-store".parse().expect("one"))
        );
    }
    assert_eq!(log_out(&receiver, "down", &good).await.0, 503);
    for kind in ["none", "JWT", "application/logout+jwt"] {
        assert_eq!(log_out(&receiver, kind, &good).await.0, 200, "{kind}");
    }
    // It has expired a moment ago, by a clock that goes ahead.
    advance(Duration::from_secs(130)).await;
    assert_eq!(log_out(&receiver, "logout+jwt", &with("jti", json!("l-2"))).await.0, 400);
    let patient = receiver.with_leeway(Duration::from_secs(30));
    assert_eq!(log_out(&patient, "logout+jwt", &with("jti", json!("l-2"))).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_session_stands_for_the_credentials_that_were_remembered_of_it() {
    let wall = Wall::new();
    let revocations = Revocations::with_clock(wall.clock());
    let receiver = LogoutReceiver::new(ISSUER, "client", keys(), &revocations).with_clock(wall.clock()).with_targets(
        |id| match id {
            SubjectId::Session("s-1") => vec![Target::Credential("t-1".into()), Target::Credential("t-2".into())],
            _ => Vec::new(),
        },
    );
    assert_eq!(log_out(&receiver, "logout+jwt", &logout_token(&wall)).await.0, 200);
    let known = ["t-1", "t-2", "t-3"].map(|id| revocations.is_revoked(&alice().with_credential_id(id)));
    assert_eq!(known, [true, true, false]);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![ISSUER, US, "client", "iss_sub", "complex", "opaque", LOGOUT, ""])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop::sample::select(vec![
            "format",
            "user",
            "session",
            "iss",
            "sub",
            "id",
            "email",
            "state",
            LOGOUT,
            "event_timestamp",
            "https://schemas.openid.net/secevent/caep/event-type/session-revoked",
            "subject",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(name.prop_map(String::from), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_token_panics_and_each_is_answered(
        claims in prop::collection::btree_map(
            prop::sample::select(vec!["iss", "aud", "jti", "iat", "exp", "sub", "sid", "sub_id", "events", "toe", "nonce"]),
            value(),
            0..11,
        ),
        is_right in prop::collection::vec(any::<bool>(), 6),
    ) {
        let wall = Value::from(4_000_000_000_u64);
        let right = [
            ("iss", json!(ISSUER)), ("aud", json!([US, "client"])), ("jti", json!("1")), ("iat", wall.clone()),
            ("exp", wall), ("sub_id", iss_sub("alice")),
        ];
        let mut payload: Value = claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for ((name, value), is_right) in right.into_iter().zip(is_right) {
            if is_right {
                payload[name] = value;
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
        runtime.block_on(async {
            let revocations = Revocations::new();
            let (status, _) = push(&receiver(&revocations), token(&payload)).await;
            assert!([202, 400].contains(&status));
            let logout = LogoutReceiver::new(ISSUER, "client", keys(), &revocations);
            let (status, _) = log_out(&logout, "logout+jwt", &payload).await;
            assert!([200, 400].contains(&status));
        });
    }
}
