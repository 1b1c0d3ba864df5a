"""The official Python client of OpenAI against `examples/llm.rs`: `llm_client.py <the example's program>`."""

import subprocess
import sys
import time

import httpx2
import openai

HERE = "http://127.0.0.1:3002"


def client(token):
    return openai.OpenAI(base_url=f"{HERE}/v1", api_key=token, max_retries=0, timeout=10)


def chat(token):
    return client(token).chat.completions.create(
        model="m", stream=True, messages=[{"role": "user", "content": "talk"}])


def words(stream, count):
    return "".join(chunk.choices[0].delta.content for chunk, _ in zip(stream, range(count)))


def refusal(call):
    try:
        call()
    except openai.APIError as error:
        return error
    raise AssertionError("it was let in")


def main(program):
    server = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
    try:
        server.stdout.readline()
        token = httpx2.post(f"{HERE}/token").text
        stream = chat(token)
        assert words(stream, 3) == "word 0 word 1 word 2 "

        # The issuer takes its key back: the stream ends by an error that the client knows for one.
        httpx2.post(f"{HERE}/rotate")
        began = time.monotonic()
        error = refusal(lambda: list(stream))
        took = time.monotonic() - began
        print(f"  the stream ended {took:.2f} s after its key: {error}")
        assert "revoked" in str(error) and took < 3, error

        assert refusal(lambda: chat(token)).status_code == 401
        token = httpx2.post(f"{HERE}/token").text
        assert words(chat(token), 2) == "word 0 word 1 "
        for changed in [token[:-8] + "AAAAAAAA", "opaque"]:
            assert refusal(lambda: chat(changed)).status_code == 401

        # A page of another origin may ask, and read why it was refused.
        preflight = httpx2.options(f"{HERE}/v1/chat/completions", headers={
            "origin": "https://app.example", "access-control-request-method": "POST"})
        assert preflight.status_code == 200, preflight
        refused = httpx2.post(f"{HERE}/v1/chat/completions", headers={"origin": "https://app.example"})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*"), refused

        metrics = httpx2.get(f"{HERE}/metrics").text
        for line in [
            'tower_reauth_streams_ended_total{reason="revoked"} 1',
            'tower_reauth_refused_total{reason="rejected",rejection="bad_signature"} 1',
            'tower_reauth_refused_total{reason="rejected",rejection="malformed"} 1',
            'tower_reauth_refused_total{reason="rejected",rejection="unknown_key"} 1',
            'tower_reauth_refused_total{reason="missing"} 1',
        ]:
            assert line in metrics, f"{line}\n{metrics}"
    finally:
        server.terminate()


main(sys.argv[1])
