//! TLS, behind the feature of that name.
//!
//! - `pair`: a certificate with its key, as what connections are secured by
//! - `absent`: what stands in for it in a gateway that is built without

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod pair;

use std::pin::Pin;

use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutWriter;

#[cfg(not(feature = "tls"))]
pub use self::absent::{Secured, Tls};
#[cfg(feature = "tls")]
pub use self::pair::{Secured, Tls};

/// A socket that fails when it takes nothing for too long.
pub type Timed = Pin<Box<TimeoutWriter<TcpStream>>>;
