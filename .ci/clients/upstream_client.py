"""OpenAI's client for Python, and beside it the same key's session history."""

import sys

import httpx2
import openai

url, key, session = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=30)
history = {"url": f"{url}/sessions/{session}/history", "headers": {"Authorization": f"Bearer {key}"}}
talk = {"model": "m-1", "messages": [{"role": "user", "content": "ping"}]}


def say(*words):
    print(*words, flush=True)


def first(stream, word):
    words = []
    for item in stream:
        words.append(word(item))
        if len(words) == 3:
            return ", ".join(words)


def raised(stream):
    try:
        for _ in stream:
            pass
        return "nothing"
    except openai.APIError as error:
        return error.code


say("models", *[model.id for model in client.models.list()])
say("completion", client.chat.completions.create(**talk).choices[0].message.content)
say("response", client.responses.create(model="m-1", input="ping").output_text)
say("history", len(httpx2.get(**history).json()["messages"]))
followed = httpx2.Client(timeout=30).stream("GET", history["url"], headers={
    **history["headers"], "Accept": "text/event-stream"})
with followed as live:
    lines = live.iter_lines()
    next(line for line in lines if line == "event: history")
    say("follows the history")
    chat = client.chat.completions.create(**talk, stream=True)
    say("completes", first(chat, lambda chunk: chunk.choices[0].delta.content))
    response = client.responses.create(model="m-1", input="ping", stream=True)
    say("responds", first(response, lambda event: event.delta))
    say("completion raised", raised(chat))
    say("response raised", raised(response))
    for _ in lines:
        pass
    say("the history ended")
try:
    client.models.list()
except openai.AuthenticationError as error:
    say("refused", error.status_code)
