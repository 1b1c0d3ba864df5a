//! One public key, and the one algorithm that it is for.

use std::{error::Error, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use super::{Algorithm, Crypto};
use crate::claims::Claims;

/// A public key. Its algorithm is fixed when it is read: a token can name it, and not choose it.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    /// Equal for equal keys of equal algorithms.
    #[cfg(feature = "jwks")]
    pub(super) digest: [u8; 32],
    key: DecodingKey,
    crypto: Crypto,
}

/// Why a key of a set is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnusableKey {
    /// It is no JSON object.
    NotAnObject,
    /// A member that it must have is missing.
    Missing(&'static str),
    /// A member is not what that member must be.
    Invalid(&'static str),
    /// Its `kty` or `crv` is not one of those that are known here: RSA, EC with P-256 or P-384, OKP with
    /// Ed25519.
    UnknownType,
    /// Its `alg` is not one of [`Algorithm`], or not one for its type.
    UnknownAlgorithm,
    /// By its `use` or `key_ops` it is not for checking signatures.
    OtherUse,
    /// An RSA key of less than 2048 bits (RFC 7518 section 3.3), or of more than 4096.
    Size,
}

impl UnusableKey {
    /// Whether it is no key at all, rather than one for something else.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::NotAnObject | Self::Missing(_) | Self::Invalid(_))
    }
}

/// In bytes.
const RSA_SIZES: std::ops::RangeInclusive<usize> = 256..=512;

impl Key {
    /// Reads a JWK (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2). `rsa` is the algorithm of an
    /// RSA key that names none.
    pub(super) fn from_jwk(jwk: &Value, rsa: Algorithm, crypto: Crypto) -> Result<Self, UnusableKey> {
        let jwk = Jwk(jwk.as_object().ok_or(UnusableKey::NotAnObject)?);
        let kind = jwk.text("kty")?.ok_or(UnusableKey::Missing("kty"))?;
        jwk.is_for_signatures()?;
        let named = jwk.text("alg")?.map(Algorithm::from_name);
        let named = named.map(|named| named.ok_or(UnusableKey::UnknownAlgorithm)).transpose()?;
        let (algorithm, parts) = match kind {
            "RSA" => (named.unwrap_or(rsa), jwk.rsa()?),
            "EC" => match jwk.text("crv")?.ok_or(UnusableKey::Missing("crv"))? {
                "P-256" => (Algorithm::ES256, jwk.point(32)?),
                "P-384" => (Algorithm::ES384, jwk.point(48)?),
                _ => return Err(UnusableKey::UnknownType),
            },
            "OKP" => match jwk.text("crv")?.ok_or(UnusableKey::Missing("crv"))? {
                "Ed25519" => (Algorithm::EdDSA, Parts::Point(jwk.exactly("x", 32)?)),
                _ => return Err(UnusableKey::UnknownType),
            },
            _ => return Err(UnusableKey::UnknownType),
        };
        let is_for_its_type = match kind {
            "RSA" => algorithm.is_rsa(),
            _ => named.is_none_or(|named| named == algorithm),
        };
        if !is_for_its_type {
            return Err(UnusableKey::UnknownAlgorithm);
        }
        let id = jwk.text("kid")?.map(Box::from);
        let key = match &parts {
            Parts::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Parts::Point(point) if algorithm == Algorithm::EdDSA => DecodingKey::from_ed_der(point),
            Parts::Point(point) => DecodingKey::from_ec_der(point),
        };
        // A point that is not on its curve is found out here, by a backend that looks.
        (crypto.backend().verifier_factory)(&algorithm.of_backend(), &key).map_err(|_| UnusableKey::Invalid("x"))?;
        Ok(Self {
            id,
            algorithm,
            #[cfg(feature = "jwks")]
            digest: parts.digest(algorithm),
            key,
            crypto,
        })
    }

    /// Whether `signature` is this key's, of `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        let verifier = (self.crypto.backend().verifier_factory)(&self.algorithm.of_backend(), &self.key);
        verifier.is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }
}

/// The members of a JWK.
struct Jwk<'a>(&'a Claims);

enum Parts {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Point(Vec<u8>),
}

impl<'a> Jwk<'a> {
    fn text(&self, name: &'static str) -> Result<Option<&'a str>, UnusableKey> {
        self.0.get(name).map(|value| value.as_str().ok_or(UnusableKey::Invalid(name))).transpose()
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, UnusableKey> {
        let text = self.text(name)?.ok_or(UnusableKey::Missing(name))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| UnusableKey::Invalid(name))
    }

    fn exactly(&self, name: &'static str, length: usize) -> Result<Vec<u8>, UnusableKey> {
        self.bytes(name)
            .and_then(|bytes| if bytes.len() == length { Ok(bytes) } else { Err(UnusableKey::Invalid(name)) })
    }

    fn is_for_signatures(&self) -> Result<(), UnusableKey> {
        let operations = match self.0.get("key_ops") {
            None => None,
            Some(operations) => Some(operations.as_array().ok_or(UnusableKey::Invalid("key_ops"))?),
        };
        let is_to_verify = operations.is_none_or(|all| all.iter().any(|one| one == "verify"));
        if is_to_verify && self.text("use")?.is_none_or(|purpose| purpose == "sig") {
            Ok(())
        } else {
            Err(UnusableKey::OtherUse)
        }
    }

    /// `n` and `e`, without zeros in front (RFC 7518 section 2, `Base64urlUInt`), which some senders leave in.
    fn rsa(&self) -> Result<Parts, UnusableKey> {
        let number = |name| {
            self.bytes(name).map(|bytes| bytes.iter().copied().skip_while(|&byte| byte == 0).collect::<Vec<_>>())
        };
        let (n, e) = (number("n")?, number("e")?);
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !is_odd(&n) {
            return Err(UnusableKey::Invalid("n"));
        }
        // At least 3, and less than 2³², which both backends can compute with.
        if !is_odd(&e) || e.len() > 4 || e == [1] {
            return Err(UnusableKey::Invalid("e"));
        }
        if RSA_SIZES.contains(&n.len()) && (n.len() > *RSA_SIZES.start() || n[0] >= 0x80) {
            Ok(Parts::Rsa { n, e })
        } else {
            Err(UnusableKey::Size)
        }
    }

    /// `x` and `y` as an uncompressed point (SEC 1 section 2.3.3).
    fn point(&self, length: usize) -> Result<Parts, UnusableKey> {
        let (x, y) = (self.exactly("x", length)?, self.exactly("y", length)?);
        Ok(Parts::Point([vec![4], x, y].concat()))
    }
}

#[cfg(feature = "jwks")]
impl Parts {
    fn digest(&self, algorithm: Algorithm) -> [u8; 32] {
        use sha2::{Digest, Sha256};

        let mut hash = Sha256::new_with_prefix([algorithm as u8]);
        match self {
            Self::Rsa { n, e } => {
                hash.update(n.len().to_le_bytes());
                hash.update(n);
                hash.update(e);
            }
            Self::Point(point) => hash.update(point),
        }
        hash.finalize().into()
    }
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("it is no JSON object"),
            Self::Missing(name) => write!(f, "`{name}` is missing"),
            Self::Invalid(name) => write!(f, "`{name}` is invalid"),
            Self::UnknownType => f.write_str("its `kty` or `crv` is unknown"),
            Self::UnknownAlgorithm => f.write_str("its `alg` is unknown, or not for its `kty`"),
            Self::OtherUse => f.write_str("it is not for checking signatures"),
            Self::Size => f.write_str("it has less than 2048 bits, or more than 4096"),
        }
    }
}

impl Error for UnusableKey {}
