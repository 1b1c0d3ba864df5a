"""Runs real clients through the example of WebSockets, each with an example of its own.

    sockets.py EXAMPLE NAME=COMMAND ...

A client is called with the example's address. It opens two sockets in two ways and prints a line for each thing that
it sees: the first message of each; once the token is revoked, the code and the reason with which each is closed; and that
a third is refused. Any other line is a failure.
"""

import subprocess
import sys
import time
import urllib.request

from scenario import PATIENCE, Client, Failed


class Example:
    def __init__(self, binary):
        self.process = subprocess.Popen([binary, "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]

    def revoke(self):
        urllib.request.urlopen(urllib.request.Request(self.url + "/revoke", method="POST"), timeout=PATIENCE)

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


def story(example, command):
    client = Client(command, example.url)
    try:
        client.sees("one 0 s")
        client.sees("other 0 s")
        example.revoke()
        client.sees("one closed 1008 revoked")
        client.sees("other closed 1008 revoked")
        client.sees("refused")
        client.sees("(no more)")
    finally:
        client.process.terminate()
        client.process.wait(PATIENCE)


def main(binary, *clients):
    for client in clients:
        name, command = client.split("=", 1)
        example, started = Example(binary), time.monotonic()
        try:
            story(example, command.split())
        except Failed as why:
            sys.exit(f"FAILED: {name}: {why}")
        finally:
            example.close()
        print(f"{name}: the whole story, in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
