//! A gRPC service whose tokens an authorization server is asked about: a call that streams ends with `UNAUTHENTICATED`
//! soon after the server says that its token is no longer active. That server is in here too.
//!
//! `cargo run --features grpc --example grpc`, then call `/clock.Clock/Watch` on 127.0.0.1:3002 (a `google.protobuf.Empty`
//! in, a stream of `google.protobuf.StringValue`s out) with the metadata `authorization: Bearer opaque-123`, and
//! `curl -d token=opaque-123 http://127.0.0.1:3003/revoke`.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Form, Json, Router, extract::Request, http::HeaderMap, http::StatusCode, response::Response, routing::post,
};
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tonic::{Status, server::Grpc};
use tonic_prost::ProstCodec;
use tower_reauth::{
    BearerAuthLayer, RequireScopeLayer, Scope, StreamReauthLayer,
    http_client::HttpsClient,
    verify::{Cached, ClientAuth, Introspection},
};

const READ: Scope = Scope::from_static("clock:read");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = tokio::net::TcpListener::bind("127.0.0.1:3003").await?;
    tokio::spawn(async { axum::serve(provider, authorization_server()).await });

    let auth = ClientAuth::basic("clock", "s3cret");
    let introspection = Introspection::new("http://127.0.0.1:3003/introspect", auth, HttpsClient::new()?)?
        .with_issuer("http://127.0.0.1:3003")
        .with_audience("clock");
    let app = Router::new()
        .route("/clock.Clock/Watch", post(watch))
        .layer(StreamReauthLayer::new().with_heartbeat(Duration::from_secs(1)))
        .layer(RequireScopeLayer::new(READ))
        .layer(BearerAuthLayer::new(Cached::new(introspection, Duration::from_secs(1))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3002").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// What a code generator would make of `rpc Watch(google.protobuf.Empty) returns (stream google.protobuf.StringValue)`.
async fn watch(request: Request) -> Response<tonic::body::Body> {
    let ticks = tower::service_fn(async |_: tonic::Request<()>| Ok(tonic::Response::new(ticks())));
    Grpc::new(ProstCodec::<String, ()>::default()).server_streaming(ticks, request).await
}

fn ticks() -> impl Stream<Item = Result<String, Status>> {
    stream::unfold(0_u64, async |tick| {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok(tick.to_string()), tick + 1))
    })
}

/// It knows one token, until that is revoked.
fn authorization_server() -> Router {
    let active = Arc::new(Mutex::new(HashSet::from(["opaque-123".to_owned()])));
    let revoked = Arc::clone(&active);
    let introspect = async move |headers: HeaderMap, Form(form): Form<Value>| {
        if headers["authorization"] != "Basic Y2xvY2s6czNjcmV0" {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let active = active.lock().unwrap_or_else(PoisonError::into_inner);
        let is_active = form["token"].as_str().is_some_and(|token| active.contains(token));
        Ok(Json(json!({"active": is_active, "sub": "alice", "aud": "clock", "scope": "clock:read"})))
    };
    let revoke = async move |Form(form): Form<Value>| {
        let mut active = revoked.lock().unwrap_or_else(PoisonError::into_inner);
        form["token"].as_str().map(|token| active.remove(token));
    };
    Router::new().route("/introspect", post(introspect)).route("/revoke", post(revoke))
}
