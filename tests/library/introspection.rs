//! `Introspection`: three answers, active, rejected and unavailable, and whatever an endpoint says is one of them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use proptest::prelude::*;
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use tower_reauth::{
    BearerAuthLayer, Identity, Scope, ScopeSet, VerifyToken,
    http_client::BoxError,
    reauth::EndReason,
    verify::{BearerToken, Cached, ClientAuth, Introspection, Rejection, VerifyError},
};

use crate::support::{Answer, Seen, Untellable, assert_took, logging, open, reauth};

const ENDPOINT: &str = "https://issuer.example/introspect";

/// An endpoint that answers what it is told, and remembers what it was asked.
#[derive(Clone)]
struct Endpoint {
    response: Arc<Mutex<Response<Bytes>>>,
    asked: Arc<Mutex<Vec<Request<Bytes>>>>,
}

fn response(status: u16, kind: &str, body: impl Into<Bytes>) -> Response<Bytes> {
    Response::builder().status(status).header("content-type", kind).body(body.into()).expect("a response")
}

fn json(body: impl Into<Bytes>) -> Response<Bytes> {
    response(200, "application/json", body)
}

impl Endpoint {
    fn saying(body: &str) -> Self {
        Self { response: Arc::new(Mutex::new(json(body.to_owned()))), asked: Arc::default() }
    }

    fn says(&self, response: Response<Bytes>) {
        *self.response.lock().expect("nobody panics") = response;
    }

    fn verifier(&self) -> Introspection {
        self.verifier_with(ClientAuth::basic("service", "s3cret"))
    }

    fn verifier_with(&self, auth: ClientAuth) -> Introspection {
        let itself = self.clone();
        let client = move |request: Request<Bytes>| {
            itself.asked.lock().expect("nobody panics").push(request);
            let response = itself.response.lock().expect("nobody panics").clone();
            async move { Ok::<_, BoxError>(response) }
        };
        Introspection::new(ENDPOINT, auth, client).expect("a URL")
    }
}

fn token() -> BearerToken {
    BearerToken::from_header(&"t0ken+/=".parse().expect("a header"), 0..8).expect("a token")
}

/// What the verifier says to an answer of the endpoint.
async fn says(body: &str) -> Answer {
    Endpoint::saying(body).verifier().verify(&token()).await
}

fn rejected<T>(reason: Rejection) -> Result<T, VerifyError> {
    Err(VerifyError::rejected(reason))
}

fn unavailable<T>() -> Result<T, VerifyError> {
    Err(VerifyError::unavailable())
}

