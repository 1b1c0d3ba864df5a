//! The keys of a provider: when it is asked, what its silence means, and what becomes of the streams of a key
//! that it withdraws.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep, sleep_until};
use tower_reauth::{
    http_client::BoxError,
    reauth::EndReason,
    verify::{
        VerifyError, VerifyToken,
        jwks::{Jwks, JwksError},
        jwt::{JwtVerifier, Keys},
    },
};

use crate::{
    ISSUER,
    signer::Signer,
    streams::{door, end, open},
    verdict, verifier, word,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const KEYS: &str = "https://issuer.example/keys";

/// A provider that answers as it is told to.
#[derive(Clone)]
struct Provider(Arc<Inner>);

struct Inner {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    /// How long an answer takes.
    delay: Mutex<Duration>,
}

#[derive(Clone)]
enum Answer {
    /// This body, with this `Cache-Control`.
    Body(String, Option<&'static str>),
    Status(u16),
    Nothing,
    Silence,
    Panic,
}

impl Provider {
    fn with(keys: &[&Signer]) -> Self {
        let inner = Inner { answer: Mutex::new(Answer::Nothing), asked: AtomicUsize::new(0), delay: Mutex::default() };
        let provider = Self(Arc::new(inner));
        provider.has(keys);
        provider
    }

    fn has(&self, keys: &[&Signer]) {
        let keys: Vec<Value> = keys.iter().map(|signer| signer.jwk()).collect();
        self.says(Answer::Body(json!({ "keys": keys }).to_string(), None));
    }

    fn says(&self, answer: Answer) {
        *self.0.answer.lock().expect("no panic") = answer;
    }

    fn takes(&self, delay: Duration) {
        *self.0.delay.lock().expect("no panic") = delay;
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::Relaxed)
    }

    fn jwks(&self) -> Jwks {
        let provider = self.clone();
        let client = move |_: Request<Bytes>| {
            let provider = provider.clone();
            async move {
                provider.0.asked.fetch_add(1, Ordering::Relaxed);
                let delay = *provider.0.delay.lock().expect("no panic");
                sleep(delay).await;
                let answer = provider.0.answer.lock().expect("no panic").clone();
                match answer {
                    Answer::Body(body, cache_control) => {
                        let mut response = Response::new(Bytes::from(body));
                        if let Some(cache_control) = cache_control {
                            response.headers_mut().insert("cache-control", cache_control.parse()?);
                        }
                        Ok(response)
                    }
                    Answer::Status(status) => {
                        let mut response = Response::new(Bytes::from("no"));
                        *response.status_mut() = StatusCode::from_u16(status)?;
                        Ok(response)
                    }
                    Answer::Nothing => Err(BoxError::from("no route to the provider")),
                    Answer::Silence => pending().await,
                    Answer::Panic => panic!("a client's bug"),
                }
            }
        };
        Jwks::at(KEYS, client).expect("the URL is good")
    }

    fn verifier(&self) -> JwtVerifier {
        verifier(self.jwks())
    }
}

/// Lets the tasks of the verifiers come to rest.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn unavailable<T: std::fmt::Debug>(answer: Result<T, VerifyError>) -> bool {
    matches!(answer, Err(VerifyError::Unavailable { .. }))
}

fn token(signer: &Signer) -> String {
    signer.token(&Signer::claims())
}

