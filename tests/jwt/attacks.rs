//! What is known to have been tried with signed tokens: none of it opens a door.

use proptest::prelude::*;
use serde_json::{Value, json};
use tower_reauth::verify::{BearerToken, jwt::JwtVerifier};

use crate::{
    key_set,
    signer::{Signer, base64url},
    verifier, word,
};

/// Two keys of one issuer.
fn house() -> (Signer, Signer, JwtVerifier) {
    let (ed, rsa) = (Signer::new("ed", "EdDSA"), Signer::new("rsa", "RS256"));
    let verifier = verifier(key_set(&[ed.jwk(), rsa.jwk()]));
    (ed, rsa, verifier)
}

fn hmac(secret: &[u8], message: &str) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    base64url(aws_lc_rs::hmac::sign(&key, message.as_bytes()))
}

#[tokio::test]
async fn the_token_does_not_say_how_it_is_checked() {
    let (ed, rsa, verifier) = house();
    let claims = base64url(Signer::claims().to_string());
    let mallory = Signer::new("ed", "EdDSA");

    // Nobody's signature, in each spelling.
    for none in ["none", "None", "NONE", "nOnE", "", " none"] {
        for kid in [json!("ed"), Value::Null] {
            let mut header = json!({ "alg": none, "kid": kid });
            header.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
            let header = base64url(header.to_string());
            assert_eq!(word(&verifier, &format!("{header}.{claims}.")).await, "wrong_algorithm", "{none}");
            let signed = ed.sign_texts(&json!({ "alg": none, "kid": "ed" }).to_string(), &Signer::claims().to_string());
            assert_eq!(word(&verifier, &signed).await, "wrong_algorithm", "{none}");
        }
    }

    // A secret that is known to everybody: a public key, in each form that it is published in.
    for (kid, jwk) in [("ed", ed.jwk()), ("rsa", rsa.jwk())] {
        let member = |name: &str| jwk[name].as_str().map(str::to_owned);
        let forms = [Some(jwk.to_string()), member("x"), member("n"), Some(String::new())];
        for secret in forms.into_iter().flatten() {
            let message = format!("{}.{claims}", base64url(json!({ "alg": "HS256", "kid": kid }).to_string()));
            let token = format!("{message}.{}", hmac(secret.as_bytes(), &message));
            assert_eq!(word(&verifier, &token).await, "wrong_algorithm");
        }
    }

    // Keys that the token brings along, or says where to find: somebody's own.
    for (name, value) in [
        ("jwk", mallory.jwk()),
        ("jku", json!("https://mallory.example/keys")),
        ("x5u", json!("https://mallory.example/certificate")),
        ("x5c", json!(["MIIB"])),
        ("x5t#S256", json!("aaaa")),
    ] {
        let mut header = mallory.header();
        header[name] = value;
        assert_eq!(word(&verifier, &mallory.sign(&header, &Signer::claims())).await, "bad_signature", "{name}");
        // Whoever has the right key may say what they like beside it.
        assert_eq!(word(&verifier, &ed.sign(&header, &Signer::claims())).await, "good", "{name}");
    }

    // An id is a name and nothing else.
    for kid in ["../../dev/null", "ed' OR '1'='1", "ed\0", "ED", "ed ", "", "| cat", "https://mallory.example/keys"] {
        let token = mallory.sign(&json!({ "alg": "EdDSA", "kid": kid }), &Signer::claims());
        assert_eq!(word(&verifier, &token).await, "unknown_key", "{kid:?}");
    }
    assert_eq!(word(&verifier, &mallory.token(&Signer::claims())).await, "bad_signature");

    // What must be understood, and is not.
    for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!("b64"), Value::Null] {
        let mut header = ed.header();
        (header["crit"], header["b64"]) = (crit, false.into());
        assert_eq!(word(&verifier, &ed.sign(&header, &Signer::claims())).await, "critical_extension");
    }
}

