"""Clients that speak HTTP/2: many calls on one connection, left one by one, and what a reload does to them."""

import contextlib
import json
import os
import select
import signal
import socket
import ssl
import threading

import pytest

from harness import MODEL, PATIENCE, children, command_of, wait_until
from raw import BIG, BOUND, START, STOP, STREAM_HEAD, Client, Vendor, answer, ask, message, text_event
from registries import lives_at, registry_file, with_fields
from tls import H2Client, TlsPurser, make_certificate

SETTLED, ABORTED = ("settled", "exact"), ("aborted", "estimated")


@pytest.fixture(scope="module")
def certificate():
    return make_certificate()


@pytest.fixture(scope="module")
def shared_sim():
    vendor = Vendor()
    yield vendor
    vendor.stop()


@pytest.fixture(scope="module")
def shared_purser(shared_sim, certificate):
    purser = TlsPurser(shared_sim, certificate, ["--worker-processes", "1"])
    yield purser
    purser.stop()


@pytest.fixture(scope="module")
def draining(shared_sim, certificate):
    """What a client leaves is read to its end."""
    registry = registry_file(lives_at("anthropic-api", shared_sim.url),
                             with_fields("anthropic-api", on_client_abort={"drain_s": 20, "max_usd": 1}))
    purser = TlsPurser(shared_sim, certificate, ["--worker-processes", "1", "--registry", registry])
    yield purser
    purser.stop()


@pytest.fixture
def agent(purser):
    agent = purser.new_agent()
    yield agent
    agent.stop()


@pytest.fixture
def client(agent):
    client = H2Client(agent)
    yield client
    client.leave()


def ends_of(agent, n):
    """How n calls were booked."""
    return sorted((row["state"], row["certainty"]) for row in agent.wait_entries(n))


def test_many_calls_on_one_connection_come_out_in_any_order(agent, sim, client):
    gates = [threading.Event() for _ in range(40)]

    def play(call):
        n = int(json.loads(call.read())["messages"][0]["content"])
        gates[n].wait(20 * PATIENCE)
        call.send(answer(body=message(output=n + 1, text=f"answer {n}")))

    sim.play = play
    numbers = [client.send(body=ask(str(n))) for n in range(40)]
    for n in reversed(range(40)):
        gates[n].set()
        assert client.answer(numbers[n]).body == message(output=n + 1, text=f"answer {n}")
    rows = agent.wait_entries(40)
    assert sorted(row["output_tokens"] for row in rows) == list(range(1, 41))


def test_a_client_of_tls_that_says_so_has_left(sim, draining):
    """Its goodbye waits in the socket before the end: whoever looks there for nothing but the end sees no leaving."""
    release = threading.Event()
    sim.play = lambda call: (release.wait(20 * PATIENCE), call.reset())
    draining.api("PATCH", "/org/budgets", {"exempt": True}, org=draining.default_org())
    agent = draining.new_agent()
    client = Client(agent)
    client.socket = ssl.create_default_context(cafile=draining.cert).wrap_socket(client.socket, server_hostname="127.0.0.1")
    client.send(body=ask("y" * BIG))
    wait_until(lambda: sim.calls, "the head of the call to arrive")
    client.socket.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.socket.unwrap()
    client.leave()
    try:
        (row,) = agent.wait_entries(1)
        assert (row["state"], row["cost_nano_usd"]) == ("failed", 0)
    finally:
        release.set()
        agent.stop()


@pytest.fixture(params=["cancel", "drain"])
def how(request, purser, draining):
    agent = (purser if request.param == "cancel" else draining).new_agent()
    yield request.param, agent
    agent.stop()


@pytest.mark.parametrize("by", ["reset", "close"])
def test_who_leaves_a_stream_pays_for_what_was_used(sim, how, by):
    """One of two calls on a connection is left, or both; the vendor's answer is cut, or read to its end."""
    left = threading.Event()

    def play(call):
        call.read()
        call.send(STREAM_HEAD, START, text_event("abcd"))
        left.wait(20 * PATIENCE)
        call.send_and_close(*[text_event("efgh")] * 50, STOP)

    way, agent = how
    sim.play = play
    client = H2Client(agent)
    first, second = client.send(), client.send()
    for number in (first, second):
        client.until(lambda: b"abcd" in client.streams[number].body)
    gone = SETTLED if way == "drain" else ABORTED
    if by == "reset":
        client.reset(first)
        # What came after it on this connection shows that the gateway has read the reset.
        models = client.send(path=f"/api/v1/internal/llm/anthropic/v1/models/{MODEL}", body=b"")
        client.answer(models)
        left.set()
        assert client.answer(second).body == START + text_event("abcd") + text_event("efgh") * 50 + STOP
        ends = [gone, SETTLED]
        client.leave()
    else:
        client.leave()
        if way == "cancel":
            agent.wait_entries(2)
        left.set()
        ends = [gone, gone]
    assert ends_of(agent, 2) == sorted(ends)
    assert all(row["input_tokens"] == 22 and 1 <= row["output_tokens"] <= BOUND for row in agent.entries())


CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(content):
    """nginx passes on each by itself, however many it reads at once."""
    return b"%x\r\n%s\r\n" % (len(content), content)


def pour(connection, content):
    """Sends until the other side takes no more for a while; what is left."""
    while content and select.select([], [connection], [], 0.5 * PATIENCE)[1]:
        content = content[connection.send(content[:65536], socket.MSG_DONTWAIT):]
    return content


@pytest.mark.parametrize("window, size, pieces", [(65535, 8000, 2), (65535, 8000, 3000), (2**30, 700, 30_000)],
                         ids=["nothing waits", "the window is full", "frames wait"])
def test_a_stream_that_is_left_while_it_piles_up_spoils_no_other(sim, how, window, size, pieces):
    """The client reads nothing, so the answer waits in the gateway; then it drops that stream and goes on."""
    left, sent = threading.Event(), threading.Event()
    pile = b"".join([chunk(START), chunk(text_event("x" * size)) * pieces, *[chunk(text_event("z"))] * 100, chunk(STOP), chunk(b"")])

    def play(call):
        if b"pile" not in call.read():
            return call.send(answer(body=message(text="y" * 50_000)))
        call.send(CHUNKED_HEAD)
        rest, call.open = pour(call.connection, pile[:-1000]) + pile[-1000:], False
        sent.set()
        left.wait(20 * PATIENCE)
        call.send(rest)

    way, agent = how
    sim.play = play
    client = H2Client(agent, window=window)
    number = client.send(body=ask("pile"))
    assert sent.wait(20 * PATIENCE)
    client.reset(number)
    other = client.send(body=ask("other"))
    wait_until(lambda: len(sim.calls) == 2, "the other call")
    assert client.answer(other).body == message(text="y" * 50_000)
    left.set()
    client.leave()
    assert [state for state, _ in ends_of(agent, 2)] == ["settled" if way == "drain" else "aborted", "settled"]
    assert len(sim.calls) == 2


def test_a_reload_says_goodbye_and_lets_every_call_end(agent, sim, client):
    go_on = threading.Event()
    sim.play = lambda call: (call.read(), call.send(STREAM_HEAD, START), go_on.wait(20 * PATIENCE), call.send_and_close(STOP))
    numbers = [client.send() for _ in range(5)]
    for number in numbers:
        client.until(lambda: client.streams[number].body == START)
    (master,) = [p for p in children(agent.purser.process.pid) if command_of(p).startswith("nginx: master")]
    os.kill(master, signal.SIGHUP)
    client.until(lambda: client.gone_away)
    assert client.gone_away == (numbers[-1], 0)
    other = H2Client(agent)
    late = other.send()
    other.until(lambda: other.streams[late].body == START)
    go_on.set()
    assert {client.answer(number).body for number in numbers} == {START + STOP} == {other.answer(late).body}
    other.leave()
    assert ends_of(agent, 6) == [SETTLED] * 6


def test_who_offers_compression_or_a_body_that_is_cut(agent, sim, client):
    told = client.answer(client.send(("accept-encoding", "gzip, br")))
    assert (told.status, told.body) == (200, message()) and b"content-encoding" not in told.headers
    number = client.send(body=ask("y" * 100_000)[:50_000], ends=False)
    client.reset(number)
    assert client.answer(client.send()).body == message()
    assert ends_of(agent, 2) == [SETTLED] * 2
    assert len(sim.calls) == 2


@pytest.mark.parametrize("headers", [
    [(f"x-{i}", "y" * 20) for i in range(12_000)], [("x-long", "y" * 40_000)],
], ids=["many", "long"])
def test_a_header_bomb_ends_its_own_connection_only(agent, sim, headers):
    bomb, good = H2Client(agent), H2Client(agent)
    try:
        number = bomb.send(*headers)
        while bomb.read() and not bomb.streams[number].over and not bomb.gone_away:
            pass
        stream = bomb.streams[number]
        assert bomb.gone_away or stream.reset is not None or stream.status in (400, 431, 494), stream.headers
    except OSError:
        pass  # it hung up while we were still sending
    assert good.answer(good.send()).body == message()
    bomb.leave()
    good.leave()
    assert ends_of(agent, 1) == [SETTLED]
