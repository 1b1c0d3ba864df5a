//! What asks a provider asks the one that was configured, and neither waits nor reads without a bound.

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{Router, body::Body, response::Redirect, routing::get};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tower_reauth::http_client::{HttpClient, HttpsClient, HttpsError, MAX_BODY_LEN};

/// A provider on this machine: its address.
async fn provider() -> String {
    let routes = Router::new()
        .route("/keys", get(async || "the keys"))
        .route("/gone", get(async || (StatusCode::INTERNAL_SERVER_ERROR, "gone")))
        .route("/moved", get(async || Redirect::temporary("/keys")))
        .route("/most", get(async || vec![b'x'; MAX_BODY_LEN]))
        .route("/too-long", get(async || vec![b'x'; MAX_BODY_LEN + 1]))
        .route("/endless", get(async || Body::from_stream(stream::repeat(Ok::<_, Infallible>(vec![b'x'; 4096])))))
        .route("/silent", get(async || pending::<()>().await))
        .route("/stalled", get(async || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

async fn ask(client: &impl HttpClient, url: String) -> Result<Response<Bytes>, HttpsError> {
    let request = Request::get(url).body(Bytes::new()).expect("a request");
    client.send(request).await.map_err(|error| *error.downcast().expect("an error of the client's"))
}

#[tokio::test]
async fn a_response_is_given_whole_whatever_its_status() {
    let (provider, client) = (provider().await, HttpsClient::new().expect("roots"));
    for (path, status, length) in
        [("/keys", 200, 8), ("/gone", 500, 4), ("/nothing", 404, 0), ("/moved", 307, 0), ("/most", 200, MAX_BODY_LEN)]
    {
        let response = ask(&client, format!("{provider}{path}")).await.expect("a response");
        assert_eq!((response.status().as_u16(), response.body().len()), (status, length), "{path}");
    }
}

#[tokio::test]
async fn a_body_has_an_end() {
    let (provider, client) = (provider().await, HttpsClient::new().expect("roots"));
    for path in ["/too-long", "/endless"] {
        let error = ask(&client, format!("{provider}{path}")).await.expect_err("it is too long");
        assert!(matches!(error, HttpsError::TooLong), "{error}");
    }
}

#[tokio::test]
async fn an_exchange_has_an_end() {
    let provider = provider().await;
    let client = HttpsClient::new().expect("roots").with_timeout(Duration::from_millis(100));
    for path in ["/silent", "/stalled"] {
        let error = ask(&client, format!("{provider}{path}")).await.expect_err("nothing comes");
        assert!(matches!(error, HttpsError::TimedOut), "{error}");
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_an_error_with_its_cause() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = nobody.local_addr().expect("it is bound");
    drop(nobody);
    let client = HttpsClient::new().expect("roots");
    let error = ask(&client, format!("http://{address}/keys")).await.expect_err("nobody listens");
    assert!(matches!(error, HttpsError::Failed(_)), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn nobody_elsewhere_is_asked_in_the_clear() {
    let client = HttpsClient::new().expect("roots");
    let error = ask(&client, "http://issuer.example/keys".to_owned()).await.expect_err("it is not https");
    assert!(matches!(error, HttpsError::Insecure), "{error}");
}

#[tokio::test]
async fn whoever_speaks_no_tls_is_not_taken_for_the_provider() {
    let (provider, client) = (provider().await, HttpsClient::new().expect("roots"));
    let error = ask(&client, provider.replace("http:", "https:") + "/keys").await.expect_err("it speaks no TLS");
    assert!(matches!(error, HttpsError::Failed(_)), "{error}");
}

#[tokio::test]
async fn a_closure_is_a_client() {
    let closure = |request: Request<Bytes>| async move { Ok(Response::new(Bytes::from(request.uri().to_string()))) };
    let response = closure.send(Request::get("https://issuer.example/keys").body(Bytes::new()).expect("a request"));
    assert_eq!(response.await.expect("a response").body(), "https://issuer.example/keys");
}
