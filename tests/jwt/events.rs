//! Security events and logout tokens, verified with the keys of who signs them.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};
use tower_reauth::{
    AuthMethod, Identity,
    revoke::{
        Revocations,
        events::{EventReceiver, LogoutReceiver, ResponseBody},
    },
    verify::jwt::{KeySet, Keys},
};

use crate::signer::Signer;

const ISSUER: &str = "https://issuer.example";

fn keys(signer: &Signer) -> Keys {
    KeySet::from_json(json!({"keys": [signer.jwk()]}).to_string()).expect("a key set").into()
}

fn event() -> Value {
    json!({
        "iss": ISSUER, "aud": "us", "jti": "1", "iat": 1_900_000_000,
        "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "alice"},
        "events": {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}},
    })
}

fn header(signer: &Signer, kind: &str) -> Value {
    let mut header = signer.header();
    header["typ"] = json!(kind);
    header
}

async fn post<S>(service: S, kind: &str, body: String) -> u16
where
    S: Service<Request<Full<Bytes>>, Response = Response<ResponseBody>, Error = Infallible>,
{
    let request = Request::post("/").header("content-type", kind).body(Full::new(Bytes::from(body)));
    let Ok(response) = service.oneshot(request.expect("a request")).await;
    response.status().as_u16()
}

#[tokio::test]
async fn an_event_counts_that_its_transmitter_signed_and_no_other() {
    let (transmitter, stranger) = (Signer::new("k-1", "RS256"), Signer::new("k-1", "ES256"));
    let alice = Identity::new("alice", AuthMethod::Token).with_issuer(ISSUER);
    let signed = |signer: &Signer, kind: &str| signer.sign(&header(signer, kind), &event());
    let unknown = Signer::new("k-2", "RS256");
    // What the transmitter signed, under another event than it signed.
    let genuine = transmitter.token(&json!({"iss": ISSUER}));
    let event_alone = signed(&transmitter, "secevent+jwt");
    let (event_alone, signature) = (event_alone.rsplit_once('.'), genuine.rsplit_once('.'));
    let forged = format!("{}.{}", event_alone.expect("three parts").0, signature.expect("three parts").1);
    for (token, status) in [
        (signed(&stranger, "secevent+jwt"), 400),
        (signed(&unknown, "secevent+jwt"), 400),
        (forged, 400),
        // A token of another kind, of the same signer.
        (signed(&transmitter, "at+jwt"), 400),
        (signed(&transmitter, "secevent+jwt"), 202),
    ] {
        let revocations = Revocations::new();
        let receiver = EventReceiver::new(ISSUER, "us", keys(&transmitter), &revocations);
        assert_eq!(post(receiver, "application/secevent+jwt", token).await, status);
        assert_eq!(revocations.is_revoked(&alice), status == 202);
    }
}

#[tokio::test]
async fn a_logout_token_counts_that_the_provider_signed_and_no_other() {
    let (provider, stranger) = (Signer::new("k-1", "ES256"), Signer::new("k-1", "ES256"));
    let session = Identity::new("alice", AuthMethod::Token).with_issuer(ISSUER).with_session_id("s-1");
    let logout = json!({
        "iss": ISSUER, "aud": "client", "jti": "1", "iat": 1_900_000_000, "exp": 4_000_000_000_u64, "sid": "s-1",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    });
    for (signer, status) in [(&stranger, 400), (&provider, 200)] {
        let revocations = Revocations::new();
        let receiver = LogoutReceiver::new(ISSUER, "client", keys(&provider), &revocations);
        let token = signer.sign(&header(signer, "logout+jwt"), &logout);
        let form = format!("logout_token={token}");
        assert_eq!(post(receiver, "application/x-www-form-urlencoded", form).await, status);
        assert_eq!(revocations.is_revoked(&session), status == 200);
    }
}
