//! What the check of a signed token costs, beside that of `tower-oauth2-resource-server` in the same run.
//!
//! `cargo bench --bench jwt`: for each algorithm, what each of the two doors adds to the bare service; over RustCrypto in
//! place of `aws-lc-rs` where the environment has `JWT_BENCH_RUST_CRYPTO`.
//! Both check the signature with the same code; the budget is that ours costs at most what theirs does.

#[path = "shared/rounds.rs"]
mod rounds;

use std::{convert::Infallible, future::Future, hint::black_box, pin::pin, task};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};
use tower_oauth2_resource_server::{
    claims::DefaultClaims, server::OAuth2ResourceServer, tenant::TenantConfiguration, validation::ClaimsValidationSpec,
};
use tower_reauth::{
    BearerAuthLayer,
    verify::jwt::{Algorithm, Crypto, JwtVerifier, KeySet},
};

use rounds::{Call, Rounds};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example";

type Door = BoxCloneService<Request<()>, Response<String>, Infallible>;

/// A token, and the set that its key is in.
struct Case {
    algorithm: &'static str,
    token: String,
    keys: String,
}

fn main() {
    let rounds = if rounds::are_wanted() { Rounds { rounds: 200, batch: 64 } } else { Rounds { rounds: 1, batch: 1 } };
    let cases = cases();
    // Theirs goes by what is installed for the process, which is once.
    let is_rust = std::env::var_os("JWT_BENCH_RUST_CRYPTO").is_some();
    let (crypto, backend) = match is_rust {
        true => (Crypto::RustCrypto, &jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER),
        false => (Crypto::AwsLcRs, &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER),
    };
    backend.install_default().expect("nobody else has");

    println!("{crypto:?}, nanoseconds added        ours |   theirs | ours : theirs (budget 1.00)");
    for case in &cases {
        let (bare, ours, theirs) = (bare(), ours(case, crypto), theirs(case));
        for door in [&ours, &theirs] {
            assert_eq!(call(door, case, ""), StatusCode::OK, "{}", case.algorithm);
            assert_eq!(call(door, case, "AAAA"), StatusCode::UNAUTHORIZED, "{}", case.algorithm);
        }
        let mut calls: Vec<Call<'_>> = Vec::new();
        for door in [&bare, &ours, &theirs] {
            calls.push(Box::new(|| _ = black_box(call(door, case, ""))));
        }
        let timings = rounds.time(&mut calls);
        let (ours, theirs) = (timings.over(1, 0), timings.over(2, 0));
        println!("{:30}{ours:8.0} | {theirs:8.0} | {:.2}", case.algorithm, ours / theirs);
    }
}

fn call(door: &Door, case: &Case, more: &str) -> StatusCode {
    let request = Request::builder().header("authorization", format!("Bearer {}{more}", case.token)).body(());
    let answer = door.clone().oneshot(request.expect("a request"));
    // Nothing waits: the keys are there.
    match pin!(answer).poll(&mut task::Context::from_waker(task::Waker::noop())) {
        task::Poll::Ready(Ok(response)) => response.status(),
        task::Poll::Pending => unreachable!("it has all that it needs"),
    }
}

fn bare() -> Door {
    BoxCloneService::new(service_fn(async |_: Request<()>| Ok(Response::new(String::new()))))
}

fn ours(case: &Case, crypto: Crypto) -> Door {
    let keys = KeySet::from_json_with(&case.keys, Algorithm::RS256, crypto).expect("a key set");
    BoxCloneService::new(BearerAuthLayer::new(JwtVerifier::new(keys, ISSUER, AUDIENCE)).layer(bare_inner()))
}

fn theirs(case: &Case) -> Door {
    let claims = ClaimsValidationSpec::new().iss(ISSUER).aud(&vec![AUDIENCE.to_owned()]).exp(true);
    let tenant = TenantConfiguration::static_builder(&case.keys).claims_validation(claims).build().expect("a tenant");
    let server = futures_util::FutureExt::now_or_never(
        OAuth2ResourceServer::<DefaultClaims>::builder().add_tenant(tenant).build(),
    );
    let server = server.expect("nothing is asked for").expect("a server");
    BoxCloneService::new(server.into_layer().layer(bare_inner()))
}

fn bare_inner() -> impl tower::Service<
    Request<()>,
    Response = Response<String>,
    Error = Infallible,
    Future = std::future::Ready<Result<Response<String>, Infallible>>,
> + Clone {
    service_fn(|_: Request<()>| std::future::ready(Ok(Response::new(String::new()))))
}

/// What theirs allows beside the others is what both know.
fn cases() -> [Case; 3] {
    let ed = Ed25519KeyPair::generate().expect("a key");
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let (random, encode) = (SystemRandom::new(), |bytes: &[u8]| BASE64URL.encode(bytes));

    let x = encode(ed.public_key().as_ref());
    let point = ec.public_key().as_ref();
    let parts = RsaPublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
    [
        case("EdDSA", json!({ "kty": "OKP", "crv": "Ed25519", "x": x }), |message| ed.sign(message).as_ref().to_vec()),
        case(
            "ES256",
            json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) }),
            |message| ec.sign(&random, message).expect("a signature").as_ref().to_vec(),
        ),
        case("RS256", json!({ "kty": "RSA", "n": encode(&parts.n), "e": encode(&parts.e) }), |message| {
            let mut signature = vec![0; rsa.public_modulus_len()];
            rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
            signature
        }),
    ]
}

fn case(algorithm: &'static str, mut jwk: Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> Case {
    (jwk["kid"], jwk["alg"], jwk["use"]) = ("key".into(), algorithm.into(), "sig".into());
    let header = json!({ "alg": algorithm, "kid": "key", "typ": "at+jwt" });
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": 4_000_000_000_u64, "iat": 1_700_000_000, "jti": "7",
        "client_id": "app", "scope": "files:read files:write",
    });
    let message = [header, claims].map(|part| BASE64URL.encode(part.to_string())).join(".");
    let signature = BASE64URL.encode(sign(message.as_bytes()));
    Case { algorithm, token: format!("{message}.{signature}"), keys: json!({ "keys": [jwk] }).to_string() }
}
