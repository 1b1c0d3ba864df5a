"""Holds the gateway to its own description with Schemathesis: `openapi.py GATEWAY SCHEMATHESIS`.

All checks are on. Each store is asked by an admin, by a reader and by nobody, while an admin follows a session, and
completions go to a server that refuses what the description does not allow. The session that both stores have is the demo's.
"""

import http.client
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE = 60
SESSION = "agent:main:test-session"
TOKENS = {"admin": "operator.admin", "reader": "operator.read"}
# A time to come, where one is asked for: what is over cannot be waited for.
HOOKS = """
import schemathesis
from hypothesis import strategies

times = strategies.datetimes().map(lambda time: f"29{time:%y-%m-%dT%H:%M:%SZ}")
schemathesis.openapi.format("date-time", times)


@schemathesis.hook
def before_call(context, case, kwargs):
    # Nor a time that was found in an answer.
    if isinstance(case.body, dict) and str(case.body.get("until")).startswith("20"):
        case.body["until"] = "29" + case.body["until"][2:]
"""


# A stream that there is, so that one is renewed.
KNOWN = """
[[operations]]
include-name = "POST /streams/{{id}}/renew"
parameters = {{ id = "{id}" }}
"""


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(200, {"id": "m-1", "object": "list", "data": []})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            asked = json.loads(body)
        except ValueError:
            asked = None
        if not self.is_right(asked):
            error = {"message": "no such request", "type": "invalid_request_error", "param": None, "code": None}
            return self.answer(400, {"error": error})
        if asked.get("stream"):
            return self.answer(200, {"choices": []}, "text/event-stream")
        self.answer(200, {"id": "1"})

    def is_right(self, asked):
        kinds = {"model": str, "stream": bool}
        kinds |= {"messages": list} if "chat" in self.path else {"input": (str, list)}
        return (isinstance(asked, dict) and bool(asked.get("model"))
                and all(isinstance(asked.get(name, name == "stream"), kind) for name, kind in kinds.items()))

    def answer(self, status, body, kind="application/json"):
        body = json.dumps(body)
        if kind == "text/event-stream":
            body = f"data: {body}\n\ndata: [DONE]\n\n"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


def run(command, **more):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)
    return process, process.stdout.readline().split()[-1]


def end(process):
    process.terminate()
    process.stdout.close()
    process.wait(PATIENCE)


def of_files(folder, _binary):
    sessions = folder / "agents/main/sessions"
    sessions.mkdir(parents=True)
    (sessions / "sessions.json").write_text(json.dumps({SESSION: {"sessionId": "story", "updatedAt": 1}}))
    lines = [json.dumps({"message": {"role": "user", "content": f"message {number}"}}) for number in range(9)]
    (sessions / "story.jsonl").write_text("\n".join(lines) + "\n")


def of_a_database(folder, binary):
    with tempfile.TemporaryDirectory() as scratch:
        demo, _ = run([binary, "--demo", "--port=0"], env={**os.environ, "TMPDIR": scratch, "RUST_LOG": "warn"})
        time.sleep(2)
        [state] = [path for path in pathlib.Path(scratch).glob("*/**/agents")]
        shutil.copytree(state, folder / "agents")
        end(demo)


def main(binary, schemathesis):
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    for store in [of_files, of_a_database]:
        for caller in [*TOKENS, None]:
            with tempfile.TemporaryDirectory() as folder:
                ask(pathlib.Path(folder), binary, schemathesis, store, caller, upstream.server_port)


def ask(folder, binary, schemathesis, store, caller, upstream):
    state, hooks = folder / "state", folder / "hooks.py"
    store(state, binary)
    hooks.write_text(HOOKS)
    tokens = [{"id": name, "secret": f"secret-of-{name}", "scopes": [scope]} for name, scope in TOKENS.items()]
    (state / "tokens.json").write_text(json.dumps({"token": tokens}))
    gateway, url = run([
        binary, "--port=0", "--token=shared", f"--state-dir={state}", f"--data-dir={folder}/data",
        f"--tokens={state}/tokens.json", f"--upstream=http://127.0.0.1:{upstream}",
    ], env={**os.environ, "RUST_LOG": "error"})
    followed = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    try:
        followed.request("GET", f"/sessions/{SESSION}/history", headers={
            "Authorization": "Bearer secret-of-admin", "Accept": "text/event-stream"})
        (folder / "schemathesis.toml").write_text(KNOWN.format(id=followed.getresponse().headers["x-stream-id"]))
        began = time.monotonic()
        header = ["--header", f"Authorization: Bearer secret-of-{caller}"] if caller else []
        asked = subprocess.run(
            [schemathesis, "--no-color", "run", f"{url}/openapi.json", *header, "--checks=all", "--max-examples=8",
             "--seed=1", "--request-timeout=10", "--warnings=off"],
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(folder)}, cwd=folder,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        who = f"{store.__name__.replace('_', ' ')}, {caller or 'nobody'}"
        if asked.returncode or gateway.poll() is not None:
            sys.exit(f"{asked.stdout}\nFAILED: the description of the gateway: {who}")
        cases = next(line.strip() for line in asked.stdout.splitlines() if "generated" in line)
        print(f"{who}: {cases}, in {time.monotonic() - began:.1f} s")
    finally:
        followed.close()
        end(gateway)


main(*sys.argv[1:])
