//! The secrets that open the gateway: one that callers share, and tokens of their own.

use tower_reauth::{
    AuthMethod, Identity, Tokens, VerifyToken,
    verify::{BearerToken, TokenDigest, Verification},
};

use crate::config::Secret;

/// The shared secret, if there is one, and the tokens of single clients.
#[derive(Debug)]
pub struct Secrets {
    shared: Option<Shared>,
    clients: Tokens,
}

#[derive(Debug)]
struct Shared {
    digest: TokenDigest,
    identity: Identity,
}

impl Secrets {
    pub fn new(shared: Option<&Secret>, clients: Tokens) -> Self {
        let shared = shared.map(|secret| Shared {
            digest: secret.digest(),
            identity: Identity::new("shared-secret", AuthMethod::SharedSecret),
        });
        Self { shared, clients }
    }
}

impl VerifyToken for Secrets {
    fn verify(&self, token: &BearerToken) -> Verification {
        match &self.shared {
            Some(shared) if shared.digest == token.digest() => Ok(shared.identity.clone()).into(),
            _ => self.clients.verify(token),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tower_reauth::verify::{Token, VerifyError};

    use super::*;

    async fn ask(secrets: &Secrets, token: &[u8]) -> Result<Identity, VerifyError> {
        let header = HeaderValue::from_bytes(token).unwrap();
        secrets.verify(&BearerToken::from_header(&header, 0..token.len()).unwrap()).await
    }

    fn shared(text: &str) -> Secrets {
        Secrets::new(Some(&Secret::new(text).unwrap()), Tokens::default())
    }

    #[tokio::test]
    async fn the_shared_secret_names_nobody_and_has_no_scopes_of_its_own() {
        let identity = ask(&shared("s3cret"), b"s3cret").await.unwrap();
        assert_eq!((identity.subject(), identity.method()), ("shared-secret", AuthMethod::SharedSecret));
        assert_eq!(identity.scopes(), None);
        for wrong in [b"s3cre".as_slice(), b"s3cret1", b"S3CRET"] {
            assert_eq!(ask(&shared("s3cret"), wrong).await.unwrap_err(), VerifyError::Rejected);
        }
    }

    #[tokio::test]
    async fn a_secret_is_presented_in_latin_1() {
        let password = shared("pass wörd-1");
        assert!(ask(&password, b"pass w\xf6rd-1").await.is_ok());
        assert!(ask(&password, "pass wörd-1".as_bytes()).await.is_err());
    }

    #[tokio::test]
    async fn a_token_of_a_client_is_good_beside_the_shared_secret_and_without_one() {
        for secret in [Secret::new("s3cret").ok(), None] {
            let clients = Tokens::new([Token::new("ci", "t0ken").with_subject("build server")]).unwrap();
            let secrets = Secrets::new(secret.as_ref(), clients);
            let identity = ask(&secrets, b"t0ken").await.unwrap();
            assert_eq!((identity.subject(), identity.credential_id()), ("build server", Some("ci")));
            assert_eq!(ask(&secrets, b"s3cret").await.is_ok(), secret.is_some());
        }
    }
}
