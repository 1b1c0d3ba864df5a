"""Runs real clients through one story, one after the other.

    scenario.py GATEWAY NAME=COMMAND ...

A client is called with the address of a history and a token, and prints a line for each thing that it
sees. The story: the history; a message that is appended while it looks on; the token is rotated and
the stream ends; the client comes again and is refused. The browser's EventSource is also cut once, and
has to go on with the message that it missed, without the history again. Any other line is a failure.
"""

import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

PATIENCE = 30
SESSION = "agent:main:story"


class Failed(Exception):
    pass


class Gateway:
    """A gateway on a scratch folder with one session."""

    def __init__(self, binary, folder, *flags):
        self.sessions = folder / "agents/main/sessions"
        self.sessions.mkdir(parents=True)
        (self.sessions / "sessions.json").write_text(json.dumps({SESSION: {"sessionId": "story", "updatedAt": 1}}))
        (self.sessions / "story.jsonl").write_text("")
        self.token_file = folder / "token"
        self.token_file.write_text("first")
        command = [binary, "--port=0", "--auth=token", f"--state-dir={folder}", f"--token-file={self.token_file}", *flags]
        quiet = {**os.environ, "RUST_LOG": "warn"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet)
        self.url = self.process.stdout.readline().split()[-1] + f"/sessions/{SESSION}/history"

    def append(self, text):
        with open(self.sessions / "story.jsonl", "a") as transcript:
            transcript.write(json.dumps({"message": {"role": "user", "content": text}}) + "\n")

    def rotate(self, token):
        new = self.token_file.with_suffix(".new")
        new.write_text(token)
        new.rename(self.token_file)

    def accepts(self, token):
        request = urllib.request.Request(self.url, headers={"Authorization": f"Bearer {token}"})
        try:
            return urllib.request.urlopen(request, timeout=PATIENCE).status == 200
        except urllib.error.HTTPError:
            return False

    def close(self):
        self.process.terminate()
        if self.process.wait(PATIENCE) != 0:
            raise Failed("the gateway ended badly")


class Client:
    def __init__(self, command, *arguments):
        self.process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put("(no more)")

    def sees(self, expected):
        """The line that comes next has to be this one."""
        try:
            line = self.lines.get(timeout=PATIENCE)
        except queue.Empty:
            line = "(nothing)"
        if line != expected:
            raise Failed(f"expected {expected}, got {line}")


def story(gateway, name, command):
    token = f"token-of-{name}"
    gateway.rotate(token)
    deadline = time.monotonic() + PATIENCE
    while not gateway.accepts(token):
        if time.monotonic() > deadline:
            raise Failed("the gateway does not take a new token")
        time.sleep(0.05)

    client = Client(command, gateway.url, token)
    try:
        client.sees("history")
        gateway.append(f"live for {name}")
        client.sees(f"message live for {name}")
        if name == "chromium-eventsource":
            client.sees("cut")
            gateway.append(f"missed by {name}")
            client.sees("came again in time")
            client.sees(f"message missed by {name}")
        gateway.rotate("another")
        client.sees("ended")
        client.sees("refused 401")
        client.sees("(no more)")
    finally:
        client.process.terminate()
        client.process.wait(PATIENCE)


def main(binary, *clients):
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(binary, pathlib.Path(folder))
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