#[tokio::test(start_paused = true)]
async fn the_first_tokens_wait_for_the_keys_together() {
    let key = Signer::new("key", "EdDSA");
    let provider = Provider::with(&[&key]);
    provider.takes(SECOND);
    let verifier = provider.verifier();
    let (token, started) = (token(&key), Instant::now());
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (verifier, token) = (verifier.clone(), token.clone());
            tokio::spawn(async move { word(&verifier, &token).await })
        })
        .collect();
    for answer in waiting {
        assert_eq!(answer.await.expect("no panic"), "good");
    }
    assert_eq!((started.elapsed(), provider.asked()), (SECOND, 1));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_has_the_provider_asked_once_for_all_who_wait() {
    let (old, new) = (Signer::new("old", "EdDSA"), Signer::new("new", "EdDSA"));
    let provider = Provider::with(&[&old]);
    let verifier = provider.verifier();
    assert_eq!(word(&verifier, &token(&old)).await, "good");
    sleep(MINUTE).await;
    provider.has(&[&old, &new]);
    provider.takes(SECOND);
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (verifier, token) = (verifier.clone(), token(&new));
            tokio::spawn(async move { word(&verifier, &token).await })
        })
        .collect();
    for answer in waiting {
        assert_eq!(answer.await.expect("no panic"), "good");
    }
    assert_eq!(provider.asked(), 2);
    assert_eq!(word(&verifier, &token(&old)).await, "good");
}

