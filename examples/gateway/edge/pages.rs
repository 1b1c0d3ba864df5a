//! Pages that an edge was sent before, and is not sent again.
//!
//! An edge asks the origin each time, and says by a digest which page it has (`If-None-Match`, RFC 9110 section 13.1.2): where
//! that is the right one still, the origin says so (304) in the place of the page. No other client is given such a tag.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ::http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use lru::LruCache;
use sha2::{Digest, Sha256};

use crate::http::handlers;

/// The size of all pages together, in bytes, and of the largest that is kept.
const ROOM: usize = 64 * 1024 * 1024;
const LARGEST: usize = 1024 * 1024;
/// What a page takes besides its bytes, roughly.
const OVERHEAD: usize = 512;

/// The pages that were asked for last, by what was asked.
pub struct Pages(Mutex<Kept>);

struct Kept {
    pages: LruCache<String, Page>,
    size: usize,
}

/// A page, and its tag.
#[derive(Clone)]
pub struct Page {
    pub body: Bytes,
    pub tag: HeaderValue,
}

impl Default for Pages {
    fn default() -> Self {
        Self(Mutex::new(Kept { pages: LruCache::unbounded(), size: 0 }))
    }
}

impl Pages {
    pub fn get(&self, asked: &str) -> Option<Page> {
        self.kept().pages.get(asked).cloned()
    }

    pub fn keep(&self, asked: &str, body: &Bytes) {
        let Some(tag) = (body.len() <= LARGEST).then(|| tag(body)).flatten() else { return };
        // A copy: the one that is sent takes room until it is.
        let page = Page { body: Bytes::copy_from_slice(body), tag };
        let mut kept = self.kept();
        kept.size += size(asked, &page);
        let replaced = kept.pages.put(asked.to_owned(), page);
        kept.size -= replaced.map_or(0, |page| size(asked, &page));
        while kept.size > ROOM {
            let Some((asked, page)) = kept.pages.pop_lru() else { break };
            kept.size -= size(&asked, &page);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(asked: &str, page: &Page) -> usize {
    asked.len() + page.body.len() + OVERHEAD
}

fn tag(body: &[u8]) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"sha256-{:x}\"", Sha256::digest(body))).ok()
}

/// This answer, or that it is the page that is known by this tag.
pub async fn unless_known(response: Response, known: HeaderValue) -> Response {
    let is_short = response.body().size_hint().exact().is_some_and(|size| size <= LARGEST as u64);
    if response.status() != StatusCode::OK || !is_short {
        return response;
    }
    let (mut head, body) = response.into_parts();
    match body.collect().await.map(|body| body.to_bytes()) {
        Ok(body) if tag(&body) == Some(known) => {
            head.status = StatusCode::NOT_MODIFIED;
            head.headers.remove(CONTENT_TYPE);
            Response::from_parts(head, Body::empty())
        }
        Ok(body) => Response::from_parts(head, body.into()),
        Err(error) => handlers::broken(&io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_pages_make_room_for_new_ones() {
        let (pages, body) = (Pages::default(), Bytes::from(vec![b'1'; LARGEST]));
        pages.keep("too large", &vec![0; LARGEST + 1].into());
        assert!(pages.get("too large").is_none());
        for n in 0..3 * ROOM / LARGEST {
            pages.keep(&n.to_string(), &body);
            pages.keep(&n.to_string(), &body);
            assert!(pages.kept().size <= ROOM);
        }
        assert!(pages.get("0").is_none());
        assert_eq!(pages.get(&(3 * ROOM / LARGEST - 1).to_string()).unwrap().body, body);
    }

    #[tokio::test]
    async fn a_page_that_is_known_is_not_sent_again_and_another_one_is() {
        let page = |text: &'static str| Response::new(Body::from(text));
        let known = tag(b"one").unwrap();
        let answered = unless_known(page("one"), known.clone()).await;
        assert_eq!(answered.status(), StatusCode::NOT_MODIFIED);
        let answered = unless_known(page("two"), known.clone()).await;
        assert_eq!(answered.status(), StatusCode::OK);
        assert_eq!(answered.into_body().collect().await.unwrap().to_bytes(), "two");
        let mut refused = page("one");
        *refused.status_mut() = StatusCode::NOT_FOUND;
        assert_eq!(unless_known(refused, known).await.status(), StatusCode::NOT_FOUND);
    }
}
