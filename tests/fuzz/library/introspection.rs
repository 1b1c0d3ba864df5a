//! A token is good only by a response that says so without a doubt: 200, JSON, `active`, of the expected issuer and
//! audience, bound to no key. The identity is what the response says and no more.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Map, Value};
use tower_reauth::{
    AuthMethod,
    http_client::BoxError,
    verify::{ClientAuth, Introspection, VerifyError, VerifyToken},
};

use super::issuer::{self, AUDIENCE, ISSUER, has_text, words};
use crate::support;

type Answer = Arc<Mutex<Response<Bytes>>>;

thread_local! {
    static ENDPOINT: RefCell<(Answer, Introspection)> = {
        let answer = Answer::default();
        let client = {
            let answer = Arc::clone(&answer);
            move |_: Request<Bytes>| {
                let answer = answer.lock().expect("no panic").clone();
                async { Ok::<_, BoxError>(answer) }
            }
        };
        let endpoint = Introspection::new("https://issuer.example.com/introspect", ClientAuth::basic("gateway", "s3cret"), client)
            .expect("a good URL")
            .with_issuer(ISSUER)
            .with_audience(AUDIENCE);
        RefCell::new((answer, endpoint))
    };
}

/// The response of the endpoint.
pub(crate) fn run(input: &[u8]) {
    let Some(response) = support::responses(input).next() else { return };
    let verdict = ENDPOINT.with_borrow(|(answer, endpoint)| {
        *answer.lock().expect("no panic") = response.clone();
        support::ready(endpoint.verify(&issuer::bearer(b"t0ken").expect("a token")))
    });
    let identity = match verdict {
        Ok(identity) => identity,
        Err(error) => {
            let is_rejected = matches!(error, VerifyError::Rejected | VerifyError::RejectedFor { .. });
            assert!(!is_rejected || response.status() == 200, "a fault of the endpoint is none of the token's");
            return;
        }
    };

    assert_eq!(response.status(), 200);
    let members: Map<String, Value> = serde_json::from_slice(response.body()).expect("an object");
    assert_eq!(members["active"], true);
    assert!(!members.contains_key("cnf"));
    assert!(members.get("iss").is_none_or(|issuer| issuer == ISSUER));
    assert!(has_text(&members, "aud", AUDIENCE));
    assert!(
        !members
            .get("token_type")
            .is_some_and(|kind| kind.as_str().is_none_or(|kind| kind.eq_ignore_ascii_case("dpop")))
    );
    assert!(members.get("token_use").is_none_or(|kind| kind == "access_token"));
    assert_eq!((identity.issuer(), identity.method()), (Some(ISSUER), AuthMethod::Token));
    assert_eq!(members["sub"], identity.subject());
    assert!(!identity.subject().is_empty());
    assert_eq!(identity.expires_at().is_some(), members.contains_key("exp"));
    assert_eq!(identity.not_before().is_some(), members.contains_key("nbf"));
    let scopes = identity.scopes().expect("the endpoint says which it has");
    let said = words(&members, "scope");
    assert!(scopes.iter().all(|scope| said.contains(&scope.as_str())), "{scopes:?} of {said:?}");
}
