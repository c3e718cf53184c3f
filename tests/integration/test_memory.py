"""What calls keep in the gateway's memory while they wait, and what keeps that from being all there is."""

import contextlib
import json
import threading
from pathlib import Path

import pytest

from harness import PATIENCE, Purser, wait_until
from raw import CALL, START, STOP, STREAM_HEAD, Client, Vendor, ask, event, text_event

# A stream's own 20 KB and a slot of the recorder, and what the worker may keep for the next bodies.
STREAMS, HELD_BYTES = 300, 30_000
# Codex 0.169 sends a head of this size; the buffer for larger ones is 32 KiB.
LONG_HEAD = "x-codex-turn-metadata: " + "m" * 1300


@pytest.fixture(scope="module")
def vendor():
    vendor = Vendor()
    yield vendor
    vendor.stop()


@pytest.fixture(scope="module")
def purser(vendor):
    purser = Purser(vendor, flags=["--worker-processes", "1"])
    purser.api("PATCH", "/org/budgets", {"exempt": True}, org=purser.default_org())
    yield purser
    purser.stop()


@pytest.fixture
def agent(purser, vendor):
    vendor.reset()
    agent = purser.new_agent()
    yield agent
    agent.stop()


def private_bytes(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def is_sanitized(pid):
    return "libasan" in Path(f"/proc/{pid}/maps").read_text()  # which has a use for memory itself


def test_a_waiting_stream_holds_little_and_not_its_body(purser, vendor, agent):
    go_on = threading.Event()
    vendor.play = lambda call: (call.read(), call.send(STREAM_HEAD, START, text_event("a")), go_on.wait(30 * PATIENCE),
                                call.send_and_close(STOP))
    (worker,) = purser.worker_pids()
    before, clients = private_bytes(worker), []
    try:
        for _ in range(STREAMS):
            clients.append(Client(agent).send(LONG_HEAD, body=ask("y" * 85_000)))
        heads = [client.head() for client in clients]
        assert {status for status, _ in heads} == {200}
        # What was freed goes back to the kernel a little later.
        wait_until(lambda: is_sanitized(worker) or private_bytes(worker) - before < STREAMS * HELD_BYTES,
                   "no more to be held than streams need")
        go_on.set()
        for client, (_, headers) in zip(clients, heads):
            assert client.body(headers) == START + text_event("a") + STOP
    finally:
        go_on.set()
        for client in clients:
            client.leave()


def test_a_stream_is_the_same_whether_it_trickles_or_pours(vendor, agent):
    """The buffer that it is read through becomes smaller and larger with it."""
    seen = threading.Semaphore(0)
    pieces = [START]
    for n in (1, 2030, 2048, 2049, 5000, 1, 16384, 16385, 70_000, 1, 1, 40_000, 2048, 2048, 3):
        pieces += [event("content_block_delta", delta={"type": "text_delta", "text": "z" * n})]
    pieces += [STOP]

    def play(call):
        call.read()
        call.send(STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nx-long: " + b"h" * 12_000 + b"\r\n\r\n"))
        for piece in pieces:
            call.send(piece)
            assert seen.acquire(timeout=20 * PATIENCE)
        call.open = False

    vendor.play = play
    client = Client(agent).send()
    status, headers = client.head()
    assert status == 200 and len(headers["x-long"][0]) == 12_000
    told = b""
    for i in range(len(pieces)):
        while len(told) < sum(map(len, pieces[:i + 1])):
            size = int(client.file.readline(), 16)
            told += client.file.read(size)
            client.file.readline()
        seen.release()
    assert told == b"".join(pieces)
    client.leave()
    (row,) = agent.wait_entries(1)
    assert (row["state"], row["certainty"], row["output_tokens"]) == ("settled", "exact", 7)


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"], ids=["of one byte", "of 64 KiB"])
def test_a_body_without_a_length_is_refused_before_it_fills_the_memory(purser, vendor, agent, chunk):
    """36 MB of it would be more than the buffer: nginx would write them into a file."""
    (worker,) = purser.worker_pids()
    before, written = private_bytes(worker), len(purser.log())
    client = Client(agent)
    client.socket.sendall(f"POST {CALL} HTTP/1.1\r\nHost: x\r\nx-api-key: {agent.token}\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n".encode())
    with contextlib.suppress(OSError):
        for _ in range(36):
            client.socket.sendall(chunk * (1_000_000 // len(chunk)))
    status, headers, body = client.answer()
    assert (status, headers["x-purser-code"]) == (411, ["LENGTH_REQUIRED"]), body
    assert is_sanitized(worker) or private_bytes(worker) - before < 16 << 20
    assert "/tmp/body" not in purser.log()[written:] and vendor.calls == []
    client.leave()


def test_large_bodies_wait_their_turn_and_small_ones_pass(vendor, agent):
    """32 of 32 MiB are as many as a worker takes at a time; those whose clients only said so count, too."""
    head = f"POST {CALL} HTTP/1.1\r\nHost: x\r\nx-api-key: {agent.token}\r\nContent-Length: {32 << 20}\r\n\r\n".encode()
    clients = [Client(agent) for _ in range(32)]
    try:
        for client in clients:
            client.socket.sendall(head)

        def is_refused():
            told = agent.post(content=b" " * 2_000_000)
            return told.status_code == 503 and told.headers["x-purser-code"] == "UPLOADS_BUSY" and told.headers["retry-after"]

        wait_until(is_refused, "the large bodies to be noticed")
        assert agent.post(json.loads(ask("y" * 900_000))).status_code == 200
    finally:
        for client in clients:
            client.leave()
    large = json.loads(ask("y" * 2_000_000))
    wait_until(lambda: agent.post(large).status_code == 200, "room for a large body")
