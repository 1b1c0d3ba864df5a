//! A stream behind the signed tokens of any issuer that says where its keys are.
//!
//! `cargo run --features llm --example jwt -- https://issuer.example https://api.example`, the latter being the
//! audience, then `curl -N -H "Authorization: Bearer $TOKEN"` for `/clock` at the address that it prints. The token has the
//! type `at+jwt` (RFC 9068) and the scope `read`: for an issuer whose access tokens are plain `JWT`s drop `with_type`.

use std::{convert::Infallible, time::Duration};

use axum::{Router, response::Sse, response::sse::Event, routing::get};
use futures_util::stream::{self, Stream};
use tower_reauth::http_client::HttpsClient;
use tower_reauth::verify::{jwks::Jwks, jwt::JwtVerifier};
use tower_reauth::{BearerAuthLayer, Identity, RequireScopeLayer, Scope, StreamReauthLayer};
use tracing_subscriber::EnvFilter;

const READ: Scope = Scope::from_static("read");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(issuer), Some(audience)) = (arguments.next(), arguments.next()) else {
        return Err("an issuer and an audience are wanted".into());
    };
    // Why a token is refused is logged at DEBUG, and in no response.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,tower_reauth=debug"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    // The keys are fetched often, to see one that is withdrawn at once. A minute and more is usual.
    let keys = Jwks::of_issuer(&issuer, HttpsClient::new()?)?
        .with_refresh(Duration::from_millis(200), Duration::from_millis(200))
        .with_cooldown(Duration::from_millis(200));
    let app = Router::new()
        .route("/clock", get(clock))
        .layer(StreamReauthLayer::new())
        .layer(RequireScopeLayer::new(READ))
        .layer(BearerAuthLayer::new(JwtVerifier::new(keys, issuer, audience).with_type("at+jwt")));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn clock(caller: Identity) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let hello = stream::once(async move { Ok(Event::default().data(caller.subject())) });
    Sse::new(stream::StreamExt::chain(hello, stream::pending()))
}
