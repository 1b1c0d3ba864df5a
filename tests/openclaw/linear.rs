//! Whatever is in a transcript, to show it takes time in proportion to its length.
//!
//! Each case is something that is hard on a rule: marks that never end, that nest, that nearly fit. It is made twice, the
//! second time [`TIMES`] as long, and that may not take much longer than so many times as long. `LINEAR=8` in the environment
//! makes all of it eight times longer than CI does: texts of up to 1 MB.

use std::{env, fmt::Write as _, fs, hint::black_box, sync::Arc, time::Duration};

use rusqlite::params;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::{
    json::{self, Value, Write as _},
    server::demo::database::Database as Writer,
    sessions::{
        history::{self, Query},
        projection::{State, project},
        sqlite::{Database, Window},
        store::AgentId,
        transcript::{Place, Transcript},
    },
};

/// How long the shorter one of a case is, in bytes.
const SHORT: usize = 16 * 1024;
const TIMES: u32 = 8;
/// So many times longer than that it may take: what grows with the square takes [`TIMES`] times longer.
const ROOM: u32 = 2;
/// What takes less is not compared.
const NOTHING: Duration = Duration::from_millis(2);
/// A machine may have bad moments.
const TRIES: usize = 3;

/// How many times longer everything is made than it is said here.
fn longer() -> usize {
    env::var("LINEAR").map_or(1, |times| times.parse().expect("a number in LINEAR"))
}

/// The time that this thread has worked, whatever others do meanwhile.
fn worked() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Complains of a case that takes more than in proportion. `make` makes it so long, and `run` is what is measured.
fn grows<T>(name: &str, short: usize, make: impl Fn(usize) -> T, run: impl Fn(T)) -> Option<String> {
    let short = short * longer();
    let time = |length| {
        let made = make(length);
        let before = worked();
        run(made);
        worked() - before
    };
    // What is made once only is made here.
    time(1);
    let mut short_one = Duration::MAX;
    let mut long_one = Duration::MAX;
    for _ in 0..TRIES {
        short_one = short_one.min(time(short));
        long_one = long_one.min(time(short * TIMES as usize));
        if long_one <= short_one.max(NOTHING) * TIMES * ROOM {
            return None;
        }
    }
    Some(format!("{name}: {short_one:?}, and {long_one:?} for {TIMES} times as much"))
}

/// As many of these as have this length, and at least one.
fn times(text: &str, length: usize) -> String {
    text.repeat(length.div_ceil(text.len()))
}

const BEGIN: &str = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\n";
const END: &str = "<<<END_OPENCLAW_INTERNAL_CONTEXT>>>\n";
const NOTICE: &str = "This context is runtime-generated, not user-authored. Keep internal details private.";
const EVENT: &str = "[Internal task completion event]\n";
const MARKER: &str = "⟦openclaw:ctx⟧";

