//! Whatever is in a transcript, reading it keeps the rules.
//!
//! 1. Nothing panics, and what comes out is JSON.
//! 2. The messages of the full history are numbered 1, 2, 3 and so on, shown or not.
//! 3. A page holds no more messages than its limit.
//! 4. A page with a cursor is that part of the whole which the cursor and the limit name. So pages that
//!    are walked back from the end, put together, are the whole. (But for one case, in which the peer
//!    loses messages as well: a reply that was sent with a tool has the number of the tool's result. If
//!    a page begins with one, the page before it ends before that result.)
//! 5. A transcript that was read while it grew reads as one that was there at once.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    json::{Object, Value, parse},
    sessions::history::{self, Query},
    sessions::transcript::{Place, Transcript},
};

/// Some time, so that a compaction without one reads the same each time.
const NOW: f64 = 1_800_000_000_000.0;

/// A page as a client sees it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Page {
    messages: Vec<Object<'static>>,
    has_more: bool,
    next_cursor: Option<u64>,
}

fn page(transcript: &Transcript, query: &str, max_chars: usize) -> Page {
    let page = history::read(Some(transcript), Query::parse(query), max_chars, NOW).expect("a page");
    let body = page.body("key");
    let body = parse(&body).expect("JSON").into_owned();
    let body = body.as_object().expect("an object");
    assert_eq!(body.get("items"), body.get("messages"));
    let messages = body.array("messages").expect("a list").iter();
    Page {
        messages: messages.map(|message| message.as_object().expect("an object").clone()).collect(),
        has_more: body.get("hasMore") == Some(&Value::Bool(true)),
        next_cursor: body.text("nextCursor").map(|cursor| cursor.to_utf8().parse().expect("a number")),
    }
}

fn seq(message: &Object<'_>) -> u64 {
    message.object("__openclaw").and_then(|meta| meta.number("seq")).expect("a number") as u64
}

