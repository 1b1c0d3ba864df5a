//! The examples of RFC 7515, RFC 7519 and RFC 8037.

use serde_json::{Value, json};
use tower_reauth::verify::jwt::{Algorithm, Crypto, JwtVerifier, KeySet};

use crate::{verdict, word};

/// The claims of RFC 7515, appendix A: `{"iss":"joe", "exp":1300819380, "http://example.com/is_root":true}`.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn rsa() -> Value {
    json!({
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd\
              2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WT\
              BEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91k\
              zk2PAcDTW9gb54h4FRWyuXpoQ",
        "e": "AQAB",
    })
}

fn p256() -> Value {
    json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn ed25519() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
}

/// A verifier for joe, who is an issuer and his own subject.
fn verifier(crypto: Crypto) -> JwtVerifier {
    let keys = json!({ "keys": [rsa(), p256(), ed25519()] }).to_string();
    let keys = KeySet::from_json_with(keys, Algorithm::RS256, crypto).expect("three keys");
    JwtVerifier::new(keys, "joe", "").with_any_audience().with_subject_claim("iss")
}

/// RFC 7515, appendices A.2.1 and A.3.1.
const SIGNED: [(&str, &str); 2] = [
    (
        r#"{"alg":"RS256"}"#,
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t\
         1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jz\
         DwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe\
         77Rw",
    ),
    (r#"{"alg":"ES256"}"#, "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"),
];

#[tokio::test]
async fn joes_tokens_are_his() {
    for crypto in [Crypto::RustCrypto, Crypto::AwsLcRs] {
        for (header, signature) in SIGNED {
            let token = format!("{}.{JOE}.{signature}", crate::signer::base64url(header));
            let joe = verdict(&verifier(crypto), &token).await.expect("it is signed");
            assert_eq!((joe.issuer(), joe.subject()), (Some("joe"), "joe"));
            let expires_at = joe.expires_at().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            assert_eq!(expires_at.map(|at| at.as_secs()), Some(1_300_819_380));
        }
    }
}

#[tokio::test]
async fn what_is_signed_by_ed25519_need_not_be_a_token() {
    // RFC 8037, appendix A.4. Its payload is a text, which is found out once the signature is good.
    let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWb\
                  hijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let forged = signed.replace(".hgyY", ".hgyZ");
    for crypto in [Crypto::RustCrypto, Crypto::AwsLcRs] {
        assert_eq!(word(&verifier(crypto), signed).await, "malformed");
        assert_eq!(word(&verifier(crypto), &forged).await, "bad_signature");
    }
}

#[tokio::test]
async fn tokens_that_are_signed_with_a_secret_or_by_nobody_are_not_tokens_here() {
    // RFC 7519, sections 3.1 and 6.1, and the header of RFC 7515, appendix A.4.
    for (header, signature) in [
        ("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        ("eyJhbGciOiJub25lIn0", ""),
        ("eyJhbGciOiJFUzUxMiJ9", "ADc"),
    ] {
        let token = format!("{header}.{JOE}.{signature}");
        assert_eq!(word(&verifier(Crypto::RustCrypto), &token).await, "wrong_algorithm", "{token}");
    }
}