/// Texts of about this length, by what they are hard on.
fn texts(length: usize) -> Vec<(&'static str, String)> {
    let legacy = format!("OpenClaw runtime context (internal):\n{NOTICE}\n\n");
    let child = "<<<BEGIN_UNTRUSTED_CHILD_RESULT>>>\n";
    let half = length / 2;
    let of = |text: &str| times(text, length);
    vec![
        ("words", of("a word ")),
        ("one word", of("a")),
        ("brackets", of("[")),
        ("tags of message ids", of("[message_id:a]\n")),
        ("open tags of message ids", of("[message_id:")),
        ("tags of message ids in a line", of("[message_id:a] ")),
        ("fences", "[message_id:a]\n".to_owned() + &of("```\n~~~~\n")),
        (
            "longer and longer fences",
            "[message_id:a]\n".to_owned()
                + &(3..).map(|n| "`".repeat(n) + "\n").take((2 * length).isqrt()).collect::<String>(),
        ),
        ("fences with marks in their words", "[message_id:a]\n".to_owned() + &of("```a`b\n")),
        ("indented lines", "[message_id:a]\n".to_owned() + &of("\t [message_id:b]\n")),
        ("a header of times", format!("[{}] x", of("2026-01-02 03:0"))),
        ("headers of channels", of("[WhatsApp a] ")),
        ("context that never ends", of(BEGIN)),
        ("context that never begins", of(END)),
        ("context in context", times(BEGIN, half) + &times(END, half)),
        ("blocks of context", of(&format!("{BEGIN}x\n{END}"))),
        ("context with space around it", of(&format!("{BEGIN}  \t{END} \n\n \n"))),
        ("older contexts", of(&legacy)),
        ("older contexts with events", of(&format!("{legacy}{EVENT}"))),
        ("older contexts whose events never end", legacy.clone() + &of(&format!("{EVENT}{child}"))),
        ("older contexts whose results never end", of(&format!("{legacy}{EVENT}{child}"))),
        ("an older context with a paragraph that never ends", of(&format!("{legacy}{EVENT}")) + &of("a ")),
        ("notices", of(&format!("OpenClaw runtime event. {NOTICE}\n"))),
        ("notices without an end", of("OpenClaw runtime event.\n") + NOTICE),
        ("notices with space", format!("OpenClaw runtime event.{}x {NOTICE}", of(" \n"))),
        ("space before notices", of(" \t\n ") + NOTICE),
        ("words of notices", of("Do not reply to or describe this context. ") + NOTICE),
        ("newlines after a notice", format!("OpenClaw runtime event. {NOTICE}\n") + &of("\n")),
        ("marks of metadata", of(&format!("Sender: {MARKER}\n"))),
        ("metadata that never ends", of(&format!("Sender: {MARKER}\n```json\n"))),
        ("blocks of metadata", of(&format!("Sender: {MARKER}\n```json\n{{}}\n```\n"))),
        ("long metadata", format!("Sender: {MARKER}\n```json\n{{\"label\":\"{}\"}}\n```\n", of("\\u0041`\u{200b}``"))),
        ("paragraphs of metadata", of(&format!("x {MARKER}\na\n\n\n"))),
        ("memory that never ends", of("Context:\n<active_memory_plugin>\n")),
        ("memory that has ended", format!("</active_memory_plugin>\n{}", of("Context:\n<active_memory_plugin>\n"))),
        ("memory that ends last", of("Context:\n<active_memory_plugin>\n") + "</active_memory_plugin>"),
        ("hints of delivery", of("Delivery: to send a message, use the `message` tool.\n")),
        ("nearly hints of delivery", of("Delivery: ")),
        ("times", of("[Sat 2026-01-03 10:00] ")),
        ("heartbeats", of("HEARTBEAT_OK ")),
        ("heartbeats and marks", of("HEARTBEAT_OK!! ")),
        ("heartbeats in marks", of("**") + "HEARTBEAT_OK" + &of("**")),
        ("open tags and a heartbeat", of("<") + "HEARTBEAT_OK"),
        ("open tags, a heartbeat and an end", of("<") + "HEARTBEAT_OK>"),
        ("tags and a heartbeat", of("<b>") + "HEARTBEAT_OK" + &of("</b>")),
        ("hard spaces and a heartbeat", of("&nbsp;") + "HEARTBEAT_OK"),
        (
            "periodic tasks",
            "Run the following periodic tasks (only those due based on their intervals):".to_owned()
                + &of("After completing all due tasks, "),
        ),
        ("silence", of("NO_REPLY ")),
        ("silence in words", "NO_REPLY ".to_owned() + &of("NO_REPL ")),
        ("silence at the end", of("a ") + &of("*NO_REPLY ")),
        ("silence behind asterisks", of("*") + "NO_REPLY"),
        ("silence in punctuation", "NO_REPLY".to_owned() + &of("!?. ")),
        ("silence between punctuation", format!("{}NO_REPLY{}a", of("!"), of("."))),
        ("silence as JSON", format!("\"{}NO_REPLY\"", of("\\n"))),
        ("silence as an action", format!("{{\"action\":\"NO_REPLY{}\"}}", of(" "))),
        ("silence that is no JSON", of("{\"NO_REPLY\":")),
        ("reasoning", of("<think></think>") + "NO_REPLY"),
        ("reasoning that never ends", of("<think>") + "NO_REPLY"),
        ("reasoning in reasoning", of("< think>") + &of("</ think >") + "NO_REPLY"),
        ("reasoning with space", of("<  \n ") + "NO_REPLY"),
        (
            "messages of sessions",
            "[Inter-session message] sourceTool=subagent_announce".to_owned() + &of("[Inter-session message]\n"),
        ),
        ("halves of pairs", of("\u{10f83d}")),
        ("pairs", of("😀")),
        ("space", of(" \u{feff}\u{a0}\n") + "a"),
        ("words of failures", of("timeout rate limi econnre ")),
        ("hosts", format!("http://{}/", of("é.a."))),
        ("one host", format!("http://{}/", of("東"))),
        ("hosts in code", format!("http://{}/", of("xn--a-"))),
        ("users", format!("http://{}a/", of("@:"))),
        ("dots in a path", format!("http://a/{}", of("a/../"))),
        ("dots in code in a path", format!("http://a/{}", of("a/%2e%2E/"))),
        ("up from the start of a path", format!("http://a/{}", of("../"))),
        ("ports", format!("http://a:{}/", of("0"))),
        ("names of files", format!("media://inbound/{}", of("%41%"))),
        ("marks of media", of("media: ")),
    ]
}

