"""The official Python client of MCP against `examples/mcp.rs`: `mcp_client.py <the example's program>`.

Each of it in both of the protocol's shapes: with a handshake and a session, and without."""

import subprocess
import sys

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

URL = "http://127.0.0.1:3001/mcp"


def bearer(token):
    return httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=10)


def connect(token, mode):
    return Client(streamable_http_client(URL, http_client=bearer(token)), mode=mode)


def text(result):
    assert not result.is_error, result
    return result.content[0].text


async def strangers_find_the_way():
    refused = await anyio.to_thread.run_sync(lambda: httpx2.post(URL, json={}))
    assert refused.status_code == 401, refused
    challenge = refused.headers["www-authenticate"]
    assert 'scope="files:read"' in challenge, challenge
    url = challenge.split('resource_metadata="')[1].split('"')[0]
    # On a connection of its own: a server may close one whose request it refused without reading its body.
    document = (await anyio.to_thread.run_sync(lambda: httpx2.get(url))).json()
    assert document["resource"] == URL, document
    assert document["authorization_servers"] == ["https://login.example.com"], document


async def a_tool_that_takes_more_scope(mode):
    async with connect("reader", mode) as reader:
        assert {tool.name for tool in (await reader.list_tools()).tools} == {"watch", "delete", "sign_out"}
        try:
            raise AssertionError(await reader.call_tool("delete"))
        except MCPError as error:
            print(f"  {mode}: delete by a reader: {error}")
    async with connect("writer", mode) as writer:
        assert text(await writer.call_tool("delete")) == "deleted"
    async with bearer("reader") as http:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "delete"}}
        refused = await http.post(URL, json=call, headers={"accept": "application/json, text/event-stream"})
        assert refused.status_code == 403, refused
        challenge = refused.headers["www-authenticate"]
        for part in ['error="insufficient_scope"', "files:write", "resource_metadata="]:
            assert part in challenge, challenge


async def a_stream_is_cut_by_revocation(token, mode):
    """Two sessions of one token: what one does, the other one feels."""
    changes, failures = 0, []

    async def watch(client, seen):
        async def progress(*_):
            nonlocal changes
            changes += 1
            seen.set()

        try:
            failures.append(await client.call_tool("watch", progress_callback=progress))
        except MCPError as error:
            failures.append(error)

    async with connect(token, mode) as watching, connect(token, mode) as other, anyio.create_task_group() as group:
        seen = anyio.Event()
        group.start_soon(watch, watching, seen)
        with anyio.fail_after(10):
            await seen.wait()
            try:
                await other.call_tool("sign_out")
            except MCPError:
                pass  # Its own answer may be cut.
            while not failures:
                await anyio.sleep(0.01)
    [error] = failures
    print(f"  {mode}: watch after {changes} changes: {error!r}")
    assert isinstance(error, MCPError) and error.error.code == 401, error
    assert error.error.data == {"reason": "revoked", "reconnect": False}, error.error
    async with bearer(token) as http:
        assert (await http.post(URL, json={})).status_code == 401


async def a_session_is_its_callers():
    initialize = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    begin = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    accept = {"accept": "application/json, text/event-stream"}
    async with bearer("writer") as writer, bearer("reader") as reader:
        begun = await writer.post(URL, json=begin, headers=accept)
        named = {**accept, "mcp-session-id": begun.headers["mcp-session-id"]}
        assert (await reader.post(URL, json=call, headers=named)).status_code == 404
        initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert (await writer.post(URL, json=initialized, headers=named)).status_code == 202
        async with writer.stream("POST", URL, json=call, headers=named) as listed:
            assert listed.status_code == 200, listed
    print("  a session's id is of no use to another caller")


async def main(program):
    for mode in ["legacy", "auto"]:
        server = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
        try:
            assert "listening" in server.stdout.readline()
            await strangers_find_the_way()
            await a_tool_that_takes_more_scope(mode)
            await a_session_is_its_callers()
            await a_stream_is_cut_by_revocation("reader", mode)
        finally:
            server.kill()
            server.wait()


anyio.run(main, sys.argv[1])
