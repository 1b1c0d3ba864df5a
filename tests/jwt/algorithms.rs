//! Each algorithm, with the cryptography of each backend. Both are compiled in here, as they are wherever two
//! crates of a program ask for one each.

use tower_reauth::verify::jwt::{Algorithm, Crypto, KeySet};

use crate::{signer::Signer, verdict, verifier, word};

const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
const BACKENDS: [Crypto; 2] = [Crypto::RustCrypto, Crypto::AwsLcRs];

fn set_with(crypto: Crypto, signers: &[Signer]) -> KeySet {
    let keys: Vec<_> = signers.iter().map(Signer::jwk).collect();
    KeySet::from_json_with(serde_json::json!({ "keys": keys }).to_string(), Algorithm::RS256, crypto).expect("keys")
}

#[tokio::test]
async fn a_token_of_each_algorithm_is_good_and_one_that_was_changed_is_not() {
    for crypto in BACKENDS {
        let signers = ALGORITHMS.map(|algorithm| Signer::new(algorithm, algorithm));
        let verifier = verifier(set_with(crypto, &signers));
        for signer in &signers {
            let token = signer.token(&Signer::claims());
            assert_eq!(word(&verifier, &token).await, "good", "{} {crypto:?}", signer.algorithm);
            let mut claims = Signer::claims();
            claims["sub"] = "mallory".into();
            let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { unreachable!() };
            let forged = format!("{header}.{}.{signature}", crate::signer::base64url(claims.to_string()));
            assert_eq!(word(&verifier, &forged).await, "bad_signature", "{} {crypto:?}", signer.algorithm);
        }
    }
}

#[tokio::test]
async fn a_token_is_signed_by_the_algorithm_of_its_key_and_by_no_other_of_the_same_type() {
    for crypto in BACKENDS {
        for own in ALGORITHMS {
            let signer = Signer::new("key", own);
            let verifier = verifier(set_with(crypto, std::slice::from_ref(&signer)));
            for named in ALGORITHMS.into_iter().filter(|named| *named != own) {
                let mut header = signer.header();
                header["alg"] = named.into();
                let token = signer.sign(&header, &Signer::claims());
                assert_eq!(word(&verifier, &token).await, "wrong_algorithm", "{named} for {own}");
            }
        }
    }
}

#[tokio::test]
async fn the_newer_name_of_an_algorithm_is_the_same_algorithm() {
    let signer = Signer::new("key", "EdDSA");
    let mut header = signer.header();
    header["alg"] = "Ed25519".into();
    let mut jwk = signer.jwk();
    for key_names_it in [false, true] {
        if key_names_it {
            jwk["alg"] = "Ed25519".into();
        }
        let verifier = verifier(crate::key_set(&[jwk.clone()]));
        for token in [signer.sign(&header, &Signer::claims()), signer.token(&Signer::claims())] {
            assert_eq!(verdict(&verifier, &token).await.expect("it is good").subject(), "alice");
        }
    }
}

#[test]
fn the_backend_that_was_switched_on_is_the_one_that_is_used() {
    assert_eq!(Crypto::compiled_in(), Some(Crypto::AwsLcRs));
}
