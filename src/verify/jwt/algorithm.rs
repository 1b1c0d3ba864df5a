//! The algorithms that a key can be for, and whose code computes them.

use std::fmt;

use jsonwebtoken::crypto::CryptoProvider;

/// A signature algorithm of RFC 7518 section 3.1 or RFC 8037 section 3.1: those whose verifier holds no
/// secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "they are the names of the RFC")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// The algorithm of that name in an `alg` parameter. `Ed25519` is another name of
    /// [`EdDSA`](Self::EdDSA) (RFC 9864), of which there is one curve here.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "PS256" => Self::PS256,
            "PS384" => Self::PS384,
            "PS512" => Self::PS512,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            "EdDSA" | "Ed25519" => Self::EdDSA,
            _ => return None,
        })
    }

    pub(super) fn is_rsa(self) -> bool {
        !matches!(self, Self::ES256 | Self::ES384 | Self::EdDSA)
    }

    pub(super) fn of_backend(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::RS384 => jsonwebtoken::Algorithm::RS384,
            Self::RS512 => jsonwebtoken::Algorithm::RS512,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::PS384 => jsonwebtoken::Algorithm::PS384,
            Self::PS512 => jsonwebtoken::Algorithm::PS512,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whose code checks signatures. It is named with each key, and never found: what other crates of a program
/// have switched on changes nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crypto {
    /// The crates of RustCrypto, which need no C compiler. Their `rsa` has an open advisory
    /// ([RUSTSEC-2023-0071](https://rustsec.org/advisories/RUSTSEC-2023-0071)) about the time that
    /// operations with a *private* key take. Checking a signature takes the public key alone, and all that
    /// it works on is known to whoever sent the token: there is no secret for its timing to tell.
    #[cfg(feature = "jwt")]
    RustCrypto,
    /// `aws-lc-rs`, which is faster, and compiles C.
    #[cfg(feature = "jwt-aws-lc-rs")]
    AwsLcRs,
}

impl Crypto {
    /// The one that is compiled in; of both, `aws-lc-rs`, which nobody has switched on by default.
    #[must_use]
    #[allow(unreachable_code, reason = "which line is the last one is a matter of features")]
    pub fn compiled_in() -> Option<Self> {
        #[cfg(feature = "jwt-aws-lc-rs")]
        return Some(Self::AwsLcRs);
        #[cfg(feature = "jwt")]
        return Some(Self::RustCrypto);
        None
    }

    pub(super) fn backend(self) -> &'static CryptoProvider {
        match self {
            #[cfg(feature = "jwt")]
            Self::RustCrypto => &jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER,
            #[cfg(feature = "jwt-aws-lc-rs")]
            Self::AwsLcRs => &jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER,
        }
    }
}