/// The rule of pages, applied to the whole.
fn part(whole: &[Object<'static>], cursor: Option<u64>, limit: usize) -> Page {
    let end = cursor.and_then(|cursor| whole.iter().position(|message| seq(message) >= cursor)).unwrap_or(whole.len());
    let start = end.saturating_sub(limit);
    let next_cursor = (start > 0).then(|| seq(&whole[start]));
    Page { messages: whole[start..end].to_vec(), has_more: start > 0, next_cursor }
}

fn check(content: &[u8], cut: usize, max_chars: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("transcript.jsonl");
    let (begin, rest) = content.split_at(cut);
    fs::write(&path, begin).expect("a transcript");
    let transcript = Transcript::new(Place::File(path.clone()));
    page(&transcript, "", max_chars);
    OpenOptions::new().append(true).open(&path).and_then(|mut file| file.write_all(rest)).expect("an append");

    let total = numbers_are_dense(&transcript);
    let whole = page(&transcript, "", max_chars);
    assert_eq!((whole.has_more, whole.next_cursor), (false, None));
    grown_as_at_once(&path, &whole, max_chars);
    for limit in [1, 2, 3, 1000] {
        pages_are_parts(&transcript, &whole.messages, limit, max_chars);
        let tail = page(&transcript, &format!("limit={limit}"), max_chars);
        assert!(tail.messages.len() <= limit);
        assert_eq!(tail.has_more, tail.next_cursor.is_some());
        assert_eq!(tail.next_cursor.is_some(), tail.has_more && tail.next_cursor == tail.messages.first().map(seq));
    }
    for cursor in 1..=total as u64 + 1 {
        let expected = part(&whole.messages, Some(cursor), 2);
        assert_eq!(page(&transcript, &format!("limit=2&cursor={cursor}"), max_chars), expected, "cursor {cursor}");
    }
}

/// How many messages the full history has.
fn numbers_are_dense(transcript: &Transcript) -> usize {
    let view = transcript.view().expect("a transcript");
    let raw = view.history().read(0..view.total()).expect("a history");
    let messages = raw.values(NOW);
    assert_eq!(messages.len(), view.total());
    for (at, message) in messages.iter().enumerate() {
        // What is no object takes a number and cannot say it.
        if let Value::Object(message) = message {
            assert_eq!(seq(message), at as u64 + 1);
        }
    }
    messages.len()
}

fn grown_as_at_once(path: &Path, whole: &Page, max_chars: usize) {
    assert_eq!(&page(&Transcript::new(Place::File(path.to_owned())), "", max_chars), whole);
}

fn pages_are_parts(transcript: &Transcript, whole: &[Object<'static>], limit: usize, max_chars: usize) {
    let mut shown: Vec<Object<'static>> = Vec::new();
    // Text that is no number selects the full history and cuts nothing off it.
    let mut cursor = None;
    loop {
        let query = cursor.map_or("end".to_owned(), |cursor: u64| cursor.to_string());
        let page = page(transcript, &format!("limit={limit}&cursor={query}"), max_chars);
        assert_eq!(page, part(whole, cursor, limit), "limit {limit}, cursor {query}");
        assert!(page.messages.len() <= limit);
        shown.splice(0..0, page.messages);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if whole.iter().all(|message| !message.contains("openclawMessageToolMirror")) {
        assert_eq!(shown, whole, "limit {limit}");
    }
}

/// What a record may have for an id or a parent.
const IDS: [&str; 9] = ["\"a\"", "\"b\"", "\"c\"", "\"d\"", "\"e\"", "\"\"", "null", "7", "\"\\ud83d\""];

const TIMES: [&str; 6] = ["\"2026-01-02T03:04:05Z\"", "1e999", "-0", "\"2026-02-30\"", "\"soon\"", "null"];

const MESSAGES: [&str; 38] = [
    r#"{"role":"user","content":"question"}"#,
    r#"{"role":"user","content":"question"}"#,
    r#"{"role":"user","content":"question"}"#,
    r#"{"role":"assistant","content":"answer"}"#,
    r#"{"role":"assistant","content":[{"type":"text","text":"answer"}]}"#,
    r#"{"role":"assistant","content":"Hello"}"#,
    r#"{"role":"assistant","content":"NO_REPLY"}"#,
    r#"{"role":"assistant","content":"NO_REPLY"}"#,
    r#"{"role":"assistant","content":[{"type":"toolCall","id":"c","name":"message","arguments":{"action":"send","message":"sent"}}]}"#,
    r#"{"role":"assistant","content":[{"type":"toolCall","id":"c","name":"message","arguments":{"action":"send","message":"sent"}}]}"#,
    r#"{"role":"toolResult","toolCallId":"c","content":"ok"}"#,
    r#"{"role":"toolResult","toolCallId":"c","content":"ok"}"#,
    r#"{"role":"tool_result","content":"{\"ok\":false}"}"#,
    r#"{"role":"user","content":"[OpenClaw heartbeat poll]"}"#,
    r#"{"role":"assistant","content":"HEARTBEAT_OK"}"#,
    r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"Hello"}}"#,
    r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"answer"}}"#,
    r#"{"role":"assistant","content":"a","provider":"openclaw","model":"acp-runtime"}"#,
    r#"{"role":"assistant","content":"a","provider":"openclaw","model":"gateway-injected"}"#,
    r#"{"role":"assistant","content":"aloud","phase":"commentary"}"#,
    r#"{"role":"assistant","content":[{"type":"image","data":"\ud83d\ude00\ud83d"},[[]],null,7]}"#,
    r#"{"role":"user","content":"[Sat 2026-01-03 10:00] \ud83d\ud83d\ude00 [[reply_to_current]]"}"#,
    r#"{"role":"user","content":"Sender (untrusted metadata):\n```json\n{\"label\":\"x\"}\n```\nhi"}"#,
    r#"{"role":"user","content":"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nopen"}"#,
    r#"{"role":"user","content":"\u0000\r\n\u2028\ufeff"}"#,
    r#"{"role":"user","content":null,"text":"beside"}"#,
    r#"{"role":"user","content":1e999,"__openclaw":{"seq":99,"id":5}}"#,
    r#"{"role":"user","role":"assistant","content":"twice"}"#,
    r#"{"role":7,"content":{"content":{}}}"#,
    r#"{"role":"assistant","usage":{"input":1e999},"cost":{"total":-0},"content":"priced"}"#,
    r#"{"role":"user","content":"hidden","display":false}"#,
    r#"{}"#,
    r#""text""#,
    r#"[{"role":"user"}]"#,
    r#"true"#,
    r#"0"#,
    r#"null"#,
    r#"12345678901234567890e400"#,
];

