//! Bearer auth, one required scope and a stream that ends with its token, on axum.
//!
//! `cargo run --example axum`, then `curl -N -H 'Authorization: Bearer s3cret' localhost:3000/clock`

use std::{convert::Infallible, time::Duration};

use axum::{Router, response::Sse, response::sse::Event, routing::get};
use futures_util::stream::{self, Stream};
use tower_reauth::{BearerAuthLayer, Identity, RequireScopeLayer, Scope, StaticToken, StreamReauthLayer};

const READ: Scope = Scope::from_static("clock:read");

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new()
        .route("/clock", get(clock))
        .layer(StreamReauthLayer::new())
        .layer(RequireScopeLayer::new(READ))
        .layer(BearerAuthLayer::new(StaticToken::new("s3cret").with_scopes(READ)));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

async fn clock(caller: Identity) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    println!("{} is watching the clock", caller.subject());
    Sse::new(stream::unfold(0_u64, async |seconds| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok(Event::default().data(seconds.to_string())), seconds + 1))
    }))
}
