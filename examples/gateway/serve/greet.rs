//! A connection's beginning: secured, if that is how the gateway serves.
//!
//! A client that speaks plain HTTP where TLS is spoken is told so. What it sent is not answered: it may have sent
//! a secret that all on its way could read, and must not come to rely on that.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::wire::{Wire, timed};
use crate::tls::Tls;

/// What every client that speaks TLS begins with: a record of the handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\nThe gateway speaks TLS: use https.\n";
/// How long, and how much, a client that is told so may go on to send.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST: usize = 64 * 1024;

/// Greets a client. `None` if it does not speak TLS, where it has to.
pub async fn greet(mut socket: TcpStream, tls: Option<&Tls>, write_timeout: Duration) -> io::Result<Option<Wire>> {
    let Some(tls) = tls else { return Ok(Some(Wire::Plain(socket))) };
    // What takes room is boxed: a connection keeps it for as long as it is open, secured or not.
    let mut first = [0];
    match socket.peek(&mut first).await? {
        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
        _ if first == [HANDSHAKE] => {}
        _ => {
            // Its head first: the answer must not be overtaken by a reset.
            let _ = Box::pin(timeout(PATIENCE, turn_away(&mut socket, first[0].is_ascii_uppercase()))).await;
            return Ok(None);
        }
    }
    let secured = Box::pin(tls.accept(timed(socket, write_timeout))).await?;
    Ok(Some(Wire::Secured(Box::new(secured))))
}

async fn turn_away(socket: &mut TcpStream, speaks_http: bool) -> io::Result<()> {
    if speaks_http {
        socket.write_all(PLAIN).await?;
    }
    socket.shutdown().await?;
    let (mut buffer, mut left) = ([0; 4096], MOST);
    loop {
        match socket.read(&mut buffer).await? {
            0 => return Ok(()),
            length => left = left.checked_sub(length).ok_or(io::ErrorKind::FileTooLarge)?,
        }
    }
}