/// Lines that are no records, or hardly.
const HOSTILE: [&[u8]; 18] = [
    b"",
    b" \t\xc2\xa0 ",
    b"\xef\xbb\xbf{\"message\":{\"role\":\"user\"}}",
    b"{\"message\":",
    b"{\"message\":{\"role\":\"user\",\"content\":\"torn",
    b"{\"message\":{\"role\":\"user\",\"content\":\"\xff\xc0\xaf\xed\xa0\x80\"}}",
    b"{\"message\":{\"role\":\"user\",\"content\":\"\0\"}}",
    b"{\"message\":{\"role\":\"user\",\"content\":\"a\rb\"}}",
    b"{\"\\u006dessage\":{\"role\":\"user\",\"content\":\"escaped key\"}}",
    b"{\"message\":{},\"message\":{\"role\":\"user\",\"content\":\"last\"}}",
    b"{\"message\":{\"role\":\"user\",\"content\":\"first\"},\"message\":null}",
    b"{\"type\":\"compaction\",\"id\":\"a\",\"summary\":\"s\"}",
    b"{\"type\":\"compaction\",\"parentId\":\"b\",\"id\":\"c\"}",
    b"{\"type\":\"session\",\"id\":\"a\",\"parentId\":null}",
    b"{\"id\":\"a\",\"parentId\":\"a\"}",
    b"[]]",
    b"\0\0\0",
    b"{\"a\":1}{\"b\":2}",
];

fn record() -> impl Strategy<Value = Vec<u8>> {
    let field = |name: &'static str, values: &'static [&'static str]| {
        prop::option::of(select(values)).prop_map(move |value| value.map(|value| format!("\"{name}\":{value}")))
    };
    // A message most of the time, and a parent seldom: one is enough to hide all that is not on its way.
    let message = prop::option::weighted(0.9, select(&MESSAGES[..]));
    let message = message.prop_map(|message| message.map(|message| format!("\"message\":{message}")));
    let parent = prop::option::weighted(0.2, select(&IDS[..]));
    let parent = parent.prop_map(|parent| parent.map(|parent| format!("\"parentId\":{parent}")));
    (field("id", &IDS), parent, field("timestamp", &TIMES), message).prop_map(|(id, parent, time, message)| {
        let fields: Vec<_> = [id, parent, time, message].into_iter().flatten().collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    })
}

fn nested() -> impl Strategy<Value = Vec<u8>> {
    // A record of 1022 and its own two levels is the deepest that is read. The answer has a level more,
    // and this test could not read it again.
    let levels = select(&[1, 127, 128, 300, 1020, 1021, 1023, 1024, 1025, 5000][..]);
    (levels, any::<bool>(), any::<bool>()).prop_map(|(levels, objects, closed)| {
        let (open, close) = if objects { ("{\"a\":", "}") } else { ("[", "]") };
        let close = if closed { close } else { "" };
        let value = format!("{}1{}", open.repeat(levels), close.repeat(levels));
        format!("{{\"message\":{{\"role\":\"user\",\"content\":{value}}}}}").into_bytes()
    })
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => record(),
        4 => select(&HOSTILE[..]).prop_map(<[u8]>::to_vec),
        1 => nested(),
        1 => vec(any::<u8>(), 0..40),
    ]
}

/// Lines, mostly with an end.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let end = prop_oneof![12 => Just("\n"), 2 => Just("\r\n"), 1 => Just(""), 1 => Just("\r"), 1 => Just("\n\n")];
    let lines = vec((line(), end), 0..40);
    lines.prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [&line, end.as_bytes()].concat()).collect())
}

/// A chain of plausible records, as OpenClaw writes it, so that long histories come up too.
fn chain() -> impl Strategy<Value = Vec<u8>> {
    vec(select(&MESSAGES[..]), 0..60).prop_map(|messages| {
        let record = |(at, message)| format!("{{\"id\":\"{}\",\"parentId\":\"{at}\",\"message\":{message}}}\n", at + 1);
        messages.into_iter().enumerate().map(record).collect::<String>().into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_keep_the_rules(content in vec(any::<u8>(), 0..400), cut in any::<prop::sample::Index>()) {
        check(&content, cut.index(content.len() + 1), 8000);
    }

    #[test]
    fn plausible_and_hostile_lines_keep_the_rules(
        content in lines(),
        cut in any::<prop::sample::Index>(),
        max_chars in select(&[1, 2, 5, 8000][..]),
    ) {
        check(&content, cut.index(content.len() + 1), max_chars);
    }

    #[test]
    fn a_long_chain_keeps_the_rules(
        content in chain(),
        cut in any::<prop::sample::Index>(),
        max_chars in select(&[2, 8000][..]),
    ) {
        check(&content, cut.index(content.len() + 1), max_chars);
    }
}