/// The places of a message in which a text can stand.
fn around(text: &str) -> Vec<Value> {
    let failed = json!({ "role": "assistant", "stopReason": "error", "errorMessage": text, "content": [] });
    let block = |role: &str| json!({ "role": role, "content": [{ "type": "text", "text": text }] });
    let sent = json!({ "kind": "inter_session", "sourceTool": "sessions_send", "sourceSessionKey": text });
    vec![
        json!({ "role": "user", "content": text }),
        block("user"),
        json!({ "role": "assistant", "content": text }),
        block("assistant"),
        failed,
        json!({ "role": "assistant", "content": [{ "type": "image", "url": text }, { "type": "toolCall", "arguments": text }] }),
        json!({ "role": "toolResult", "toolCallId": "c", "toolName": "n", "content": text, "details": { "diff": text } }),
        json!({ "role": "user", "content": text, "provenance": sent }),
        json!({ "role": "user", "content": "x", "__openclaw": { "media": [{ "path": text, "source": text }] } }),
    ]
}

#[test]
fn a_text_takes_time_in_proportion() {
    let count = texts(1).len();
    let complaints: Vec<_> = (0..count)
        .filter_map(|at| {
            let name = texts(1)[at].0;
            let make = |length: usize| around(&texts(length / 16).swap_remove(at).1);
            grows(name, SHORT, make, |messages| drop(black_box(project(messages, State::default()))))
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Messages that are hard by how many there are, or by what they are made of.
fn crowds() -> Vec<(&'static str, fn(usize) -> Vec<Value>)> {
    fn each(count: usize, message: impl Fn(usize) -> Value) -> Vec<Value> {
        (0..count).map(message).collect()
    }
    fn blocks(count: usize, message: Value, block: impl Fn(usize) -> Value) -> Vec<Value> {
        let mut message = message;
        message["content"] = each(count, block).into();
        vec![message]
    }
    fn nested(depth: usize, block: fn(Value) -> Value) -> Value {
        (0..depth).fold(json!({ "type": "text", "text": "x" }), |inner, _| block(inner))
    }
    fn failed(run: usize) -> Value {
        json!({ "role": "assistant", "stopReason": "error", "content": [], "__openclaw": { "runId": format!("r{run}") } })
    }
    fn answered(run: usize) -> Value {
        json!({ "role": "assistant", "stopReason": "stop", "content": "x", "__openclaw": { "runId": format!("r{run}") } })
    }
    fn spoken(text: String) -> Value {
        json!({ "role": "assistant", "content": [{ "type": "audio" }], "openclawTtsSupplement": { "spokenText": text } })
    }
    vec![
        ("questions", |count| each(count, |_| json!({ "role": "user", "content": "x" }))),
        ("failures of runs", |count| each(count, failed)),
        ("failures of runs, and answers of others", |count| {
            each(count / 2, failed).into_iter().chain(each(count / 2, |at| answered(count + at))).collect()
        }),
        ("failures, each answered at last", |count| {
            each(count / 2, failed).into_iter().chain(each(count / 2, answered).into_iter().rev()).collect()
        }),
        ("heartbeats, none of them answered", |count| {
            each(count, |_| json!({ "role": "user", "content": "[OpenClaw heartbeat poll]" }))
        }),
        ("copies", |count| {
            each(count, |at| {
                let model = if at % 2 == 0 { "acp-runtime" } else { "gateway-injected" };
                json!({ "role": "assistant", "provider": "openclaw", "model": model, "content": "x" })
            })
        }),
        ("sound of one text", |count| {
            let said = json!({ "role": "assistant", "content": "x" });
            std::iter::once(said).chain(each(count, |_| spoken("x".to_owned()))).collect()
        }),
        ("sound of many texts", |count| {
            let said = each(count / 2, |at| json!({ "role": "assistant", "content": at.to_string() }));
            said.into_iter().chain(each(count / 2, |at| spoken(at.to_string())).into_iter().rev()).collect()
        }),
        ("what agents tell each other", |count| {
            let of = json!({
                "kind": "inter_session", "sourceTool": "sessions_send", "sourceRole": "subagent", "sourceSessionKey": "k",
            });
            let told = each(
                count / 2,
                |at| json!({ "role": "user", "content": "x", "provenance": of, "idempotencyKey": format!("r{at}:user") }),
            );
            told.into_iter().chain(each(count / 2, answered)).collect()
        }),
        ("words", |count| blocks(count, json!({ "role": "assistant" }), |_| json!({ "type": "text", "text": "x" }))),
        ("words of a failure", |count| {
            let failed = json!({ "role": "assistant", "stopReason": "error", "errorMessage": "x" });
            blocks(count, failed, |_| json!({ "type": "text", "text": "x" }))
        }),
        ("commentary", |count| {
            let aloud = json!({ "role": "assistant", "phase": "commentary" });
            blocks(count, aloud, |_| json!({ "type": "text", "text": "x", "textSignature": "i" }))
        }),
        ("commentary of many items beside tools", |count| {
            let aloud = json!({ "role": "assistant", "phase": "commentary" });
            blocks(count, aloud, |at| match at % 4 {
                0 => json!({ "type": "toolCall", "id": "c", "name": "n" }),
                _ => json!({ "type": "text", "text": "x", "textSignature": format!("i{at}") }),
            })
        }),
        ("commentary that is signed", |count| {
            blocks(count, json!({ "role": "assistant" }), |at| {
                let signature = json!({ "v": 1, "id": format!("i{at}"), "phase": "commentary" }).to_string();
                json!({ "type": "text", "text": "x", "textSignature": signature })
            })
        }),
        ("images", |count| {
            let meta = json!({ "id": "m", "seq": 1, "transcriptPosition": { "source": "s", "rawSeq": 1 } });
            let message = json!({ "role": "assistant", "__openclaw": meta });
            blocks(count, message, |_| json!({ "type": "image", "data": "x" }))
        }),
        ("results in results", |count| {
            let result: fn(Value) -> Value = |inner| json!({ "type": "toolResult", "content": [inner] });
            blocks(count / 64 + 1, json!({ "role": "toolResult" }), |_| nested(64, result))
        }),
        ("what was typed", |count| {
            let context = json!({ "snapshot": { "page": "p" }, "text": "typed" });
            let message = json!({ "role": "user", "__openclaw": { "workContext": context } });
            blocks(count, message, |_| json!({ "type": "input_text", "text": "x" }))
        }),
        ("files", |count| {
            let facts = each(count, |_| json!({ "path": "/a/media/inbound/b", "contentType": "x" }));
            vec![json!({ "role": "user", "content": "x", "__openclaw": { "media": facts } })]
        }),
        ("conflicts", |count| {
            let paths = each(count, |at| at.to_string().into());
            let details = json!({ "paths": paths, "stagedResultRef": "refs/openclaw/worker-results/a" });
            vec![
                json!({ "role": "custom", "customType": "cloud-workspace-conflict", "details": details, "content": "x" }),
            ]
        }),
        ("members", |count| {
            let mut message = json!({ "role": "assistant", "content": "x", "usage": {}, "cost": {} });
            (0..count).for_each(|at| message[format!("k{at}")] = at.into());
            vec![message]
        }),
    ]
}

#[test]
fn many_messages_and_blocks_take_time_in_proportion() {
    let complaints: Vec<_> = crowds()
        .into_iter()
        .filter_map(|(name, make)| {
            grows(name, 500, make, |messages| drop(black_box(project(messages, State::default()))))
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Values that are hard to read or to write, of about this length.
fn values(length: usize) -> Vec<(&'static str, String)> {
    let of = |text: &str| times(text, length);
    let most = json::MAX_DEPTH;
    vec![
        ("escapes", format!("\"{}\"", of("\\n"))),
        ("backslashes", format!("\"{}\"", of("\\\\"))),
        ("escaped units", format!("\"{}\"", of("\\u0041"))),
        ("escaped halves", format!("\"{}\"", of("\\ud83d"))),
        ("escaped pairs", format!("\"{}\"", of("\\ud83d\\ude00"))),
        ("backslashes before halves", format!("\"{}\\ud83d\"", of("\\\\"))),
        ("an escape that never ends", of("\"\\u")),
        ("digits", of("1")),
        ("digits behind a point", format!("0.{}1", of("0"))),
        ("digits between the smallest numbers", format!("2.4703282292062327208{}1e-324", of("0"))),
        ("digits of an exponent", format!("1e-{}", of("9"))),
        ("numbers", format!("[{}1]", of("0.1,1e99,-0,"))),
        ("deep lists", format!("[{}0]", times(&format!("{}{},", "[".repeat(most - 1), "]".repeat(most - 1)), length))),
        ("lists that never end", of("[")),
        ("ends of lists", of("]")),
        ("objects", format!("[{}0]", of("{\"a\":0},"))),
        ("one key", format!("{{{}\"a\":0}}", of("\"a\":0,"))),
        (
            "keys",
            format!(
                "{{{}\"a\":0}}",
                (0..length / 8).fold(String::new(), |mut keys, at| {
                    let _ = write!(keys, "\"{at}\":0,");
                    keys
                })
            ),
        ),
        ("a long key", format!("{{\"{}\":0}}", of("\\u006b"))),
        ("quotes", of("\"")),
        ("bytes that are no text", format!("\"{}\"", of("\u{fffd}"))),
    ]
}

#[test]
fn json_takes_time_in_proportion() {
    let complaints: Vec<_> = (0..values(1).len())
        .filter_map(|at| {
            let make = |length: usize| values(length).swap_remove(at).1;
            grows(values(1)[at].0, SHORT, make, |text: String| {
                black_box(json::parse(text.as_bytes()).map(|value| value.to_json()));
                let text = json::decode(text.as_bytes());
                black_box(json::members(&text, |key, value| drop(black_box((key, value)))));
            })
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Files that are hard to cut into lines and records, or to put in order, of about this length.
fn files(length: usize) -> Vec<(&'static str, String)> {
    let of = |text: &str| times(text, length);
    let record = |kind: &str, id: &dyn std::fmt::Display, parent: &dyn std::fmt::Display, rest: &str| {
        format!("{{\"type\":\"{kind}\",\"id\":\"{id}\",\"parentId\":\"{parent}\"{rest}}}\n")
    };
    let count = length / 64;
    let each = |record: &dyn Fn(usize) -> String| (0..count).map(record).collect::<String>();
    let message = ",\"message\":{\"role\":\"user\",\"content\":\"x\"}";
    let target = |at: usize| format!(",\"targetId\":\"{at}\"");
    vec![
        ("newlines", of("\n")),
        ("NULs", of("\0")),
        ("lines behind NULs", of("\0\0\0{\"message\":1}\n")),
        ("blank lines", of(" \t\r\n")),
        ("a line that never ends", format!("{{\"message\":\"{}", of("a"))),
        ("records in a line", of("{\"message\":1}")),
        ("records behind a torn one", "{\"message\":\"".to_owned() + &of("{\"message\":1} \0")),
        ("strings behind a torn record", format!("{{\"a\":\"{}}}\n", of("\\\""))),
        ("quotes behind a torn record", format!("{{{}}}\n", of("\""))),
        ("brackets behind a torn record", format!("{{{}\n", of("}"))),
        ("torn records", of("{\"message\":{}\n")),
        ("records in a row", of("{\"message\":{\"role\":\"user\",\"content\":\"x\"}}\n")),
        ("one id", each(&|_| record("message", &1, &1, message))),
        ("a way", each(&|at| record("message", &(at + 1), &at, message))),
        ("a way backwards", each(&|at| record("message", &(count - at), &(count - at + 1), message))),
        ("twigs", each(&|at| record("message", &(at + 1), &0, message))),
        ("leaves", each(&|at| record("leaf", &(at + 1), &at, &target(at)))),
        (
            "leaves and records",
            each(&|at| match at % 2 {
                0 => record("message", &at, &at.saturating_sub(2), message),
                _ => record("leaf", &at, &at, &target(at - 1)),
            }),
        ),
        (
            "leaves of leaves, and records after the last",
            each(&|at| match at {
                0 => record("message", &0, &"-", message),
                at if at < count / 2 => record("leaf", &at, &(at - 1), &target(at - 1)),
                at => record("message", &at, &(count / 2 - 1), message),
            }),
        ),
        ("resets", each(&|at| record("reset", &(at + 1), &at, ",\"firstKeptEntryId\":\"0\""))),
        ("compactions", each(&|at| record("compaction", &(at + 1), &at, ""))),
        ("a ring", each(&|at| record("message", &((at + 1) % count), &at, message))),
    ]
}

const NOW: f64 = 1_800_000_000_000.0;

fn show_all(transcript: &Transcript) {
    for query in ["", "limit=1"] {
        let query = Query::parse(query).expect("a query");
        black_box(transcript.look(|view| history::read(&view, query, NOW)).map(|window| window.page.body("key")))
            .expect("a page");
    }
}

#[test]
fn a_file_takes_time_in_proportion() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("transcript.jsonl");
    let complaints: Vec<_> = (0..files(64).len())
        .filter_map(|at| {
            let make = |length: usize| {
                fs::write(&path, files(length).swap_remove(at).1).expect("a transcript");
                Transcript::new(Place::File(path.clone()))
            };
            grows(files(64)[at].0, SHORT, make, |transcript| show_all(&transcript))
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Records of a session that are hard on what a database knows of them, or on working it out.
fn records() -> Vec<(&'static str, fn(usize) -> Value)> {
    fn of(kind: &str, at: usize, parent: usize) -> Value {
        json!({ "type": kind, "id": format!("r{at}"), "parentId": format!("r{parent}"), "display": true })
    }
    fn message(at: usize, parent: usize) -> Value {
        let mut record = of("message", at, parent);
        record["message"] = json!({ "role": "user", "content": "x" });
        record
    }
    vec![
        ("messages", |at| message(at, at.saturating_sub(1))),
        ("marks", |at| of("custom_message", at, at.saturating_sub(1))),
        ("marks between messages", |at| match at % 2 {
            0 => message(at, at.saturating_sub(1)),
            _ => of("compaction", at, at - 1),
        }),
        ("resets", |at| of("reset", at, at.saturating_sub(1))),
        ("choices of choices, and records after the last", |at| match at {
            0 => message(0, 0),
            at if at % 2 == 0 => message(at, at - 1),
            at => {
                let before = at.saturating_sub(2);
                let mut record = of("leaf", at, before);
                record["targetId"] = format!("r{before}").into();
                record
            }
        }),
    ]
}

/// Puts these records behind the header of the window, as one branch.
fn fill(writer: &mut Writer, records: &[Value]) -> rusqlite::Result<()> {
    let transaction = writer.sqlite.transaction()?;
    let (mut positions, mut messages) = (0, 0);
    for (raw, record) in (1..).zip(records) {
        let has_message = record.get("message").is_some();
        let sql =
            "INSERT INTO transcript_events (session_id, seq, event_json, created_at) VALUES ('window', ?1, ?2, 1)";
        transaction.prepare_cached(sql)?.execute(params![raw, record.to_string()])?;
        let sql = "INSERT INTO transcript_event_identities VALUES ('window', ?1, ?2, ?3, NULL, 1)";
        transaction.prepare_cached(sql)?.execute(params![record["id"].as_str(), raw, record["type"].as_str()])?;
        let sql = "INSERT INTO session_transcript_active_events VALUES ('window', ?1, ?2, ?3, 1)";
        transaction.prepare_cached(sql)?.execute(params![positions, raw, has_message.then_some(messages)])?;
        positions += 1;
        messages += i64::from(has_message);
    }
    let sql = "UPDATE session_transcript_index_state SET indexed_seq = ?1, active_event_count = ?1, active_message_count = ?2";
    transaction.execute(sql, params![positions, messages])?;
    transaction.commit()
}

#[test]
fn a_database_takes_time_in_proportion() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("openclaw-agent.sqlite");
    let complaints: Vec<_> = records()
        .into_iter()
        .flat_map(|record| [(record, false), (record, true)])
        .filter_map(|((name, record), is_behind)| {
            let make = |count: usize| {
                let _ = fs::remove_file(&path);
                let mut writer = Writer::create(&path, "main", 1).expect("a database");
                writer.add_session("k", "window", 1).expect("a session");
                fill(&mut writer, &(0..count).map(record).collect::<Vec<_>>()).expect("records");
                if is_behind {
                    let sql = "UPDATE session_transcript_index_state SET needs_rebuild = 1";
                    writer.sqlite.execute_batch(sql).expect("a database");
                }
                let (database, agent) = (Arc::new(Database::new(&path)), AgentId::main());
                (writer, Transcript::new(Place::Database(Window { database, agent, session: "window".to_owned() })))
            };
            let name = if is_behind { format!("{name}, to be put in order") } else { name.to_owned() };
            grows(&name, 400, make, |(_writer, transcript)| show_all(&transcript))
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