#[tokio::test(start_paused = true)]
async fn strangers_drive_one_request_in_a_cooldown_and_take_no_key_away() {
    let (key, new) = (Signer::new("key", "EdDSA"), Signer::new("new", "EdDSA"));
    let provider = Provider::with(&[&key]);
    let verifier = verifier(provider.jwks().with_refresh(60 * MINUTE, 60 * MINUTE));
    assert_eq!(word(&verifier, &token(&key)).await, "good");
    for second in 0..100_u32 {
        for id in ["a", "b", "c"] {
            assert_eq!(word(&verifier, &token(&Signer::new(id, "EdDSA"))).await, "unknown_key");
        }
        assert_eq!(word(&verifier, &token(&key)).await, "good");
        assert!(provider.asked() <= 1 + second as usize / 10, "{} after {second} s", provider.asked());
        sleep(SECOND).await;
    }
    assert_eq!(provider.asked(), 10);
    // They do not keep a new key from being found for longer than the cooldown either.
    provider.has(&[&key, &new]);
    let started = Instant::now();
    while word(&verifier, &token(&new)).await != "good" {
        word(&verifier, &token(&Signer::new("a", "EdDSA"))).await;
        sleep(SECOND).await;
    }
    assert!(started.elapsed() <= 10 * SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_as_often_as_the_provider_says_within_the_bounds() {
    for (says, expected) in [
        (None, 5 * MINUTE),
        (Some("max-age=120"), 2 * MINUTE),
        (Some("max-age=1"), MINUTE),
        (Some("no-store"), MINUTE),
        (Some("max-age=86400"), 15 * MINUTE),
    ] {
        let key = Signer::new("key", "EdDSA");
        let provider = Provider::with(&[]);
        provider.says(Answer::Body(json!({ "keys": [key.jwk()] }).to_string(), says));
        let _verifier = provider.verifier();
        settle().await;
        assert_eq!(provider.asked(), 1);
        sleep(expected - SECOND).await;
        assert_eq!(provider.asked(), 1, "{says:?}");
        sleep(2 * SECOND).await;
        assert_eq!(provider.asked(), 2, "{says:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_withdrawn_ends_the_streams_of_its_tokens_and_no_others() {
    let (old, new) = (Signer::new("old", "EdDSA"), Signer::new("new", "ES256"));
    let provider = Provider::with(&[&old, &new]);
    let verifier = provider.verifier();
    let (_held, of_old) = open(door(verifier.clone()), &token(&old)).await.expect("it is good");
    let (_held_too, of_new) = open(door(verifier.clone()), &token(&new)).await.expect("it is good");
    let end_of_old = tokio::spawn(end(of_old));
    let end_of_new = tokio::spawn(end(of_new));
    sleep(MINUTE).await;
    provider.has(&[&new]);
    // At the next time that the keys are fetched, and not a heartbeat later: there is one a day.
    assert_eq!(end_of_old.await.expect("no panic"), (EndReason::Revoked, 5 * MINUTE));
    sleep(60 * MINUTE).await;
    assert!(!end_of_new.is_finished());
    assert_eq!(word(&verifier, &token(&old)).await, "unknown_key");
    assert_eq!(word(&verifier, &token(&new)).await, "good");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_replaced_under_its_id_is_withdrawn() {
    let (old, new) = (Signer::new("key", "EdDSA"), Signer::new("key", "EdDSA"));
    let provider = Provider::with(&[&old]);
    let verifier = provider.verifier();
    let (_held, stream) = open(door(verifier.clone()), &token(&old)).await.expect("it is good");
    provider.has(&[&new]);
    assert_eq!(end(stream).await, (EndReason::Revoked, 5 * MINUTE));
    assert_eq!(word(&verifier, &token(&new)).await, "good");
}

#[tokio::test(start_paused = true)]
async fn every_key_may_be_withdrawn() {
    let key = Signer::new("key", "EdDSA");
    let provider = Provider::with(&[&key]);
    let verifier = provider.verifier();
    let (_held, stream) = open(door(verifier.clone()), &token(&key)).await.expect("it is good");
    provider.has(&[]);
    assert_eq!(end(stream).await, (EndReason::Revoked, 5 * MINUTE));
    assert_eq!(word(&verifier, &token(&key)).await, "unknown_key");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_withdrawn_by_a_set_of_keys_that_are_none_for_this_verifier() {
    for kind in [
        json!({ "kty": "AKP", "alg": "ML-DSA-65", "kid": "new", "pub": "AAAA" }),
        json!({ "kty": "OKP", "crv": "Ed448", "kid": "new", "x": "AAAA" }),
        json!({ "kty": "oct", "kid": "new", "k": "AAAA" }),
        json!({ "kty": "RSA", "use": "enc", "kid": "new", "n": "AAAA", "e": "AQAB" }),
    ] {
        let key = Signer::new("key", "EdDSA");
        let provider = Provider::with(&[&key]);
        let verifier = provider.verifier();
        let (_held, stream) = open(door(verifier.clone()), &token(&key)).await.expect("it is good");
        provider.says(Answer::Body(json!({ "keys": [kind] }).to_string(), None));
        assert_eq!(end(stream).await, (EndReason::Revoked, 5 * MINUTE), "{kind}");
        assert_eq!(word(&verifier, &token(&key)).await, "unknown_key");
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_has_not_changed_moves_nothing() {
    let (one, other) = (Signer::new("one", "EdDSA"), Signer::new("other", "ES256"));
    let provider = Provider::with(&[&one, &other]);
    let verifier = provider.verifier();
    assert_eq!(word(&verifier, &token(&one)).await, "good");
    let before = verifier.revision().expect("one").current();
    provider.has(&[&other, &one]);
    sleep(20 * MINUTE + SECOND).await;
    assert_eq!((verifier.revision().expect("one").current(), provider.asked()), (before, 5));
}

#[tokio::test(start_paused = true)]
async fn no_error_takes_a_key_away_before_the_outage_has_lasted_its_time() {
    let garbage = |text: &str| Answer::Body(text.to_owned(), None);
    for answer in [
        Answer::Nothing,
        Answer::Silence,
        Answer::Panic,
        Answer::Status(500),
        Answer::Status(404),
        Answer::Status(302),
        Answer::Status(204),
        garbage(""),
        garbage("{}"),
        garbage("<html>"),
        garbage(r#"{"keys":[7]}"#),
        garbage(&format!(r#"{{"keys":[{}]}}"#, " ".repeat(2 << 20))),
    ] {
        let key = Signer::new("key", "EdDSA");
        let provider = Provider::with(&[&key]);
        let verifier = provider.verifier();
        let (_held, stream) = open(door(verifier.clone()), &token(&key)).await.expect("it is good");
        let end_of_stream = tokio::spawn(end(stream));
        provider.says(answer);
        let started = Instant::now();
        sleep(59 * MINUTE).await;
        assert_eq!(word(&verifier, &token(&key)).await, "good");
        // It is asked again and again, the longer it lasts the less often.
        assert!((50..70).contains(&provider.asked()), "{}", provider.asked());
        let stranger = Signer::new("stranger", "EdDSA");
        assert!(unavailable(verdict(&verifier, &token(&stranger)).await), "it may be a new key for all that is known");
        sleep_until(started + 60 * MINUTE - SECOND).await;
        assert!(!end_of_stream.is_finished());
        sleep(2 * SECOND).await;
        assert!(unavailable(verdict(&verifier, &token(&key)).await));
        assert_eq!(end_of_stream.await.expect("no panic"), (EndReason::Unavailable, 60 * MINUTE));
        // And is back the moment that the provider is.
        provider.has(&[&key]);
        sleep(MINUTE + 10 * SECOND).await;
        assert_eq!(word(&verifier, &token(&key)).await, "good");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_takes_no_key_of_a_provider_that_is_there() {
    for outage in [Duration::ZERO, MINUTE] {
        let key = Signer::new("key", "EdDSA");
        let provider = Provider::with(&[&key]);
        let verifier = verifier(provider.jwks().with_outage(outage));
        assert_eq!(word(&verifier, &token(&key)).await, "good");
        provider.takes(SECOND);
        let (_held, stream) = open(door(verifier.clone()), &token(&key)).await.expect("it is good");
        let started = Instant::now();
        let end_of_stream = tokio::spawn(end(stream));
        sleep_until(started + 60 * MINUTE + SECOND / 2).await;
        assert!(!end_of_stream.is_finished());
        assert_eq!(word(&verifier, &token(&key)).await, "good");
        // And it does not outlive the time that a fetch may take.
        provider.says(Answer::Silence);
        let (reason, lasted) = end_of_stream.await.expect("no panic");
        assert_eq!(reason, EndReason::Unavailable);
        assert!(lasted <= 66 * MINUTE, "{lasted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_panics_as_it_is_dropped_does_not_end_the_task() {
    #[derive(Debug)]
    struct Mine;
    impl std::fmt::Display for Mine {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("an error's own bug")
        }
    }
    impl std::error::Error for Mine {}
    impl Drop for Mine {
        fn drop(&mut self) {
            panic!("an error's own bug");
        }
    }

    let key = Signer::new("key", "EdDSA");
    let set = json!({ "keys": [key.jwk()] }).to_string();
    let asked = AtomicUsize::new(0);
    let client = move |_: Request<Bytes>| {
        let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        let set = set.clone();
        async move {
            sleep(SECOND).await;
            if is_first { Err(BoxError::from(Mine)) } else { Ok(Response::new(Bytes::from(set))) }
        }
    };
    let keys = Keys::from(Jwks::at(KEYS, client).expect("the URL is good"));
    tokio::time::timeout(MINUTE, keys.ready()).await.expect("it is asked again");
}

#[tokio::test(start_paused = true)]
async fn a_service_starts_without_its_provider() {
    let key = Signer::new("key", "EdDSA");
    let provider = Provider::with(&[&key]);
    provider.says(Answer::Nothing);
    let keys = Keys::from(provider.jwks());
    let verifier = verifier(keys.clone());
    assert!(unavailable(verdict(&verifier, &token(&key)).await));
    let (status, _) = open(door(verifier.clone()), &token(&key)).await.expect_err("there are no keys");
    assert_eq!(status, 503);
    let ready = tokio::spawn(async move { keys.ready().await });
    sleep(SECOND / 2).await;
    assert!(!ready.is_finished());
    provider.has(&[&key]);
    ready.await.expect("no panic");
    assert_eq!(word(&verifier, &token(&key)).await, "good");
}

#[tokio::test(start_paused = true)]
async fn the_provider_is_left_alone_once_nobody_wants_its_keys() {
    let key = Signer::new("key", "EdDSA");
    let provider = Provider::with(&[&key]);
    let verifier = provider.verifier();
    assert_eq!(word(&verifier, &token(&key)).await, "good");
    drop(verifier);
    settle().await;
    assert_eq!(Arc::strong_count(&provider.0), 1, "nobody holds the client");
    sleep(60 * MINUTE).await;
    assert_eq!(provider.asked(), 1);
}

#[test]
fn a_runtime_that_ends_takes_no_keys_along() {
    let key = Signer::new("key", "EdDSA");
    let provider = Provider::with(&[&key]);
    // Made outside of any runtime, then used in one after the other.
    let verifier = provider.verifier();
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        assert_eq!(runtime.block_on(word(&verifier, &token(&key))), "good");
    }
    let without_timer = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert!(unavailable(without_timer.block_on(verdict(&verifier, &token(&key)))));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_takes_its_time_is_not_waited_for_without_end() {
    let key = Signer::new("key", "EdDSA");
    let provider = Provider::with(&[&key]);
    provider.says(Answer::Silence);
    let verifier = provider.verifier();
    let started = Instant::now();
    assert!(unavailable(verdict(&verifier, &token(&key)).await));
    assert_eq!(started.elapsed(), 10 * SECOND);
    advance(SECOND).await;
}

/// What discovery comes to, with these documents at these paths.
async fn discovered(issuer: &'static str, documents: &'static [(&'static str, u16, &'static str)]) -> Vec<String> {
    let key = Signer::new("key", "EdDSA");
    let (asked, keys) = (Arc::new(Mutex::new(Vec::new())), json!({ "keys": [key.jwk()] }).to_string());
    let log = Arc::clone(&asked);
    let client = move |request: Request<Bytes>| {
        let url = request.uri().to_string();
        log.lock().expect("no panic").push(url.clone());
        let keys = keys.clone();
        async move {
            if url == KEYS {
                return Ok(Response::new(Bytes::from(keys)));
            }
            let found = documents.iter().find(|(at, ..)| *at == url);
            let (_, status, text) = found.ok_or_else(|| BoxError::from("nobody is there"))?;
            let mut response = Response::new(Bytes::from(*text));
            *response.status_mut() = StatusCode::from_u16(*status)?;
            Ok(response)
        }
    };
    let verifier = JwtVerifier::new(Jwks::of_issuer(issuer, client).expect("a URL"), ISSUER, crate::AUDIENCE);
    let answer = verdict(&verifier, &token(&key)).await;
    let mut seen = asked.lock().expect("no panic").clone();
    seen.push(if answer.is_ok() { "good" } else { "unavailable" }.to_owned());
    seen
}

#[tokio::test(start_paused = true)]
async fn an_issuer_says_where_its_keys_are() {
    const OPENID: &str = "https://issuer.example/.well-known/openid-configuration";
    const OAUTH: &str = "https://issuer.example/.well-known/oauth-authorization-server";
    const GOOD: &str = r#"{"issuer":"https://issuer.example","jwks_uri":"https://issuer.example/keys"}"#;
    assert_eq!(discovered(ISSUER, &[(OPENID, 200, GOOD)]).await, [OPENID, KEYS, "good"]);
    assert_eq!(discovered(ISSUER, &[(OPENID, 404, ""), (OAUTH, 200, GOOD)]).await, [OPENID, OAUTH, KEYS, "good"]);
    // An outage is no answer: no other document is taken for it.
    assert_eq!(discovered(ISSUER, &[(OPENID, 503, ""), (OAUTH, 200, GOOD)]).await, [OPENID, "unavailable"]);
    assert_eq!(
        discovered(
            "https://issuer.example/tenant/",
            &[
                ("https://issuer.example/tenant/.well-known/openid-configuration", 404, ""),
                (
                    "https://issuer.example/.well-known/oauth-authorization-server/tenant",
                    200,
                    r#"{"issuer":"https://issuer.example/tenant/","jwks_uri":"https://issuer.example/keys"}"#,
                ),
            ],
        )
        .await[2..],
        [KEYS, "good"]
    );
    for wrong in [
        "",
        "[]",
        "{}",
        r#"{"jwks_uri":"https://issuer.example/keys"}"#,
        r#"{"issuer":"https://issuer.example"}"#,
        r#"{"issuer":"https://issuer.example/","jwks_uri":"https://issuer.example/keys"}"#,
        r#"{"issuer":"https://mallory.example","jwks_uri":"https://issuer.example/keys"}"#,
        r#"{"issuer":"https://mallory.example","issuer":"https://issuer.example","jwks_uri":"https://issuer.example/keys"}"#,
        r#"{"issuer":"https://issuer.example","jwks_uri":"http://issuer.example/keys"}"#,
        // Nor to this machine, where nobody publishes the keys of an issuer that is elsewhere.
        r#"{"issuer":"https://issuer.example","jwks_uri":"http://127.0.0.1:6379/keys"}"#,
        r#"{"issuer":"https://issuer.example","jwks_uri":"http://localhost/keys"}"#,
        r#"{"issuer":"https://issuer.example","jwks_uri":"/keys"}"#,
        r#"{"issuer":"https://issuer.example","jwks_uri":7}"#,
        r#"{"issuer":"https://issuer.example","jwks_uri":"file:///keys"}"#,
    ] {
        let documents = vec![(OPENID, 200, wrong)].leak();
        assert_eq!(discovered(ISSUER, documents).await, [OPENID, "unavailable"], "{wrong}");
    }
}

#[test]
fn an_address_that_could_be_anybodys_is_refused_where_it_is_configured() {
    let client = async |_: Request<Bytes>| Err::<Response<Bytes>, BoxError>("nobody asks".into());
    for (url, is_good) in [
        ("https://issuer.example/keys", true),
        ("http://127.0.0.1:8080/keys", true),
        ("http://localhost/keys", true),
        ("http://issuer.example/keys", false),
        ("ftp://issuer.example/keys", false),
        ("//issuer.example/keys", false),
        ("issuer.example", false),
        ("/keys", false),
        ("", false),
        ("https://", false),
        ("https://issuer.example/ keys", false),
    ] {
        assert_eq!(Jwks::at(url, client).is_ok(), is_good, "{url}");
        assert_eq!(Jwks::of_issuer(url, client).is_ok(), is_good, "{url}");
    }
    assert!(matches!(Jwks::of_issuer("https://issuer.example?tenant=1", client), Err(JwksError::InvalidUrl(_))));
    let error = Jwks::at("http://issuer.example/keys", client).expect_err("it is in the clear");
    assert_eq!(error.to_string(), "http://issuer.example/keys is neither https nor on this machine");
}

#[tokio::test(start_paused = true)]
async fn times_without_end_are_long_times() {
    let key = Signer::new("key", "EdDSA");
    let provider = Provider::with(&[&key]);
    let (never, always) = (Duration::MAX, Duration::ZERO);
    for jwks in [
        provider.jwks().with_refresh(never, never).with_cooldown(never).with_outage(never).with_timeout(never),
        provider.jwks().with_refresh(SECOND, always).with_cooldown(always),
    ] {
        let verifier = verifier(jwks);
        assert_eq!(word(&verifier, &token(&key)).await, "good");
        sleep(MINUTE).await;
        assert_eq!(word(&verifier, &token(&key)).await, "good");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_not_asked_in_a_loop_however_often_keys_are_to_be_fetched() {
    for answer in [None, Some(Answer::Nothing)] {
        let key = Signer::new("key", "EdDSA");
        let provider = Provider::with(&[&key]);
        if let Some(answer) = answer {
            provider.says(answer);
        }
        let _verifier = verifier(provider.jwks().with_refresh(Duration::ZERO, Duration::ZERO));
        settle().await;
        assert_eq!(provider.asked(), 1);
    }
}
