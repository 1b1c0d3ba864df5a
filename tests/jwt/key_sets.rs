//! A key set is read key by key: one that cannot be used keeps no other from being used.

use serde_json::{Value, json};
use tower_reauth::verify::jwt::{InvalidKeySet, KeySet, UnusableKey};

use crate::{key_set, signer::Signer, verifier, word};

fn changed(mut jwk: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        jwk[name] = value.clone();
    }
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().expect("an object").remove(name);
    jwk
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_skipped_with_its_place_and_its_reason() {
    use UnusableKey::{Invalid, Missing, NotAnObject, OtherUse, Size, UnknownAlgorithm, UnknownType};

    let [ed, ec, rsa] = ["EdDSA", "ES256", "RS256"].map(|algorithm| Signer::new(algorithm, algorithm).jwk());
    let good = Signer::new("good", "EdDSA");
    let small = json!({ "kty": "RSA", "n": crate::signer::base64url([0xff; 128]), "e": "AQAB" });
    let large = json!({ "kty": "RSA", "n": crate::signer::base64url([0xff; 513]), "e": "AQAB" });
    let skipped = [
        (json!("key"), NotAnObject),
        (json!(null), NotAnObject),
        (json!({}), Missing("kty")),
        (json!({ "kty": 7 }), Invalid("kty")),
        (json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }), UnknownAlgorithm),
        (json!({ "kty": "oct", "k": "c2VjcmV0" }), UnknownType),
        (json!({ "kty": "AKP", "pub": "aaaa" }), UnknownType),
        (changed(ec.clone(), json!({ "crv": "P-521", "alg": "ES512" })), UnknownAlgorithm),
        (without(changed(ec.clone(), json!({ "crv": "secp256k1" })), "alg"), UnknownType),
        (without(changed(ed.clone(), json!({ "crv": "X25519" })), "alg"), UnknownType),
        (changed(rsa.clone(), json!({ "use": "enc" })), OtherUse),
        (changed(rsa.clone(), json!({ "use": "enc", "alg": "RSA-OAEP" })), OtherUse),
        (changed(rsa.clone(), json!({ "alg": "RSA-OAEP" })), UnknownAlgorithm),
        (changed(rsa.clone(), json!({ "alg": "ES256" })), UnknownAlgorithm),
        (changed(rsa.clone(), json!({ "alg": "HS256" })), UnknownAlgorithm),
        (changed(ec.clone(), json!({ "alg": "ES384" })), UnknownAlgorithm),
        (changed(ed.clone(), json!({ "alg": "RS256" })), UnknownAlgorithm),
        (changed(ed.clone(), json!({ "alg": 7 })), Invalid("alg")),
        (changed(ed.clone(), json!({ "kid": 7 })), Invalid("kid")),
        (changed(ed.clone(), json!({ "key_ops": ["sign"] })), OtherUse),
        (changed(ed.clone(), json!({ "key_ops": "verify" })), Invalid("key_ops")),
        (without(rsa.clone(), "n"), Missing("n")),
        (without(rsa.clone(), "e"), Missing("e")),
        (changed(rsa.clone(), json!({ "n": "" })), Invalid("n")),
        (changed(rsa.clone(), json!({ "n": "a+/=" })), Invalid("n")),
        (changed(rsa.clone(), json!({ "e": "AQ" })), Invalid("e")),
        (changed(rsa.clone(), json!({ "e": "AA" })), Invalid("e")),
        (changed(rsa.clone(), json!({ "e": "AQAA" })), Invalid("e")),
        (changed(rsa.clone(), json!({ "e": "AQAAAAE" })), Invalid("e")),
        (small, Size),
        (large, Size),
        (without(ec.clone(), "crv"), Missing("crv")),
        (without(ec.clone(), "y"), Missing("y")),
        (changed(ec.clone(), json!({ "x": "AAAA" })), Invalid("x")),
        (changed(ed.clone(), json!({ "x": "AAAA" })), Invalid("x")),
        (changed(ed.clone(), json!({ "x": "" })), Invalid("x")),
        (without(ed.clone(), "x"), Missing("x")),
    ];
    let mut keys: Vec<Value> = skipped.iter().map(|(jwk, _)| jwk.clone()).collect();
    keys.push(good.jwk());
    let set = key_set(&keys);
    assert_eq!(set.len(), 1);
    for ((jwk, reason), found) in skipped.iter().zip(set.skipped()) {
        assert_eq!(&found.reason, reason, "{jwk}");
    }
    assert_eq!(set.skipped().len(), skipped.len());
    let first = &set.skipped()[10];
    assert_eq!(first.to_string(), r#"keys[10] ("RS256"): it is not for checking signatures"#);
    assert_eq!(word(&verifier(set), &good.token(&Signer::claims())).await, "good");
}

#[tokio::test]
async fn a_key_need_not_say_more_than_it_must() {
    for algorithm in ["EdDSA", "ES256", "ES384", "RS256"] {
        let signer = Signer::new("key", algorithm);
        let bare = ["alg", "use"].into_iter().fold(signer.jwk(), without);
        let more =
            changed(bare.clone(), json!({ "key_ops": ["verify"], "x5c": ["MIIB"], "x5t": "aaaa", "issuer": "x" }));
        for jwk in [bare, more] {
            assert_eq!(word(&verifier(key_set(&[jwk])), &signer.token(&Signer::claims())).await, "good", "{algorithm}");
        }
    }
    // Microsoft's keys name no algorithm. What they are for is fixed all the same.
    let pss = Signer::new("key", "PS256");
    let set = key_set(&[without(pss.jwk(), "alg")]);
    assert_eq!(word(&verifier(set), &pss.token(&Signer::claims())).await, "wrong_algorithm");
}

#[tokio::test]
async fn two_types_of_key_may_have_one_id() {
    let signers = ["EdDSA", "ES256", "RS256"].map(|algorithm| Signer::new("key", algorithm));
    let set = key_set(&signers.each_ref().map(Signer::jwk));
    let verifier = verifier(set);
    for signer in &signers {
        assert_eq!(word(&verifier, &signer.token(&Signer::claims())).await, "good", "{}", signer.algorithm);
    }
}

#[test]
fn what_is_no_key_set_says_why() {
    let jwk = Signer::new("key", "EdDSA").jwk();
    for (text, why) in [
        ("", "the key set is not read: EOF while parsing a value at line 1 column 0"),
        ("[]", "the key set is not read: invalid type: sequence, expected a map at line 1 column 0"),
        ("{", "the key set is not read: EOF while parsing an object at line 1 column 1"),
        ("{\"keys\":[],\"keys\":[]}", "the key set is not read: `keys` occurs twice at line 1 column 21"),
        ("{}", "the key set has no array `keys`"),
        (&jwk.to_string(), "the key set has no array `keys`"),
        ("{\"keys\":{}}", "the key set has no array `keys`"),
        ("{\"keys\":[]}", "the key set is empty"),
        ("{\"keys\":[7, {\"kid\":\"a\"}]}", "no key of the set can be used; keys[0]: it is no JSON object"),
    ] {
        let error = KeySet::from_json(text).expect_err("it is none");
        assert_eq!(error.to_string(), why, "{text}");
        assert_eq!(std::error::Error::source(&error).is_some(), matches!(error, InvalidKeySet::Json(_)));
    }
}
