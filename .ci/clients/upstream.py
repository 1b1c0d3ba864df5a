"""Runs OpenAI's own clients through one story, one after the other, against a gateway with `--upstream`.

    upstream.py GATEWAY NAME=COMMAND ...

A client is called with the gateway's address and a key, and prints a line for each thing that it sees. The story: one
key asks for models, completes in JSON and reads its session's history; then it follows a completion, a response and
the history over several heartbeats, the key is rotated, and each of the clients raises. Any other line is a failure.
"""

import http.server
import json
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from scenario import PATIENCE, SESSION, Client, Failed, Gateway

KEY = "key-of-the-gateway"
WORDS = {
    "/v1/chat/completions": lambda number: ("", {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "delta": {"content": f"word {number}"}, "finish_reason": None}]}),
    "/v1/responses": lambda number: ("event: response.output_text.delta\n", {
        "type": "response.output_text.delta", "sequence_number": number, "item_id": "i", "output_index": 0,
        "content_index": 0, "logprobs": [], "delta": f"word {number}"}),
}
WHOLE = {
    "/v1/models": {"object": "list", "data": [{"id": "m-1", "object": "model", "created": 1, "owned_by": "us"}]},
    "/v1/chat/completions": {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "pong"}, "finish_reason": "stop"}]},
    "/v1/responses": {
        "id": "resp-1", "object": "response", "created_at": 1, "model": "m-1", "status": "completed",
        "output": [{"id": "i", "type": "message", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "pong", "annotations": []}]}]},
}


class Upstream(http.server.BaseHTTPRequestHandler):
    """A server of the API that never ends a stream, and remembers how many of them were left."""

    protocol_version = "HTTP/1.1"
    left = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer({})

    def do_POST(self):
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, asked):
        if self.headers["Authorization"] != f"Bearer {KEY}":
            return self.send_error(401)
        if not asked.get("stream"):
            body = json.dumps(WHOLE[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return self.wfile.write(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for number in range(1000):
                name, event = WORDS[self.path](number)
                self.wfile.write(f"{name}data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
                time.sleep(0.8 if number == 0 else 0.1)
        except OSError:
            self.left.append(time.monotonic())


def story(gateway, name, command):
    token = f"token-of-{name}"
    gateway.rotate(token)
    deadline = time.monotonic() + PATIENCE
    while not gateway.accepts(token):
        if time.monotonic() > deadline:
            raise Failed("the gateway does not take a new token")
        time.sleep(0.05)

    Upstream.left.clear()
    client = Client(command, gateway.url.removesuffix(f"/sessions/{SESSION}/history"), token, SESSION)
    try:
        for line in ["models m-1", "completion pong", "response pong", "history 1", "follows the history",
                     "completes word 0, word 1, word 2", "responds word 0, word 1, word 2"]:
            client.sees(line)
        gateway.rotate("another")
        rotated = time.monotonic()
        for line in ["completion raised revoked", "response raised revoked", "the history ended", "refused 401",
                     "(no more)"]:
            client.sees(line)
        time.sleep(0.5)
        if len(Upstream.left) != 2 or max(Upstream.left) - rotated > 1:
            raise Failed(f"the upstream was left {[left - rotated for left in Upstream.left]} s after the rotation")
    finally:
        client.process.terminate()
        client.process.wait(PATIENCE)


def certify(upstream):
    """Has it speak TLS, by a certificate that nobody trusts but who is told to."""
    room = tempfile.TemporaryDirectory()
    certificate, key = pathlib.Path(room.name) / "certificate.pem", pathlib.Path(room.name) / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=upstream", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    upstream.socket = context.wrap_socket(upstream.socket, server_side=True, do_handshake_on_connect=False)
    # The folder is to be there for as long as the process is.
    upstream.room = room
    return certificate


def main(binary, *clients):
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    certificate = certify(upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        key = pathlib.Path(folder) / "upstream-key"
        key.write_text(KEY)
        # By what variable OpenSSL, and with it the gateway, finds those whom the machine trusts.
        os.environ["SSL_CERT_FILE"] = str(certificate)
        gateway = Gateway(binary, pathlib.Path(folder), "--heartbeat=200ms", f"--upstream-key-file={key}",
                          f"--upstream=https://127.0.0.1:{upstream.server_port}")
        gateway.append("before")
        try:
            for client in clients:
                name, command = client.split("=", 1)
                started = time.monotonic()
                try:
                    story(gateway, name, command.split())
                except Failed as why:
                    sys.exit(f"FAILED: {name}: {why}")
                print(f"{name}: the whole story, in {time.monotonic() - started:.1f} s")
        finally:
            gateway.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