/// An answer without its identity, which has no equality.
fn outcome(answer: Answer) -> Result<String, VerifyError> {
    answer.map(|identity| identity.subject().to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_token_is_posted_as_a_form_with_the_credentials_of_the_service() {
    let endpoint = Endpoint::saying(r#"{"active":true,"sub":"alice"}"#);
    // RFC 6749 section 2.3.1: each part is encoded as in a form before the colon joins them.
    assert!(endpoint.verifier_with(ClientAuth::basic("se:rvice", "s3 cr%t")).verify(&token()).await.is_ok());
    assert!(endpoint.verifier_with(ClientAuth::bearer("abc").expect("a token")).verify(&token()).await.is_ok());
    let asked = endpoint.asked.lock().expect("nobody panics");
    let header = |n: usize, name: &str| asked[n].headers()[name].to_str().expect("ASCII").to_owned();
    // se%3Arvice:s3+cr%25t
    assert_eq!(header(0, "authorization"), "Basic c2UlM0FydmljZTpzMytjciUyNXQ=");
    assert_eq!(header(1, "authorization"), "Bearer abc");
    for (n, request) in asked.iter().enumerate() {
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", ENDPOINT));
        assert_eq!(request.body(), "token=t0ken%2B%2F%3D&token_type_hint=access_token");
        assert_eq!(header(n, "content-type"), "application/x-www-form-urlencoded");
        assert_eq!(header(n, "accept"), "application/json");
        assert!(request.headers()["authorization"].is_sensitive());
    }
}

#[tokio::test(start_paused = true)]
async fn an_active_token_has_the_identity_that_the_answer_names() {
    let identity = says(
        r#"{"active":true,"sub":"alice","iss":"https://issuer.example","scope":"read write","exp":2000000000.5,
            "iat":1900000000,"nbf":1000000000,"jti":"t-1","sid":"s-1","aud":["us","them"],"token_type":"bearer","extra":{"a":[1]}}"#,
    )
    .await
    .expect("it is active");
    let date = |seconds: f64| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
    assert_eq!((identity.issuer(), identity.subject()), (Some("https://issuer.example"), "alice"));
    let (read, write) = (Scope::from_static("read"), Scope::from_static("write"));
    assert_eq!(identity.scopes(), Some(&ScopeSet::from([read, write])));
    assert_eq!(identity.expires_at(), Some(date(2_000_000_000.5)));
    assert_eq!(identity.not_before(), Some(date(1_000_000_000.0)));
    assert_eq!(identity.issued_at(), Some(date(1_900_000_000.0)));
    assert_eq!((identity.credential_id(), identity.session_id()), (Some("t-1"), Some("s-1")));

    // What is not said is not known, and what the token was issued for is nothing.
    let least = says(r#"{"active":true,"sub":"alice"}"#).await.expect("it is active");
    assert_eq!(
        (least.issuer(), least.expires_at(), least.issued_at(), least.credential_id()),
        (None, None, None, None)
    );
    assert_eq!(least.scopes(), Some(&ScopeSet::empty()));
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_the_token_is_a_rejection_that_says_why() {
    for (body, reason) in [
        (r#"{"active":false}"#, Rejection::INACTIVE),
        // What else is said of one that is not active says nothing.
        (r#"{"active":false,"sub":"alice","exp":"never"}"#, Rejection::INACTIVE),
        (r#"{"active":true,"sub":"a","cnf":{"jkt":"x"}}"#, Rejection::BOUND_TO_KEY),
        (r#"{"active":true,"sub":"a","cnf":null}"#, Rejection::BOUND_TO_KEY),
        (r#"{"active":true,"sub":"a","token_type":"DPoP"}"#, Rejection::BOUND_TO_KEY),
        (r#"{"active":true,"sub":"a","token_type":"refresh_token"}"#, Rejection::WRONG_TYPE),
        (r#"{"active":true,"sub":"a","token_type":"N_A"}"#, Rejection::WRONG_TYPE),
        (r#"{"active":true,"sub":"a","token_type":"Bearer","token_use":"refresh_token"}"#, Rejection::WRONG_TYPE),
        (r#"{"active":true}"#, Rejection::MISSING_CLAIM),
        (r#"{"active":true,"sub":""}"#, Rejection::INVALID_CLAIM),
        (r#"{"active":true,"client_id":"alice","username":"alice"}"#, Rejection::MISSING_CLAIM),
    ] {
        assert_eq!(outcome(says(body).await), rejected(reason), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expected_issuer_and_audience_must_be_the_answers_own() {
    let cases = [
        (r#""iss":"us","aud":"api""#, Ok("alice".to_owned())),
        (r#""aud":["other","api"]"#, Ok("alice".to_owned())),
        (r#""iss":"us","aud":"second""#, Ok("alice".to_owned())),
        (r#""iss":"us/","aud":"api""#, rejected(Rejection::WRONG_ISSUER)),
        (r#""iss":"us","aud":"other""#, rejected(Rejection::WRONG_AUDIENCE)),
        (r#""iss":"us","aud":[]"#, rejected(Rejection::WRONG_AUDIENCE)),
        (r#""iss":"us""#, rejected(Rejection::MISSING_CLAIM)),
        (r#""iss":"us","aud":["api",1]"#, unavailable()),
        (r#""iss":["us"],"aud":"api""#, unavailable()),
    ];
    for (members, expected) in cases {
        let endpoint = Endpoint::saying(&format!(r#"{{"active":true,"sub":"alice",{members}}}"#));
        let verifier = endpoint.verifier().with_issuer("us").with_audience("api").with_audience("second");
        let answer = verifier.verify(&token()).await;
        // It is the endpoint of that issuer, whether the answer repeats it or not.
        assert!(answer.as_ref().map_or(true, |identity| identity.issuer() == Some("us")));
        assert_eq!(outcome(answer), expected, "{members}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_wrong_with_the_endpoint_is_unavailable_and_never_a_verdict() {
    let deep = format!(r#"{{"active":true,"sub":"a","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        "",
        "{",
        "null",
        "true",
        "[]",
        r#""active""#,
        "{}",
        r#"{"sub":"alice"}"#,
        r#"{"active":"true","sub":"alice"}"#,
        r#"{"active":1,"sub":"alice"}"#,
        r#"{"active":null,"sub":"alice"}"#,
        r#"{"active":true,"sub":"alice"} {}"#,
        r#"{"active":false,"active":true,"sub":"alice"}"#,
        r#"{"active":true,"sub":"alice","x":{"y":1,"y":2}}"#,
        r#"{"active":true,"sub":"alice","\u0073ub":"bob"}"#,
        r#"{"active":true,"sub":7}"#,
        r#"{"active":true,"sub":"a","exp":"2000000000"}"#,
        r#"{"active":true,"sub":"a","exp":null}"#,
        r#"{"active":true,"sub":"a","exp":1e300}"#,
        r#"{"active":true,"sub":"a","exp":18446744073709551615}"#,
        r#"{"active":true,"sub":"a","exp":1e400}"#,
        r#"{"active":true,"sub":"a","nbf":{}}"#,
        r#"{"active":true,"sub":"a","iat":[1]}"#,
        r#"{"active":true,"sub":"a","jti":1}"#,
        r#"{"active":true,"sub":"a","iss":1}"#,
        r#"{"active":true,"sub":"a","aud":{}}"#,
        r#"{"active":true,"sub":"a","scope":5}"#,
        r#"{"active":true,"sub":"a","scope":"read \"all\""}"#,
        r#"{"active":true,"sub":"a","scope":[["read"]]}"#,
        r#"{"active":true,"sub":"a","token_type":["Bearer"]}"#,
        &deep,
    ] {
        assert_eq!(outcome(says(body).await), unavailable(), "{}", &body[..body.len().min(80)]);
    }

    let good = r#"{"active":true,"sub":"alice"}"#;
    let endpoint = Endpoint::saying(good);
    let long = format!(r#"{{"active":true,"sub":"alice","x":"{}"}}"#, "x".repeat(64 * 1024));
    for wrong in [
        response(200, "text/html", good),
        response(200, "application/jwt", good),
        response(201, "application/json", good),
        response(302, "application/json", good),
        response(400, "application/json", r#"{"error":"invalid_request"}"#),
        response(401, "application/json", r#"{"active":false}"#),
        response(403, "application/json", good),
        response(500, "application/json", good),
        json(long),
        json(&b"{\"active\":true,\"sub\":\"\xff\"}"[..]),
        Response::new(Bytes::from(good)),
    ] {
        let shown = format!("{wrong:?}");
        endpoint.says(wrong);
        assert_eq!(outcome(endpoint.verifier().verify(&token()).await), unavailable(), "{}", &shown[..80]);
    }
    endpoint.says(response(200, "Application/JSON; charset=utf-8", good));
    assert_eq!(outcome(endpoint.verifier().verify(&token()).await), Ok("alice".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_says_when_to_ask_again_is_heard() {
    let endpoint = Endpoint::saying("");
    for (said, expected) in [("7", 7), ("0", 1), ("86400", 60), ("soon", 1)] {
        let mut busy = response(503, "text/plain", "busy");
        busy.headers_mut().insert("retry-after", said.parse().expect("a header"));
        endpoint.says(busy);
        let expected = VerifyError::unavailable_for(Duration::from_secs(expected));
        assert_eq!(endpoint.verifier().verify(&token()).await.err(), Some(expected), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_cannot_be_reached_or_hangs_is_unavailable() {
    let auth = || ClientAuth::basic("service", "s3cret");
    let refuses = async |_: Request<Bytes>| Err::<Response<Bytes>, BoxError>("connection refused".into());
    let hangs = async |_: Request<Bytes>| {
        sleep(Duration::from_secs(3_600)).await;
        Ok::<_, BoxError>(json("{}"))
    };
    let refuses = Introspection::new(ENDPOINT, auth(), refuses).expect("a URL");
    assert_eq!(outcome(refuses.verify(&token()).await), unavailable());
    let hangs = Introspection::new(ENDPOINT, auth(), hangs).expect("a URL").with_time_limit(Duration::from_secs(2));
    let started = Instant::now();
    assert_eq!(outcome(hangs.verify(&token()).await), unavailable());
    assert_took(started, Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_client_that_cannot_be_told_is_one_of_a_client_that_cannot_be_reached() {
    let client = async |_: Request<Bytes>| Err::<Response<Bytes>, _>(BoxError::from(Untellable));
    let verifier = Introspection::new(ENDPOINT, ClientAuth::basic("service", "s3cret"), client).expect("a URL");
    let log = logging();
    assert_eq!(outcome(verifier.verify(&token()).await), unavailable());
    assert_eq!(log.count("its error panicked"), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn the_operator_is_told_which_endpoint_and_what_is_wrong_and_no_secret() {
    for (wrong, told) in [
        (response(401, "text/plain", ""), "it refuses the credentials of this service: 401"),
        (json(r#"{"active":true,"sub":"a","exp":"t0ken"}"#), "`exp` is not a date in seconds since 1970"),
        (json(r#"{"active":tru"#), "its answer is no JSON object: "),
        (response(200, "text/html", "t0ken"), r#"its answer is "text/html" and not application/json"#),
    ] {
        let endpoint = Endpoint::saying("");
        endpoint.says(wrong);
        let log = logging();
        let verifier = endpoint.verifier();
        assert!(verifier.verify(&token()).await.is_err());
        let log = log.text();
        assert!(log.contains("ERROR") && log.contains(ENDPOINT) && log.contains(told), "{log}");
        for text in [log, format!("{verifier:?}")] {
            assert!(!text.contains("s3cret") && !text.contains("czNjcmV0") && !text.contains("t0ken"), "{text}");
        }
    }
}

#[derive(Deserialize)]
struct Tenant {
    tenant: String,
}

#[tokio::test(start_paused = true)]
async fn claims_of_ones_own_come_with_the_identity() {
    let endpoint = Endpoint::saying(r#"{"active":true,"sub":"alice","tenant":"acme","client_id":"cli"}"#);
    let verifier = endpoint.verifier().with_claims::<Tenant>();
    let identity = verifier.verify(&token()).await.expect("it is active");
    assert_eq!(identity.claims::<Tenant>().map(|claims| claims.tenant.as_str()), Some("acme"));
    let by_client = endpoint.verifier().with_subject_member("client_id").verify(&token()).await;
    assert_eq!(outcome(by_client), Ok("cli".to_owned()));
    endpoint.says(json(r#"{"active":true,"sub":"alice","tenant":7}"#));
    assert_eq!(outcome(verifier.verify(&token()).await), rejected(Rejection::INVALID_CLAIM));
}

#[test]
fn an_endpoint_that_is_no_url_is_an_error_at_start() {
    let client = async |_: Request<Bytes>| Ok::<_, BoxError>(json("{}"));
    for url in [
        "",
        "/introspect",
        "issuer.example/introspect",
        "ftp://issuer.example",
        "https://",
        "http:///x",
        "https://a b/",
        // Tokens, and the secret of this service, would be read by whoever stands between.
        "http://issuer.example/introspect",
    ] {
        let error = Introspection::new(url, ClientAuth::basic("a", "b"), client).expect_err(url);
        assert_eq!(error.to_string(), format!("`{url}` is no absolute URL that is https or on this machine"));
    }
    assert!(Introspection::new("http://127.0.0.1:1/introspect", ClientAuth::basic("a", "b"), client).is_ok());
    assert!(ClientAuth::bearer("a\nb").is_err() && ClientAuth::bearer("").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_no_longer_active_ends_its_idle_stream_within_a_heartbeat_and_the_age_of_a_cache() {
    for (age, expected) in [(None, 15), (Some(40), 45)] {
        let endpoint = Endpoint::saying(r#"{"active":true,"sub":"alice"}"#);
        let auth = match age {
            None => BearerAuthLayer::new(endpoint.verifier()),
            Some(age) => BearerAuthLayer::new(Cached::new(endpoint.verifier(), Duration::from_secs(age))),
        };
        let (_feed, mut reader) = open(auth, reauth()).await;
        let started = Instant::now();
        endpoint.says(json(r#"{"active":false}"#));
        let seen = reader.rest().await;
        assert!(seen.contains(&Seen::Cut(EndReason::Revoked)), "{seen:?}");
        assert_took(started, Duration::from_secs(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_503_at_the_door() {
    let endpoint = Endpoint::saying("");
    endpoint.says(response(401, "text/plain", ""));
    let door = tower::Layer::layer(
        &BearerAuthLayer::new(endpoint.verifier()),
        crate::support::handler(Response::new(String::new())),
    );
    let Ok(refused) = tower::ServiceExt::oneshot(door, crate::support::request()).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after") && !refused.headers().contains_key("www-authenticate"));
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "[0-9]{1,400}".prop_map(|digits| format!("1{digits}")),
        ".{0,8}".prop_map(|text| serde_json::to_string(&text).expect("a text")),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(("[a-c]", inner), 0..3).prop_map(|all| {
                let members: Vec<_> = all.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn answered(endpoint: &Endpoint) -> Result<Identity, VerifyError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    runtime.block_on(endpoint.verifier().with_audience("us").verify(&token()))
}

proptest! {
    #[test]
    fn nothing_that_an_endpoint_says_panics_and_only_true_lets_in(
        members in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "active", "sub", "exp", "nbf", "iat", "iss", "aud", "jti", "scope", "cnf", "token_type", "token_use", "x",
                ]),
                value(),
            ),
            0..8,
        ),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let mut body = format!("{{{}}}", members.join(",")).into_bytes();
        if is_cut {
            body.truncate(cut.index(body.len()));
        }
        let endpoint = Endpoint::saying("");
        endpoint.says(json(body.clone()));
        let answer = answered(&endpoint);
        let text = String::from_utf8_lossy(&body);
        prop_assert!(answer.is_err() || !is_cut && text.contains("\"active\":true"), "{text}");
    }

    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let endpoint = Endpoint::saying("");
        endpoint.says(json(body));
        prop_assert_eq!(answered(&endpoint).err(), Some(VerifyError::unavailable()));
    }
}
