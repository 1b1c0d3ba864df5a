//! Whatever is in a transcript, reading it keeps the rules.
//!
//! 1. Nothing panics, and what comes out is JSON.
//! 2. The messages of the full history are numbered 1, 2, 3 and so on, shown or not.
//! 3. A page holds no more messages than its limit, but for those of one number, and none from its cursor on.
//! 4. Pages that are walked back from the end come to the start, and of users show nothing that the whole does not.
//! 5. A transcript that was read while it grew reads as one that was there at once.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    json::{self, Fields as _, Object, Value},
    sessions::{
        history::{self, Query},
        projection::seq,
        record::History as _,
        transcript::{Place, Transcript},
    },
};

/// Some time, so that what does not say when it was reads the same each time.
const NOW: f64 = 1_800_000_000_000.0;

/// A page as a client sees it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Page {
    messages: Vec<Object>,
    next_cursor: Option<u64>,
}

fn page(transcript: &Transcript, query: &str) -> Page {
    let query = Query::parse(query).expect("a query");
    let page = transcript.look(|view| history::read(&view, query, NOW)).expect("a page").page;
    let body = json::object(&page.body("key")).expect("an object");
    assert_eq!(body.get("items"), body.get("messages"));
    let messages = body.array("messages").expect("a list").iter();
    let page = Page {
        messages: messages.map(|message| message.as_object().expect("an object").clone()).collect(),
        next_cursor: body.text("nextCursor").map(|cursor| cursor.parse().expect("a number")),
    };
    assert!(page.next_cursor.is_none() || body.is("hasMore", true));
    page
}

fn check(content: &[u8], cut: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("transcript.jsonl");
    let (begin, rest) = content.split_at(cut);
    fs::write(&path, begin).expect("a transcript");
    let transcript = Transcript::new(Place::File(path.clone()));
    page(&transcript, "");
    OpenOptions::new().append(true).open(&path).and_then(|mut file| file.write_all(rest)).expect("an append");

    numbers_are_dense(&transcript);
    let whole = page(&transcript, "");
    assert_eq!(whole.next_cursor, None);
    grown_as_at_once(&path, &whole);
    for limit in [1, 2, 3, 1000] {
        pages_come_to_the_start(&transcript, &whole.messages, limit);
    }
}

fn numbers_are_dense(transcript: &Transcript) {
    let view = transcript.view().expect("a transcript");
    let mut next = 1;
    for message in view.read(0..view.len()).expect("a history").values(NOW) {
        // What is no object takes a number and cannot say it, and null is no message and takes one too.
        if let Value::Object(message) = message {
            let seq = seq(&message).expect("a number");
            assert!((next..=view.len() as u64).contains(&seq));
            next = seq + 1;
        }
    }
}

fn grown_as_at_once(path: &Path, whole: &Page) {
    assert_eq!(&page(&Transcript::new(Place::File(path.to_owned())), ""), whole);
}

fn pages_come_to_the_start(transcript: &Transcript, whole: &[Object], limit: usize) {
    let shown: HashSet<u64> = whole.iter().filter_map(seq).collect();
    let mut cursor = None;
    loop {
        let query = cursor.map_or(String::new(), |cursor: u64| format!("&cursor={cursor}"));
        let page = page(transcript, &format!("limit={limit}{query}"));
        let seqs: Vec<u64> = page.messages.iter().map(|message| seq(message).expect("a number")).collect();
        assert!(seqs.is_sorted(), "limit {limit}{query}: {seqs:?}");
        assert!(seqs.iter().all(|seq| cursor.is_none_or(|cursor| *seq < cursor)), "limit {limit}{query}");
        let numbers: HashSet<u64> = seqs.iter().copied().collect();
        assert!(numbers.len() <= limit, "limit {limit}{query}: {seqs:?}");
        // Whether what a user said is shown does not depend on what is outside of the window of a page.
        let mut others = page.messages.iter().filter(|message| message.says("role", "user")).filter_map(seq);
        assert_eq!(others.find(|seq| !shown.contains(seq)), None, "limit {limit}{query}");
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
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
        check(&content, cut.index(content.len() + 1));
    }

    #[test]
    fn plausible_and_hostile_lines_keep_the_rules(
        content in lines(),
        cut in any::<prop::sample::Index>(),
    ) {
        check(&content, cut.index(content.len() + 1));
    }

    #[test]
    fn a_long_chain_keeps_the_rules(
        content in chain(),
        cut in any::<prop::sample::Index>(),
    ) {
        check(&content, cut.index(content.len() + 1));
    }
}
