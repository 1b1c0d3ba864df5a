//! An issuer's key, which signs whatever it is told to.

use std::sync::LazyLock;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RsaKeyPair, RsaPublicKeyComponents,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{AUDIENCE, ISSUER};

pub struct Signer {
    pub id: &'static str,
    pub algorithm: &'static str,
    key: Pair,
}

enum Pair {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(&'static RsaKeyPair),
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub fn new(id: &'static str, algorithm: &'static str) -> Self {
        // It takes a while to make one.
        static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));
        let key = match algorithm {
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().expect("a key")),
            "ES256" => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")),
            "ES384" => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key")),
            _ => Pair::Rsa(&RSA),
        };
        Self { id, algorithm, key }
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Pair::Ed(key) => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key()) }),
            Pair::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
                let curve = if self.algorithm == "ES256" { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y) })
            }
            Pair::Rsa(key) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({ "kty": "RSA", "n": base64url(parts.n), "e": base64url(parts.e) })
            }
        };
        jwk["kid"] = self.id.into();
        jwk["alg"] = self.algorithm.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// Claims that nobody objects to.
    pub fn claims() -> Value {
        json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": 4_000_000_000_u64, "scope": "read write" })
    }

    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm, "kid": self.id })
    }

    pub fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }

    pub fn sign_texts(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64url(header), base64url(claims));
        let signature = base64url(self.signature(message.as_bytes()));
        format!("{message}.{signature}")
    }

    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Pair::Ed(key) => key.sign(message).as_ref().to_vec(),
            Pair::Ec(key) => key.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Pair::Rsa(key) => {
                let padding: &dyn signature::RsaEncoding = match self.algorithm {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    other => panic!("{other} is nobody's algorithm"),
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, message, &mut signature).expect("a signature");
                signature
            }
        }
    }
}
