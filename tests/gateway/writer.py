"""Commits one message after the other to the session of a database, and prints the number of each.

    writer.py PATH FIRST BYTES [MOST]

BYTES is the size of a message. No file may grow beyond MOST bytes, as on a full disk; then `full` is printed, and a line
on the input makes room. It ends when it is killed.
"""

import json
import resource
import signal
import sqlite3
import sys

SESSION = "window-1"

path, number, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if len(sys.argv) > 4:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), hard))

sqlite = sqlite3.connect(path, isolation_level=None)
sqlite.execute("PRAGMA journal_mode = wal")
sqlite.execute("PRAGMA synchronous = normal")


def commit(number):
    parent = f"m{number - 1}" if number > 1 else None
    message = {"role": "user", "content": f"message {number} " + "x" * size}
    record = {"type": "message", "id": f"m{number}", "parentId": parent, "message": message}
    sqlite.execute("BEGIN IMMEDIATE")
    sqlite.execute(
        "INSERT INTO transcript_events (session_id, seq, event_json, created_at) VALUES (?, ?, ?, 1)",
        (SESSION, number, json.dumps(record)),
    )
    sqlite.execute(
        "INSERT INTO transcript_event_identities VALUES (?, ?, ?, 'message', ?, 1)",
        (SESSION, f"m{number}", number, parent),
    )
    sqlite.execute(
        "INSERT INTO session_transcript_active_events VALUES (?, ?, ?, ?, 1)",
        (SESSION, number - 1, number, number - 1),
    )
    sqlite.execute(
        "UPDATE session_transcript_index_state SET indexed_seq = ?, leaf_event_id = ?, active_event_count = ?,"
        " active_message_count = ? WHERE session_id = ?",
        (number, f"m{number}", number, number, SESSION),
    )
    sqlite.execute("COMMIT")


while True:
    try:
        commit(number)
    except sqlite3.OperationalError:
        if sqlite.in_transaction:
            sqlite.execute("ROLLBACK")
        print("full", flush=True)
        sys.stdin.readline()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        continue
    print(number, flush=True)
    number += 1
