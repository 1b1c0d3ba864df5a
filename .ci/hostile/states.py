"""A state folder of both kinds: the sessions of one agent are files, those of the other are in a database. They are written as
OpenClaw writes them, a text at a time, each a number one more than that before, and when it was written."""

import json
import os
import sqlite3
import time

FILES, DATABASE = "main", "base"

# What the gateway reads of OpenClaw's tables.
TABLES = """
CREATE TABLE schema_meta (meta_key TEXT PRIMARY KEY, role TEXT, schema_version INTEGER, agent_id TEXT, app_version TEXT,
    created_at INTEGER, updated_at INTEGER);
CREATE TABLE session_nodes (session_key TEXT PRIMARY KEY, current_session_id TEXT, entry_json TEXT, updated_at INTEGER);
CREATE TABLE session_windows (session_id TEXT PRIMARY KEY, session_key TEXT, previous_session_id TEXT, reason TEXT,
    created_at INTEGER, updated_at INTEGER, transcript_updated_at INTEGER);
CREATE TABLE transcript_events (session_id TEXT, seq INTEGER, event_json TEXT, created_at INTEGER, event_zstd BLOB,
    event_utf8_bytes INTEGER, navigation_json TEXT, PRIMARY KEY (session_id, seq));
CREATE TABLE transcript_event_identities (session_id TEXT, event_id TEXT, seq INTEGER, event_type TEXT, parent_id TEXT,
    created_at INTEGER, PRIMARY KEY (session_id, event_id));
CREATE TABLE transcript_rewrite_watermarks (session_id TEXT PRIMARY KEY, generation TEXT, updated_at INTEGER);
CREATE TABLE session_transcript_index_state (session_id TEXT PRIMARY KEY, indexed_seq INTEGER, leaf_event_id TEXT,
    needs_rebuild INTEGER, active_event_count INTEGER, active_message_count INTEGER, updated_at INTEGER);
CREATE TABLE session_transcript_active_events (session_id TEXT, active_position INTEGER, event_seq INTEGER,
    message_position INTEGER, context_eligible INTEGER, PRIMARY KEY (session_id, active_position));
CREATE TABLE session_transcript_cold_archives (session_id TEXT PRIMARY KEY, generation TEXT, archive_name TEXT,
    archive_sha256 TEXT, event_count INTEGER, raw_bytes INTEGER, archive_bytes INTEGER, last_seq INTEGER,
    archived_at INTEGER, storage TEXT, archive_blob BLOB);
PRAGMA user_version = 23;
"""


