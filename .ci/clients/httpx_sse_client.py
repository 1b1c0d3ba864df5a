"""httpx-sse from PyPI."""

import json
import sys

import httpx
from httpx_sse import connect_sse

url, token = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}"}
with httpx.Client(timeout=60) as client:
    with connect_sse(client, "GET", url, headers=headers) as source:
        for event in source.iter_sse():
            if event.event == "history":
                print("history", flush=True)
            # It makes an event of a lone `retry` too, one without data, which a browser would not.
            elif event.data:
                print("message", json.loads(event.data)["message"]["content"], flush=True)
    print("ended", flush=True)
    with connect_sse(client, "GET", url, headers=headers) as source:
        print("refused", source.response.status_code, flush=True)
