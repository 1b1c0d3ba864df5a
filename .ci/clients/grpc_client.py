"""The official Python client of gRPC against `examples/grpc.rs`: `grpc_client.py <the example's program>`."""

import subprocess
import sys
import time
import urllib.parse
import urllib.request

import grpc

PROVIDER = "http://127.0.0.1:3003"


def text(message):
    """A `google.protobuf.StringValue`: its one field, a text shorter than 128 bytes."""
    assert message == b"" or message[0] == 0x0A and message[1] == len(message) - 2, message
    return message[2:].decode()


def watch(channel, token):
    call = channel.unary_stream("/clock.Clock/Watch", lambda empty: b"", text)
    metadata = [("authorization", f"Bearer {token}")] if token else []
    return call(None, metadata=metadata, timeout=20, wait_for_ready=True)


def refused(call):
    try:
        next(call)
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError("it was let in")


def revoke(token):
    form = urllib.parse.urlencode({"token": token}).encode()
    with urllib.request.urlopen(f"{PROVIDER}/revoke", form, timeout=5) as response:
        assert response.status == 200, response.status


def scenario():
    with grpc.insecure_channel("127.0.0.1:3002") as channel:
        for token in ("", "opaque-124"):
            assert refused(watch(channel, token)) == grpc.StatusCode.UNAUTHENTICATED, token
        calls = [watch(channel, "opaque-123") for _ in range(3)]
        # A text that is empty is left out of its message.
        assert [[next(call) for _ in range(3)] for call in calls] == [["0", "1", "2"]] * 3
        revoke("opaque-123")
        began = time.monotonic()
        for call in calls:
            try:
                for _ in call:
                    pass
                raise AssertionError("the call ended as if it were complete")
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
        # The age of the cache, a heartbeat, and room for a machine that is busy.
        assert time.monotonic() - began < 6
        assert refused(watch(channel, "opaque-123")) == grpc.StatusCode.UNAUTHENTICATED


server = subprocess.Popen([sys.argv[1]], stdout=subprocess.PIPE, text=True)
try:
    assert server.stdout.readline().startswith("listening on "), "the example does not start"
    scenario()
finally:
    server.kill()
    server.wait()
print("grpcio: let in, refused, and three calls ended by a token that is no longer active")
