//! What targets share: a runtime whose clock stands still, and requests that are written as text.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use tokio::runtime::{Builder, Runtime};

/// More than that of headers is left out: a map has room for 32,768.
const MOST_HEADERS: usize = 200;

thread_local! {
    // One for all inputs: nothing is spawned on it that outlives the input.
    static PAUSED: Runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime needs no system resources");
}

/// What the future comes to, on tokio's paused clock: it waits for nothing but time.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    PAUSED.with(|runtime| runtime.block_on(future))
}

/// The head of a request: a line `METHOD TARGET`, then lines `name: value`. None if the first line is not one; other lines
/// that cannot be read are left out.
pub(crate) fn head(text: &[u8]) -> Option<Request<()>> {
    let (first, rest) = halves(text, b'\n')?;
    let (method, target) = halves(first, b' ')?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method).ok()?;
    *request.uri_mut() = Uri::try_from(target).ok()?;
    *request.headers_mut() = headers(rest);
    Some(request)
}

/// Lines `name: value`. What cannot be read is left out.
pub(crate) fn headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|&byte| byte == b'\n').take(MOST_HEADERS) {
        let Some((name, value)) = halves(line, b':') else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    headers
}

/// What stands before and behind the first such byte.
pub(crate) fn halves(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == at)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Responses of a server, between lines `---`: the status, header lines, an empty line, and the body.
pub(crate) fn responses(text: &[u8]) -> impl Iterator<Item = Response<Bytes>> + '_ {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest?;
        let end = whole.windows(5).position(|window| window == b"\n---\n");
        rest = end.map(|end| &whole[end + 5..]);
        Some(response(&whole[..end.unwrap_or(whole.len())]))
    })
}

fn response(text: &[u8]) -> Response<Bytes> {
    let (status, rest) = halves(text, b'\n').unwrap_or((text, b""));
    let end = rest.windows(2).position(|window| window == b"\n\n");
    let mut response = Response::new(Bytes::copy_from_slice(end.map_or(b"", |end| &rest[end + 2..])));
    *response.status_mut() = StatusCode::from_bytes(status).unwrap_or(StatusCode::OK);
    *response.headers_mut() = headers(&rest[..end.unwrap_or(rest.len())]);
    response
}