#[tokio::test]
async fn what_is_no_token_is_malformed() {
    let (ed, _, verifier) = house();
    let good = ed.token(&Signer::claims());
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { unreachable!() };
    let with_header = |text: &str| ed.sign_texts(text, &Signer::claims().to_string());
    let with_claims = |text: &str| ed.sign_texts(&ed.header().to_string(), text);
    let deep = format!("{}1{}", "[".repeat(2000), "]".repeat(2000));
    for (token, what) in [
        (String::from("."), "nothing"),
        (String::from(".."), "nothing"),
        (String::from("opaque"), "another kind of token"),
        (format!("{header}.{claims}"), "two parts"),
        (format!("{good}."), "four parts"),
        (format!("{header}.{claims}.{signature}.{claims}.{signature}"), "an encrypted token's five"),
        (format!(".{claims}.{signature}"), "no header"),
        (format!("{header}=.{claims}.{signature}"), "padding"),
        (format!("{header}.{claims}.{signature}="), "padding"),
        (format!("{header}.{claims}.{}+/", &signature[..84]), "the other alphabet"),
        (with_header("[]"), "no object"),
        (with_header("null"), "no object"),
        (with_header("{"), "half an object"),
        (with_header("{}"), "no algorithm"),
        (with_header(r#"{"alg":7}"#), "a number"),
        (with_header(r#"{"alg":["EdDSA"],"kid":"ed"}"#), "several algorithms"),
        (with_header(r#"{"alg":"EdDSA","kid":7}"#), "a number"),
        (with_header(r#"{"alg":"EdDSA","kid":"ed","typ":["JWT"]}"#), "an array"),
        (with_header(r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#), "two algorithms"),
        (with_header(r#"{"alg":"EdDSA","kid":"ed","\u006bid":"ed"}"#), "two ids"),
        (with_header(r#"{"alg":"EdDSA","kid":"ed"} {}"#), "two headers"),
        (with_header(&format!(r#"{{"alg":"EdDSA","kid":"ed","x":{deep}}}"#)), "a deep header"),
        (with_claims("[]"), "no object"),
        (with_claims("\"text\""), "no object"),
        (with_claims(""), "nothing"),
        (with_claims("{\"sub\":\"\u{fffd}\""), "half an object"),
        (with_claims(r#"{"exp":1e999}"#), "a number without bounds"),
        (with_claims(r#"{"exp":NaN}"#), "no number"),
        (with_claims(&format!(r#"{{"x":{deep}}}"#)), "deep claims"),
    ] {
        assert_eq!(word(&verifier, &token).await, "malformed", "{what}: {token}");
    }
    assert_eq!(word(&verifier, &format!("{header}.{claims}.")).await, "bad_signature", "no signature");

    // One content, one text: the bits that the last letter has too many are zero.
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = good.split_at(good.len() - 1);
    let others = letters.iter().filter(|letter| !last.as_bytes().contains(letter));
    for other in others {
        let token = format!("{rest}{}", char::from(*other));
        assert!(matches!(word(&verifier, &token).await, "malformed" | "bad_signature"), "{token}");
    }
}

#[tokio::test]
async fn a_name_that_occurs_twice_is_no_claim() {
    let (ed, _, verifier) = house();
    let claims = Signer::claims().to_string();
    let body = claims.strip_prefix('{').expect("an object");
    for (twice, is_good) in [
        (format!(r#"{{"sub":"mallory",{body}"#), false),
        (format!(r#"{{"\u0073ub":"mallory",{body}"#), false),
        (format!(r#"{{"exp":1,{body}"#), false),
        (format!(r#"{{"other":{{"a":1,"a":1}},{body}"#), false),
        (format!(r#"{{"other":[{{"a":1}},{{"b":[{{"a":1,"a":2}}]}}],{body}"#), false),
        (format!(r#"{{"other":[{{"a":1}},{{"a":1}}],{body}"#), true),
        (format!(r#"{{"Sub":"mallory",{body}"#), true),
    ] {
        let token = ed.sign_texts(&ed.header().to_string(), &twice);
        assert_eq!(word(&verifier, &token).await, if is_good { "good" } else { "malformed" }, "{twice}");
    }
    for many in [10, 15, 16, 17, 18, 40, 300] {
        let names: String = (0..many).map(|n| format!(r#""n{n}":1,"#)).collect();
        for twice in [0, many / 2, many - 1, many] {
            let token = ed.sign_texts(&ed.header().to_string(), &format!(r#"{{{names}"n{twice}":2,{body}"#));
            let expected = if twice == many { "good" } else { "malformed" };
            assert_eq!(word(&verifier, &token).await, expected, "{twice} of {many}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_not_good_by_itself() {
    let (ed, _, verifier) = house();
    for cnf in [json!({ "jkt": "aaaa" }), json!({ "x5t#S256": "aaaa" }), json!({}), Value::Null] {
        let mut claims = Signer::claims();
        claims["cnf"] = cnf;
        assert_eq!(word(&verifier, &ed.token(&claims)).await, "bound_to_key");
    }
}

#[tokio::test]
async fn a_signature_is_checked_before_anything_is_said_of_the_claims() {
    let (_, _, verifier) = house();
    let mallory = Signer::new("ed", "EdDSA");
    let token = mallory.token(&json!({ "iss": "https://mallory.example" }));
    assert_eq!(word(&verifier, &token).await, "bad_signature");
}

#[tokio::test]
async fn a_token_without_an_id_is_checked_with_the_one_key_that_fits() {
    let (ed, rsa, verifier) = house();
    let nameless = |signer: &Signer| signer.sign(&json!({ "alg": signer.algorithm }), &Signer::claims());
    assert_eq!(word(&verifier, &nameless(&ed)).await, "good");
    assert_eq!(word(&verifier, &nameless(&rsa)).await, "good");
    assert_eq!(word(&verifier, &nameless(&Signer::new("", "EdDSA"))).await, "bad_signature");
    assert_eq!(word(&verifier, &nameless(&Signer::new("", "ES256"))).await, "unknown_key");
    let two = crate::verifier(key_set(&[ed.jwk(), Signer::new("other", "EdDSA").jwk()]));
    assert_eq!(word(&two, &nameless(&ed)).await, "unknown_key", "nobody says which of the two");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_change_to_a_token_is_let_in(at in any::<prop::sample::Index>(), byte in 0x21_u8..0x7f, cut in any::<bool>()) {
        static HOUSE: std::sync::LazyLock<(String, JwtVerifier)> = std::sync::LazyLock::new(|| {
            let (ed, _, verifier) = house();
            (ed.token(&Signer::claims()), verifier)
        });
        let (good, verifier) = &*HOUSE;
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        if cut { drop(bytes.drain(at..=at)) } else { bytes[at] = byte }
        let changed = String::from_utf8(bytes).expect("ASCII");
        prop_assume!(changed != *good);
        let word = tokio_test::block_on(word(verifier, &changed));
        prop_assert_ne!(word, "good");
    }

    #[test]
    fn what_is_signed_is_read_and_never_panics(header in "\\PC{0,40}", claims in "\\PC{0,60}", raw in ".{1,80}") {
        let (ed, _, verifier) = house();
        let signed = ed.sign_texts(&header, &claims);
        prop_assert_ne!(tokio_test::block_on(word(&verifier, &signed)), "good");
        let raw: String = raw.chars().filter(|c| matches!(c, '\x21'..='\x7e')).collect();
        if !raw.is_empty() {
            prop_assert_ne!(tokio_test::block_on(word(&verifier, &raw)), "good");
        }
    }
}

#[tokio::test]
async fn a_token_is_only_so_long() {
    let (ed, _, verifier) = house();
    let sized = |length: usize| {
        let mut claims = Signer::claims();
        claims["padding"] = "x".repeat(length).into();
        ed.token(&claims)
    };
    let longest = (11_000..13_000).rev().map(sized).find(|token| token.len() <= BearerToken::MAX_LEN);
    assert_eq!(word(&verifier, &longest.expect("one fits")).await, "good");
    let header = http::HeaderValue::from_str(&sized(13_000)).expect("a header can hold it");
    assert!(BearerToken::from_header(&header, 0..header.len()).is_none(), "no verifier sees a longer one");
}
