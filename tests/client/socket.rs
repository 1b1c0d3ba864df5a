//! A client for WebSockets that sends the frames that it is told to, right or wrong, and shows what comes back.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::PATIENCE;

/// What a handshake came to.
#[derive(Debug)]
pub enum Handshake {
    Socket(Socket),
    /// The answer's head and as much of its body as came with it.
    Refused(String),
}

/// An open socket.
#[derive(Debug)]
pub struct Socket {
    socket: TcpStream,
    bytes: Vec<u8>,
    /// The subprotocol that was chosen.
    pub protocol: Option<String>,
}

/// What the gateway sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Text(String),
    Pong(Vec<u8>),
    /// The code, if there was one, and the reason.
    Close(Option<u16>, String),
    /// The connection ended.
    End,
}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
const CONTINUATION: u8 = 0;
const PONG: u8 = 10;

impl Socket {
    /// Shakes hands at this path, with these headers besides those that it takes.
    pub fn shake_hands(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<Handshake> {
        let mut socket = TcpStream::connect(address)?;
        let names_a_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        let mut head = format!("GET {path} HTTP/1.1\r\n");
        if !names_a_host {
            head += &format!("Host: {address}\r\n");
        }
        head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        socket.write_all((head + "\r\n").as_bytes())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            let mut piece = [0; 4096];
            match socket.read(&mut piece)? {
                0 => break bytes.len(),
                read => bytes.extend_from_slice(&piece[..read]),
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        if !head.starts_with("HTTP/1.1 101 ") {
            // What is sent in two pieces comes in a moment.
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            let _ = socket.read_to_end(&mut bytes);
            return Ok(Handshake::Refused(String::from_utf8_lossy(&bytes).into_owned()));
        }
        let protocol = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-protocol").then(|| value.trim().to_owned())
        });
        Ok(Handshake::Socket(Self { socket, bytes: bytes.split_off(end), protocol }))
    }

    pub fn open(address: SocketAddr) -> Self {
        match Self::shake_hands(address, "/", &[]).expect("an exchange") {
            Handshake::Socket(socket) => socket,
            Handshake::Refused(answer) => panic!("no socket: {answer}"),
        }
    }

    pub fn send(&mut self, text: &str) {
        self.frame(TEXT, true, text.as_bytes());
    }

    /// Sends a message in frames of its own.
    pub fn send_in_parts(&mut self, parts: &[&str]) {
        for (at, part) in parts.iter().enumerate() {
            let kind = if at == 0 { TEXT } else { CONTINUATION };
            self.frame(kind, at + 1 == parts.len(), part.as_bytes());
        }
    }

    /// Sends one frame, as far as the other side takes it.
    pub fn frame(&mut self, kind: u8, is_last: bool, payload: &[u8]) {
        let mut frame = vec![kind | if is_last { 0x80 } else { 0 }];
        match payload.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length @ 126..65536 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        // A mask of zeros leaves it as it is.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        let _ = self.socket.write_all(&frame);
    }

    /// The next frame within this time. Pings are answered and passed over.
    pub fn next_within(&mut self, within: Duration) -> Option<Frame> {
        let deadline = Instant::now() + within;
        loop {
            if let Some((kind, payload)) = self.taken() {
                match kind {
                    TEXT => return Some(Frame::Text(String::from_utf8(payload).expect("UTF-8"))),
                    CLOSE => {
                        let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                        let reason = payload.get(2..).unwrap_or_default();
                        return Some(Frame::Close(code, String::from_utf8_lossy(reason).into_owned()));
                    }
                    PING => self.frame(PONG, true, &payload),
                    PONG => return Some(Frame::Pong(payload)),
                    other => panic!("a frame of kind {other}"),
                }
                continue;
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).expect("a time");
            let mut piece = [0; 64 * 1024];
            match self.socket.read(&mut piece) {
                Ok(0) => return Some(Frame::End),
                Ok(read) => self.bytes.extend_from_slice(&piece[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(_) => return Some(Frame::End),
            }
        }
    }

    /// The next frame, which has to come.
    pub fn next(&mut self) -> Frame {
        self.next_within(PATIENCE).expect("a frame in time")
    }

    /// One whole frame of what has come. The gateway sends no message in parts.
    fn taken(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second, rest @ ..] = &*self.bytes else { return None };
        let (length, at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(rest.get(..8)?.try_into().ok()?), 10),
            length => (u64::from(length), 2),
        };
        let (kind, end) = (first & 0x0f, at + usize::try_from(length).ok()?);
        if self.bytes.len() < end {
            return None;
        }
        let payload = self.bytes[at..end].to_vec();
        self.bytes.drain(..end);
        Some((kind, payload))
    }
}
