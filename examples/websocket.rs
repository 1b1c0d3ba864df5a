//! A WebSocket for browsers: its token stands in a cookie or a subprotocol, and when that is revoked the socket is closed
//! with 1008.
//!
//! `cargo run --example websocket --features websocket`, then open http://127.0.0.1:3000

use std::{error::Error, time::Duration};

use axum::{
    Router,
    extract::ws::Message,
    http::{StatusCode, header::SET_COOKIE},
    response::{Html, Response},
    routing::{any, get, post},
};
use tower_reauth::{BearerAuthLayer, Tokens, bearer::Place, verify::Token, websocket::ReauthUpgrade};

// A real one is random, and by TLS its cookie is `__Host-session=…; Secure` besides.
const TOKEN: &str = "s3cret";
const COOKIE: &str = "session=s3cret; HttpOnly; SameSite=Lax; Path=/";

const PAGE: &str = r#"<!doctype html>
<button onclick="connect(['clock', 'bearer.' + encodeURIComponent('s3cret')])">By a subprotocol</button>
<button onclick="fetch('/sign-in', { method: 'POST' }).then(() => connect(['clock']))">By a cookie</button>
<button onclick="fetch('/revoke', { method: 'POST' })">Revoke</button>
<pre id="log"></pre>
<script>
  const say = text => { log.textContent += text + '\n' }
  function connect(protocols) {
    const socket = new WebSocket(`ws://${location.host}/clock`, protocols)
    socket.onmessage = event => say(event.data)
    socket.onclose = event => say(`closed: ${event.code} ${event.reason}`)
  }
</script>"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let tokens = Tokens::new([Token::new("demo", TOKEN)])?;
    let auth = BearerAuthLayer::new(tokens.clone()).with_places([
        Place::AUTHORIZATION,
        Place::cookie("session")?,
        Place::subprotocol("bearer.")?,
    ]);
    let revoke = async move || match tokens.replace([]) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let app = Router::new()
        .route("/clock", any(clock))
        .route_layer(auth)
        .route("/", get(async || Html(PAGE)))
        .route("/sign-in", post(async || ([(SET_COOKIE, COOKIE)], StatusCode::NO_CONTENT)))
        .route("/revoke", post(revoke));

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn clock(upgrade: ReauthUpgrade) -> Response {
    // A browser that offers subprotocols wants one of them chosen; the token is no longer among them.
    upgrade.with_protocols(["clock"]).on_upgrade(async |mut socket| {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        for seconds in 0.. {
            tokio::select! {
                // Reading is how a close and the answers to pings are seen.
                said = socket.recv() => if said.is_none_or(|said| said.is_err()) { break },
                _ = second.tick() => {
                    if socket.send(Message::text(format!("{seconds} s"))).await.is_err() { break }
                }
            }
        }
    })
}
