//! A client for HTTP/1.1 that says exactly what it is told to and shows exactly what came back.
//!
//! 1. One connection carries one request; `Connection: close` is said unless something else is.
//! 2. A target goes out as it is given, and header values as Latin-1.
//! 3. Nothing waits for ever: what does not come in time is missing from the answer, and it is for the
//!    test to say what should have come.

#[cfg(feature = "websocket")]
pub mod socket;

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How long an answer may take on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A request, not yet sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: String::new() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn method(&self) -> &str {
        &self.method
    }

    /// What goes out after the head.
    pub fn body(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }.header("Content-Length", &body.len().to_string())
    }

    /// Sends the request, and reads the head of the answer.
    pub fn send(&self, address: SocketAddr) -> io::Result<Response> {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(&self.bytes(address))?;
        let mut incoming = Incoming { socket, bytes: Vec::new(), is_closed: false };
        let head = incoming.head(Instant::now() + PATIENCE)?;
        let has_no_body = self.method == "HEAD" || matches!(head.status, 204 | 304);
        let framing = if has_no_body { Framing::Length(0) } else { Framing::of(&head) };
        let Head { status, headers } = head;
        Ok(Response { status, headers, framing, incoming, body: Vec::new(), is_complete: false })
    }

    fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let says = |wanted: &str| self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !says("host") {
            head += &format!("Host: {address}\r\n");
        }
        if !says("connection") {
            head += "Connection: close\r\n";
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let latin1 = |char| u8::try_from(char).expect("a head is Latin-1");
        head.chars().map(latin1).chain(self.body.bytes()).collect()
    }
}

/// An answer whose body may still be coming.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
    incoming: Incoming,
    /// What of the body has come.
    body: Vec<u8>,
    /// All of the body has come.
    is_complete: bool,
}

/// How a body came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is complete.
    Clean,
    /// The connection was closed before it was.
    Cut,
}

impl Response {
    /// The value of a header, if it is there exactly once.
    pub fn header(&self, wanted: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(name, _)| name == wanted);
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// Every line of every header, with names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Every line of a header.
    pub fn lines(&self, wanted: &str) -> Vec<&str> {
        self.headers.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
    }

    /// The whole body.
    pub fn bytes(mut self) -> Vec<u8> {
        assert_eq!(self.end_within(PATIENCE), Some(End::Clean), "the body did not end: {self:?}");
        self.body
    }

    /// The whole body, as text.
    pub fn text(self) -> String {
        String::from_utf8(self.bytes()).expect("the body is UTF-8")
    }

    /// All the blocks of an event stream so far, once there are `count` of them or the time is over.
    pub fn blocks(&mut self, count: usize, within: Duration) -> Vec<String> {
        let deadline = Instant::now() + within;
        while self.whole_blocks().count() < count && self.more(deadline) {}
        self.whole_blocks().map(|block| String::from_utf8_lossy(block).into_owned()).collect()
    }

    /// Takes the blocks that have come since the last call, once there is one or the time is over.
    pub fn take_blocks(&mut self, within: Duration) -> Vec<String> {
        let deadline = Instant::now() + within;
        while memchr::memmem::find(&self.body, b"\n\n").is_none() && self.more(deadline) {}
        let Some(end) = memchr::memmem::rfind(&self.body, b"\n\n") else { return Vec::new() };
        let taken: Vec<u8> = self.body.drain(..end + 2).collect();
        let text = String::from_utf8(taken).expect("events are UTF-8");
        text.split_terminator("\n\n").map(str::to_owned).collect()
    }

    /// Reads on until the body ends. `None` if it does not in this time.
    pub fn end_within(&mut self, time: Duration) -> Option<End> {
        let deadline = Instant::now() + time;
        while self.more(deadline) {}
        match self.is_complete {
            true => Some(End::Clean),
            false => self.incoming.is_closed.then_some(End::Cut),
        }
    }

    /// What a block ends with is no part of it, and what has not ended is no block.
    fn whole_blocks(&self) -> impl Iterator<Item = &[u8]> {
        let ends: Vec<usize> = memchr::memmem::find_iter(&self.body, b"\n\n").collect();
        let starts = std::iter::once(0).chain(ends.clone().into_iter().map(|end| end + 2));
        starts.zip(ends).map(|(start, end)| &self.body[start..end])
    }

    /// Reads something, unless there is nothing more to come or nothing comes in time.
    fn more(&mut self, deadline: Instant) -> bool {
        loop {
            let before = self.body.len();
            self.is_complete |= self.framing.decode(&mut self.incoming.bytes, &mut self.body);
            self.is_complete |= self.incoming.is_closed && matches!(self.framing, Framing::UntilClosed);
            if self.is_complete || self.incoming.is_closed {
                return false;
            }
            if self.body.len() > before {
                return true;
            }
            if !self.incoming.more(deadline) && !self.incoming.is_closed {
                return false;
            }
        }
    }
}

/// How the end of a body is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// By the number of bytes still to come.
    Length(usize),
    Chunked,
    UntilClosed,
}

impl Framing {
    fn of(head: &Head) -> Self {
        let value = |wanted: &str| head.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        match (value("transfer-encoding"), value("content-length")) {
            (Some(coding), _) if coding == "chunked" => Self::Chunked,
            (_, Some(length)) => Self::Length(length.parse().expect("a length is a number")),
            _ => Self::UntilClosed,
        }
    }

    /// Moves what has come of a body from one to the other, and says whether that was the last of it.
    fn decode(&mut self, from: &mut Vec<u8>, to: &mut Vec<u8>) -> bool {
        match self {
            Self::Length(left) => {
                let here = from.len().min(*left);
                to.extend(from.drain(..here));
                *left -= here;
                *left == 0
            }
            Self::UntilClosed => {
                to.append(from);
                false
            }
            Self::Chunked => loop {
                let Some(line) = memchr::memmem::find(from, b"\r\n") else { return false };
                let size = std::str::from_utf8(&from[..line]).expect("a chunk's size is text");
                let size = usize::from_str_radix(size, 16).expect("a chunk's size is a number");
                let chunk = line + 2..line + 2 + size;
                let Some(end) = from.get(chunk.end..chunk.end + 2) else { return false };
                assert_eq!(end, b"\r\n", "a chunk ends with its line");
                to.extend(&from[chunk.clone()]);
                from.drain(..chunk.end + 2);
                if size == 0 {
                    return true;
                }
            },
        }
    }
}

struct Head {
    status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

/// A connection, and what has come over it and is not yet read.
#[derive(Debug)]
struct Incoming {
    socket: TcpStream,
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Incoming {
    fn head(&mut self, deadline: Instant) -> io::Result<Head> {
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.bytes, b"\r\n\r\n") {
                break end;
            }
            if !self.more(deadline) {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "no whole head came"));
            }
        };
        let head: String = self.bytes.drain(..end + 4).map(char::from).collect();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        Ok(Head {
            status: status.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "no status"))?,
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect(),
        })
    }

    /// Whether something came before the deadline.
    fn more(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || self.is_closed {
            return false;
        }
        self.socket.set_read_timeout(Some(left)).expect("a timeout that is not zero");
        let mut buffer = [0; 64 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(count) => {
                self.bytes.extend(&buffer[..count]);
                self.is_closed = count == 0;
                count > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(_) => {
                self.is_closed = true;
                false
            }
        }
    }
}
