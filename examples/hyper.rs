//! Bearer auth and a required scope on a plain hyper service.
//!
//! `cargo run --example hyper`, then `curl -H 'Authorization: Bearer s3cret' localhost:3000`

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_reauth::{BearerAuthLayer, RequireScopeLayer, Scope, StaticToken, StreamReauthLayer};

const READ: Scope = Scope::from_static("greeting:read");

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(StaticToken::new("s3cret").with_scopes(READ)))
        .layer(RequireScopeLayer::new(READ))
        .layer(StreamReauthLayer::new())
        .service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello\n"))));

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await
        });
    }
}
