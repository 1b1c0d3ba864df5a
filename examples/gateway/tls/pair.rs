//! A certificate with its key.
//!
//! 1. What clients would refuse is refused here, in words: a key of another certificate, a certificate that has
//!    expired or is not valid yet. So a renewal that went wrong leaves the last good pair in its place.
//! 2. There is one way to make of a pair what connections are secured by, at the start and at each renewal: the
//!    protocols that are offered (ALPN, RFC 7301) are the same.
//! 3. The keys of session tickets (RFC 8446 section 4.6.1) are made with it. So a session is resumed under the
//!    certificate that it began under, and a withdrawn certificate takes its sessions with it. Nothing is taken
//!    before the handshake is over (0-RTT): that could be played again.
//! 4. Which cryptography is used is named, and not found out: the process may hold more than one.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        CertificateError, Error, InconsistentKeys, RootCertStore, ServerConfig,
        client::verify_server_cert_signed_by_trust_anchor,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
        server::ParsedCertificate,
        sign::{CertifiedKey, SingleCertAndKey},
    },
    server::TlsStream,
};

use super::Timed;
use crate::config::ConfigError;

/// What is offered, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How long before a certificate expires that is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What connections are secured by. Equal are those that were made of equal files.
#[derive(Clone)]
pub struct Tls(Arc<Pair>);

struct Pair {
    config: Arc<ServerConfig>,
    cert: PathBuf,
    leaf: CertificateDer<'static>,
    digest: [u8; 32],
}

/// A connection that is secured.
pub type Secured = TlsStream<Timed>;

impl Tls {
    /// From the text of two PEM files (RFC 7468): a certificate and those that vouch for it, and its private key.
    pub fn new((cert, chain): (&Path, &str), (key, secret): (&Path, &str)) -> Result<Self, ConfigError> {
        let malformed = |file, reason: &str| ConfigError::malformed(file, "the whole of it", reason);
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| malformed(cert, "is not PEM"))?;
        let leaf = certificates.first().ok_or_else(|| malformed(cert, "holds no certificate in PEM"))?.clone();
        if secret.contains("ENCRYPTED") {
            return Err(malformed(key, "is encrypted, and nobody is asked for its password: openssl pkey decrypts it"));
        }
        let private = PrivateKeyDer::from_pem_slice(secret.as_bytes())
            .map_err(|_| malformed(key, "holds no private key in PEM"))?;
        let provider = ring::default_provider();
        let signing = provider
            .key_provider
            .load_private_key(private)
            .map_err(|_| malformed(key, "holds a private key of a kind that is not known, or too short"))?;
        let certified = CertifiedKey::new(certificates, signing);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                let reason = format!("does not belong to the certificate in {}", cert.display());
                return Err(malformed(key, &reason));
            }
            Err(error) => return Err(malformed(cert, &format!("holds a certificate that cannot be read: {error}"))),
        }
        is_valid(&leaf, &provider, UnixTime::now()).map_err(|reason| malformed(cert, &reason))?;
        let config = server_config(provider, certified).map_err(|error| malformed(cert, &error.to_string()))?;
        let digest = [chain, secret].map(Sha256::digest).concat();
        let (config, digest) = (Arc::new(config), Sha256::digest(digest).into());
        Ok(Self(Arc::new(Pair { config, cert: cert.to_owned(), leaf, digest })))
    }

    /// What should be done about the certificate, though it is good.
    pub fn advice(&self) -> Option<String> {
        let soon = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + SOON);
        let reason = is_valid(&self.0.leaf, &ring::default_provider(), soon).err()?;
        Some(format!("{} {}", self.0.cert.display(), reason.replacen("has expired", "expires", 1)))
    }

    /// Greets a client.
    pub async fn accept(&self, socket: Timed) -> io::Result<Secured> {
        TlsAcceptor::from(Arc::clone(&self.0.config)).accept(socket).await
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("cert", &self.0.cert).finish_non_exhaustive()
    }
}

fn server_config(provider: CryptoProvider, certified: CertifiedKey) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// Whether the certificate is valid at that time. Whom clients trust is not known here, so nobody vouches for it:
/// its dates are looked at before that is found out.
fn is_valid(leaf: &CertificateDer<'_>, provider: &CryptoProvider, then: UnixTime) -> Result<(), String> {
    let cert = ParsedCertificate::try_from(leaf).map_err(|error| format!("holds no certificate: {error}"))?;
    let algorithms = provider.signature_verification_algorithms.all;
    let verdict = verify_server_cert_signed_by_trust_anchor(&cert, &RootCertStore::empty(), &[], then, algorithms);
    match verdict {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Err(format!("has expired on {}", date(not_after)))
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
            Err(format!("is not valid before {}", date(not_before)))
        }
        _ => Ok(()),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "a day far away".to_owned(), |date| date.to_string())
}