class State:
    def __init__(self, folder, sessions):
        """As many sessions of each kind."""
        self.folder = folder
        self.files = os.path.join(folder, "agents", FILES, "sessions")
        self.path = os.path.join(folder, "agents", DATABASE, "agent", "openclaw-agent.sqlite")
        os.makedirs(self.files)
        os.makedirs(os.path.dirname(self.path))
        self.settings = os.path.join(folder, "openclaw.json")
        with open(self.settings, "w") as settings:
            # Who is refused here is refused often.
            json.dump({"gateway": {"auth": {"rateLimit": {"maxAttempts": 1000000}}}}, settings)
        # The last number of each session; in the database, how many messages it has.
        self.shown, self.places = {}, {}
        rows = {f"agent:{FILES}:s{n}": {"sessionId": f"s{n}", "updatedAt": 1} for n in range(sessions)}
        self.rows = os.path.join(self.files, "sessions.json")
        with open(self.rows, "w") as lines:
            json.dump(rows, lines)
        self.sqlite = self.connection()
        self.sqlite.executescript("BEGIN;" + TABLES + "COMMIT;")
        self.sqlite.execute("INSERT INTO schema_meta VALUES ('primary', 'agent', 23, ?, '2026.9.6', 1, 1)", (DATABASE,))
        for n in range(sessions):
            self._add_session(f"agent:{DATABASE}:s{n}", f"s{n}")
        for session in [*rows, *(f"agent:{DATABASE}:s{n}" for n in range(sessions))]:
            self.shown[session] = 0
            self.append(session)
            self.append(session)

    @property
    def sessions(self):
        return list(self.shown)

    def of(self, kind):
        return [session for session in self.shown if session.split(":")[1] == kind]

    def transcript(self, session):
        """The file of one of the files."""
        return os.path.join(self.files, session.split(":")[2] + ".jsonl")

    def connection(self):
        sqlite = sqlite3.connect(self.path, isolation_level=None, timeout=20)
        sqlite.execute("PRAGMA journal_mode = wal")
        sqlite.execute("PRAGMA synchronous = off")
        return sqlite

    def append(self, session, padding=""):
        """Adds the next message."""
        _, kind, name = session.split(":")
        if kind == FILES:
            line = self.next_line(session, padding)
            with open(self.transcript(session), "a") as lines:
                lines.write(line)
        else:
            self._commit(name, *self._next(session, padding))

    def next_line(self, session, padding=""):
        """The next message of one of the files, for who writes it."""
        number, message = self._next(session, padding)
        return json.dumps({"type": "message", "id": f"m{number}", "message": message}) + "\n"

    def _next(self, session, padding):
        self.shown[session] += 1
        number = self.shown[session]
        return number, {"role": "user", "content": f"{number} {time.time():.6f} {padding}"}

    def compact(self, session):
        """Leaves the last two messages."""
        last = self.shown[session]
        _, kind, name = session.split(":")
        messages = [(number, {"role": "user", "content": f"{number} 0"}) for number in (last - 1, last)]
        if kind == FILES:
            path = self.transcript(session)
            with open(path + ".new", "w") as lines:
                for number, message in messages:
                    lines.write(json.dumps({"type": "message", "id": f"m{number}", "message": message}) + "\n")
            os.rename(path + ".new", path)
            return
        self.sqlite.execute("BEGIN IMMEDIATE")
        for table in ("transcript_event_identities", "session_transcript_active_events"):
            self.sqlite.execute(f"DELETE FROM {table} WHERE session_id = ?", (name,))
        self.sqlite.execute("DELETE FROM transcript_events WHERE session_id = ? AND seq > 0", (name,))
        self.sqlite.execute("UPDATE transcript_rewrite_watermarks SET generation = hex(randomblob(16)) WHERE session_id = ?",
                            (name,))
        self.places[name] = 0
        for number, message in messages:
            self._add(name, number, message)
        self.sqlite.execute("COMMIT")

    def append_to_all(self):
        for session in self.sessions:
            self.append(session)

    def append_until(self, session, bytes):
        """Adds messages until they are as many bytes."""
        for _ in range(bytes // 4096 + 1):
            self.append(session, "x" * 4096)

    def _add_session(self, key, session):
        entry = json.dumps({"sessionId": session, "updatedAt": 1})
        with_header = json.dumps({"type": "session", "version": 4, "id": session})
        self.sqlite.execute("BEGIN IMMEDIATE")
        self.sqlite.execute("INSERT INTO session_nodes VALUES (?, ?, ?, 1)", (key, session, entry))
        self.sqlite.execute("INSERT INTO session_windows VALUES (?, ?, NULL, 'initial', 1, 1, 1)", (session, key))
        self.sqlite.execute("INSERT INTO transcript_rewrite_watermarks VALUES (?, hex(randomblob(16)), 1)", (session,))
        self.sqlite.execute("INSERT INTO transcript_events (session_id, seq, event_json, created_at) VALUES (?, 0, ?, 1)",
                            (session, with_header))
        self.sqlite.execute("INSERT INTO session_transcript_index_state VALUES (?, 0, NULL, 0, 0, 0, 1)", (session,))
        self.sqlite.execute("COMMIT")

    def _commit(self, session, number, message):
        self.sqlite.execute("BEGIN IMMEDIATE")
        self._add(session, number, message)
        self.sqlite.execute("COMMIT")

    def _add(self, session, number, message):
        before = self.places.get(session, 0)
        place = self.places[session] = before + 1
        parent = f"m{number - 1}" if before else None
        record = json.dumps({"type": "message", "id": f"m{number}", "parentId": parent, "message": message})
        self.sqlite.execute("INSERT INTO transcript_events (session_id, seq, event_json, created_at) VALUES (?, ?, ?, 1)",
                            (session, place, record))
        self.sqlite.execute("INSERT INTO transcript_event_identities VALUES (?, ?, ?, 'message', ?, 1)",
                            (session, f"m{number}", place, parent))
        self.sqlite.execute("INSERT INTO session_transcript_active_events VALUES (?, ?, ?, ?, 1)",
                            (session, before, place, before))
        self.sqlite.execute("UPDATE session_transcript_index_state SET indexed_seq = ?, leaf_event_id = ?,"
                            " active_event_count = ?, active_message_count = ? WHERE session_id = ?",
                            (place, f"m{number}", place, place, session))
