//! An LLM's API as its clients know it, behind the signed tokens of an issuer: an answer that streams ends when the
//! issuer withdraws the key of its token.
//!
//! `cargo run --features llm --example llm`, then `curl -X POST localhost:3002/token` for an API key.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use axum::{Json, Router, extract::State, response::Sse, response::sse::Event, routing::get, routing::post};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tower_http::{compression::CompressionLayer, cors::CorsLayer};
use tower_reauth::reauth::{CutBody, Ending};
use tower_reauth::verify::{jwks::Jwks, jwt::JwtVerifier};
use tower_reauth::{BearerAuthLayer, RequireScopeLayer, Scope, StreamReauthLayer, http_client::HttpsClient};

const ISSUER: &str = "http://127.0.0.1:3002";
const CHAT: Scope = Scope::from_static("chat");

/// Somebody else's server, in the place of which a provider is.
fn issuer() -> Router {
    type Key = State<Arc<Mutex<SigningKey>>>;
    let new = || SigningKey::from_bytes(&std::array::from_fn(|_| getrandom::u32().expect("random bytes") as u8));
    Router::new()
        .route("/keys", get(async |State(key): Key| Json(json!({ "keys": [jwk(&key.lock().unwrap())] }))))
        .route("/token", post(async |State(key): Key| token(&key.lock().unwrap())))
        .route("/rotate", post(async move |State(key): Key| *key.lock().unwrap() = new()))
        .with_state(Arc::new(Mutex::new(new())))
}

fn jwk(key: &SigningKey) -> Value {
    let x = BASE64URL.encode(key.verifying_key());
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": &x[..8], "x": x })
}

fn token(key: &SigningKey) -> String {
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": jwk(key)["kid"] });
    let expires_at = UNIX_EPOCH.elapsed().unwrap().as_secs() + 3600;
    let claims = json!({ "iss": ISSUER, "aud": "llm", "sub": "alice", "exp": expires_at, "scope": "chat" });
    let message = [header, claims].map(|part| BASE64URL.encode(part.to_string())).join(".");
    let signature = BASE64URL.encode(key.sign(message.as_bytes()).to_bytes());
    format!("{message}.{signature}")
}

async fn chat() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::unfold(0, async |word| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let choice = json!({ "index": 0, "delta": { "content": format!("word {word} ") } });
        let chunk =
            json!({ "id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice] });
        Some((Ok(Event::default().data(chunk.to_string())), word + 1))
    }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3002").await?;
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        // What is observed takes room until it is scraped, or this is run.
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    let keys = Jwks::at(&format!("{ISSUER}/keys"), HttpsClient::new()?)?;
    let keys = keys.with_refresh(Duration::from_secs(1), Duration::from_secs(1));
    let error =
        |cut: &CutBody<'_>| format!("data: {}\n\n", json!({ "error": { "message": cut.reason.as_str() } })).into();
    let app = Router::new()
        .route("/v1/chat/completions", post(chat))
        .layer(StreamReauthLayer::new().with_ending(Ending::last_bytes(error)))
        .layer(RequireScopeLayer::new(CHAT))
        .layer(BearerAuthLayer::new(JwtVerifier::new(keys, ISSUER, "llm").with_type("at+jwt")))
        .layer(CompressionLayer::new())
        .layer(CorsLayer::permissive());
    let app = app.route("/metrics", get(async move || metrics.render())).merge(issuer());
    println!("listening on {ISSUER}/v1");
    Ok(axum::serve(listener, app).await?)
}
