//! The keys of an issuer are fetched from nowhere but where its own document says, by https; and they are those that the
//! response has.

use std::{
    cell::RefCell,
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use serde_json::{Map, Value};
use tokio::time::timeout;
use tower_reauth::{
    http_client::BoxError,
    verify::{
        VerifyToken,
        jwks::Jwks,
        jwt::{JwtVerifier, KeySet, Keys},
    },
};

use super::issuer::{self, AUDIENCE, ISSUER};
use crate::support;

const DOCUMENTS: [&str; 2] = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

/// What was asked for, and answered.
type Asked = Arc<Mutex<Vec<(Uri, Response<Bytes>)>>>;

thread_local! {
    static TOKEN: RefCell<String> = {
        let claims = format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"alice","exp":4000000000}}"#);
        RefCell::new(issuer::sign(br#"{"alg":"EdDSA","kid":"1"}"#, claims.as_bytes()))
    };
}

/// The responses of the provider, one after the other.
pub(crate) fn run(input: &[u8]) {
    let responses: Mutex<VecDeque<Response<Bytes>>> = Mutex::new(support::responses(input).take(8).collect());
    let asked = Asked::default();
    let client = {
        let asked = Arc::clone(&asked);
        move |request: Request<Bytes>| {
            let response = responses.lock().expect("no panic").pop_front();
            if let Some(response) = &response {
                asked.lock().expect("no panic").push((request.uri().clone(), response.clone()));
            }
            async { response.ok_or_else(|| BoxError::from("there is nothing more")) }
        }
    };
    let is_let_in = support::ready(async {
        let keys = Keys::from(Jwks::of_issuer(ISSUER, client).expect("a good URL"));
        let verifier = JwtVerifier::new(keys.clone(), ISSUER, AUDIENCE);
        // Less than it waits until it asks again.
        let _ = timeout(Duration::from_millis(500), keys.ready()).await;
        let token = issuer::bearer(TOKEN.with_borrow(|token| token.clone()).as_bytes()).expect("a token");
        let verdict = timeout(Duration::from_millis(100), verifier.verify(&token)).await;
        drop((verifier, keys));
        tokio::task::yield_now().await;
        matches!(verdict, Ok(Ok(_)))
    });

    let asked = asked.lock().expect("no panic");
    assert!(asked.len() <= 3, "{} requests for one set of keys", asked.len());
    let mut document: Option<Map<String, Value>> = None;
    for (n, (uri, response)) in asked.iter().enumerate() {
        assert_eq!(uri.scheme_str(), Some("https"));
        if n == 0 {
            assert_eq!((uri.host(), uri.path()), (Some("issuer.example.com"), DOCUMENTS[0]));
        }
        match &document {
            None if DOCUMENTS.contains(&uri.path()) && uri.host() == Some("issuer.example.com") => {
                assert!(
                    n == 0 || asked[0].1.status().is_client_error(),
                    "the other document is for where the first is none"
                );
            }
            None => panic!("{uri} is asked for, and no document says so"),
            Some(document) => {
                assert_eq!(document["issuer"], ISSUER);
                let named: Uri = document["jwks_uri"].as_str().and_then(|text| text.parse().ok()).expect("a URL");
                assert_eq!(*uri, named);
            }
        }
        document = serde_json::from_slice(response.body()).ok().filter(|_| response.status() == 200);
    }
    if is_let_in {
        let (_, last) = asked.last().expect("it was asked");
        assert_eq!(last.status(), 200);
        assert!(KeySet::from_json(last.body()).is_ok());
        let public_key = issuer::public_key();
        let set: Value = serde_json::from_slice(last.body()).expect("JSON");
        assert!(set["keys"].as_array().is_some_and(|keys| keys.iter().any(|key| key["x"] == public_key)));
    }
}
