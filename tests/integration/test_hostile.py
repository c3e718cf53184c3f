"""Bytes nobody should send: a vendor and clients that break the rules, and the books still balance.

Whatever happens, every call that reached the vendor has exactly one row, in the right state.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import threading
from pathlib import Path

import pytest

from harness import ANTHROPIC_BASE, MODEL, PATIENCE, InBackground, Purser, children, command_of, new_key, wait_until

CALL = ANTHROPIC_BASE + "/v1/messages"
SETTLED, ABORTED = ("settled", "exact"), ("aborted", "estimated")
LOST, CUT = ("interrupted", "bound"), ("interrupted", "estimated")
BOUND = 10  # max_tokens of every call here
LENGTH = "Content-Length: {n}"


def ask(text="hi"):
    return json.dumps({"model": MODEL, "max_tokens": BOUND, "messages": [{"role": "user", "content": text}]}).encode()


def event(kind, **fields):
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"type": kind} | fields).encode())


def message(output=7, text="hello"):
    return json.dumps({"id": "m", "type": "message", "model": "claude-opus-4-7", "stop_reason": "end_turn",
                       "content": [{"type": "text", "text": text}],
                       "usage": {"input_tokens": 22, "output_tokens": output}}).encode()


def answer(*headers, body=message()):
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def text_event(text):
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
START = event("message_start", message={"usage": {"input_tokens": 22, "output_tokens": 1}})
STOP = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7}) + event("message_stop")


def read_head(file):
    """The first line and the headers, names in lower case, every value of each; empty at the end."""
    first, headers = file.readline().decode("latin-1"), {}
    while (line := file.readline()) not in (b"", b"\r\n"):
        name, _, value = line.decode("latin-1").partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return first.strip(), headers


class VendorCall:
    """One call as it came; what is done with it is the test's to say."""

    open, body = True, None

    def __init__(self, connection, file, headers):
        self.connection, self.file, self.headers = connection, file, headers

    def read(self):
        if self.body is None:
            self.body = self.file.read(int(self.headers.get("content-length", ["0"])[0]))
        return self.body

    def send(self, *parts):
        self.connection.sendall(b"".join(parts))

    def send_and_close(self, *parts):
        """The call is read first: bytes left unread would make the close a reset."""
        self.read()
        self.send(*parts)
        self.open = False

    def reset(self):
        self.open = False
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def serve(call):
    call.read()
    call.send(answer())


class Vendor:
    """Answers with whatever bytes `play` sends; remembers every call that came."""

    def __init__(self):
        self.keys = {"anthropic-api": new_key()}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.reset()
        InBackground(self._accept)

    def reset(self):
        self.calls = []
        self.play = serve

    def _accept(self):
        with contextlib.suppress(OSError):  # until stop()
            while True:
                InBackground(self._serve, self.listener.accept()[0])

    def _serve(self, connection):
        with connection, connection.makefile("rb") as file, contextlib.suppress(OSError):
            while (head := read_head(file))[0]:
                call = VendorCall(connection, file, head[1])
                self.calls.append(call)
                self.play(call)
                if not call.open:
                    break
                call.read()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Client:
    """A connection to the gateway that sends exactly the bytes it is told."""

    def __init__(self, agent):
        self.token = agent.token
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # for the one that stops reading
        self.socket.settimeout(10 * PATIENCE)
        self.socket.connect(("127.0.0.1", agent.purser.port))
        self.file = self.socket.makefile("rb")

    def send(self, *headers, body=ask(), method="POST", path=CALL, length=True):
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"x-api-key: {self.token}"]
        lines += [f"Content-Length: {len(body)}"] if length else []
        self.socket.sendall("\r\n".join([*lines, *headers]).encode() + b"\r\n\r\n" + body)
        return self

    def head(self):
        line, headers = read_head(self.file)
        assert line, "the gateway closed the connection without an answer"
        return int(line.split(" ")[1]), headers

    def answer(self):
        """Status, headers and body of the next answer."""
        status, headers = self.head()
        return status, headers, self.body(headers)

    def body(self, headers):
        if "content-length" in headers:
            return self.file.read(int(headers["content-length"][0]))
        body, size = b"", None
        while "transfer-encoding" in headers and size != 0:
            size = int(self.file.readline(), 16)
            body += self.file.read(size)
            self.file.readline()
        return body

    def leave(self):
        self.file.close()
        self.socket.close()


@pytest.fixture(scope="module")
def shared_sim():
    vendor = Vendor()
    yield vendor
    vendor.stop()


@pytest.fixture
def agent(purser, sim):
    agent = purser.new_agent()
    yield agent
    agent.stop()
    assert len(agent.entries()) == len(sim.calls), "a row came late"


@pytest.fixture
def client(agent):
    client = Client(agent)
    yield client
    client.leave()


@pytest.fixture
def own_purser(request, sim):
    purser = Purser(sim, flags=request.param)
    yield purser
    purser.stop()


def check_books(agent, *ends):
    """As many rows as calls the vendor saw, each as one must have ended; the rows."""
    rows = agent.wait_entries(len(ends))
    assert sorted((row["state"], row["certainty"]) for row in rows) == sorted(ends), rows
    assert len(agent.purser.sim.calls) == len(ends)
    return rows


# ---- what a vendor may not do ----

@pytest.mark.parametrize("header", [
    "X-Accel-Redirect: /", f"X-Accel-Redirect: {CALL}", "X-Accel-Redirect: @error_anthropic",
    "X-Accel-Limit-Rate: 1", "X-Accel-Buffering: yes", "X-Accel-Expires: 60", "X-Accel-Charset: utf-7"])
def test_a_vendor_gives_no_orders_to_the_proxy(agent, sim, client, header):
    sim.play = lambda call: (call.read(), call.send(answer(header)))
    status, headers, body = client.send().answer()
    assert (status, body) == (200, message())
    assert headers["content-type"] == ["application/json"] and not [h for h in headers if h.startswith("x-accel")]
    check_books(agent, SETTLED)


# What it does, what the client is told, what is booked.
MISDEEDS = {
    "dies before the answer": (lambda call: call.send_and_close(), 502, LOST),
    "dies before the answer, by reset": (lambda call: (call.read(), call.reset()), 502, LOST),
    "dies before the body was read": (lambda call: call.reset(), 502, LOST),
    "dies in the header": (lambda call: call.send_and_close(answer()[:30]), 502, LOST),
    "dies after the header": (lambda call: call.send_and_close(answer()[:-len(message())]), 200, LOST),
    "dies in the usage": (lambda call: call.send_and_close(answer()[:-9]), 200, LOST),
    "dies after the usage": (lambda call: call.send_and_close(answer()[:-1]), 200, ("interrupted", "exact")),
    "dies before the first event": (lambda call: call.send_and_close(STREAM_HEAD), 200, LOST),
    "dies in the first event": (lambda call: call.send_and_close(STREAM_HEAD, START[:-9]), 200, LOST),
    "dies in an event": (lambda call: call.send_and_close(STREAM_HEAD, START, text_event("abcd")[:-20]), 200, CUT),
    "dies in the last event": (lambda call: call.send_and_close(STREAM_HEAD, START, STOP[:40]), 200, CUT),
    "answers too early": (lambda call: call.send(answer()), 200, SETTLED),
    "answers too early and says no more": (lambda call: (
        call.send(answer("Connection: close")), call.connection.shutdown(socket.SHUT_WR)), 200, SETTLED),
    "writes the type in capitals": (lambda call: call.send_and_close(
        STREAM_HEAD.replace(b"text/event-stream", b"Text/Event-Stream; charset=utf-8"), START, STOP), 200, SETTLED),
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_whatever_a_vendor_does_the_call_is_booked_once(agent, sim, client, misdeed):
    sim.play, status, end = MISDEEDS[misdeed]
    assert client.send(body=ask("y" * 12_000_000 if "early" in misdeed else "hi")).answer()[0] == status
    client.leave()  # nginx books what was cut short when the client is gone, or five seconds later
    (row,) = check_books(agent, end)
    assert row["cost_nano_usd"] == row["bound_nano_usd"] if end == LOST else row["input_tokens"] == 22
    assert row["output_tokens"] == 7 or end != SETTLED


def test_a_kept_connection_that_dies_is_not_tried_again(agent, sim, client):
    sim.play = lambda call: call.send_and_close() if len(sim.calls) > 1 else serve(call)
    assert [client.send().answer()[0] for _ in range(2)] == [200, 502]
    check_books(agent, SETTLED, LOST)


@pytest.mark.parametrize("first", [
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", b"\0\1\2garbage\r\n\r\n"],
    ids=["100", "103", "101", "garbage"])
def test_what_is_no_final_answer_in_http_is_a_bad_gateway(agent, sim, client, first):
    sim.play = lambda call: (call.read(), call.send(first + answer("Set-Cookie: a=b")))
    status, headers, body = client.send("Upgrade: h2c").answer()
    assert status == 502 and json.loads(body)["type"] == "error" and "link" not in headers
    sim.play = serve
    assert client.send().answer()[0] == 200
    check_books(agent, LOST, SETTLED)


@pytest.mark.parametrize("counted, booked", [(1, BOUND), (BOUND + 3, BOUND + 3)])
def test_an_estimate_stays_within_the_bound_unless_the_vendor_counted_more(agent, sim, client, counted, booked):
    start = START.replace(b'"output_tokens": 1', b'"output_tokens": %d' % counted)
    sim.play = lambda call: call.send_and_close(STREAM_HEAD, start, text_event("x" * 8000))
    assert client.send().answer()[0] == 200
    (row,) = check_books(agent, CUT)
    assert (row["input_tokens"], row["output_tokens"]) == (22, booked)


# ---- what a client may not do, and what it may: leave ----

@pytest.mark.parametrize("headers, status", [
    ([LENGTH, LENGTH], 400), ([LENGTH, "Content-Length: 3"], 400), (["Content-Length: 3", LENGTH], 400),
    (["Content-Length: {n}, {n}"], 400), (["Content-Length: +{n}"], 400), (["Content-Length: 0x9"], 400),
    ([LENGTH, "Transfer-Encoding: chunked"], 400), (["Transfer-Encoding: chunked", LENGTH], 400),
    ([LENGTH, "Transfer-Encoding: identity"], 501), (["Transfer-Encoding: gzip, chunked"], 501),
    ([LENGTH, "Content-Encoding: identity", "Content-Encoding: deflate"], 415),
    ([LENGTH, "Content-Encoding: deflate", "Content-Encoding: identity"], 415),
    ([LENGTH, "Connection: Upgrade", "Upgrade: websocket"], 426),
    ([LENGTH, "Connection: Upgrade", "Upgrade: h2c, WebSocket"], 426),
], ids=lambda p: " + ".join(p) if isinstance(p, list) else str(p))
def test_what_could_be_read_in_two_ways_is_refused(agent, sim, client, headers, status):
    assert client.send(*[h.format(n=len(ask())) for h in headers], length=False).head()[0] == status
    check_books(agent)


@pytest.mark.parametrize("same", [False, True])
def test_two_usage_tokens_must_be_the_same(agent, sim, client, same):
    other = agent.purser.new_agent()
    bearer = f"Authorization: Bearer {agent.token if same else other.token}"
    assert client.send(bearer).answer()[0] == (200 if same else 401)
    check_books(agent, *[SETTLED] * same)
    assert other.entries() == []
    other.stop()


def test_the_vendor_sees_one_key_and_one_type_whatever_the_agent_says(agent, sim, client):
    foreign = dict.fromkeys(["OpenAI-Organization", "OpenAI-Project", "x-goog-api-key", "Proxy-Authorization",
                             "Cookie", "api-key", "Authorization"], "agents-own")
    foreign |= {"Content-Encoding": "identity", "Connection": "Upgrade", "Upgrade": "h2c"}
    assert client.send("Content-Type: application/json; charset=utf-7", *map(": ".join, foreign.items())).head()[0] == 200
    check_books(agent, SETTLED)
    seen = sim.calls[0].headers
    assert (seen["content-type"], seen["x-api-key"]) == (["application/json"], [sim.keys["anthropic-api"]])
    assert not {name.lower() for name in foreign} & seen.keys()
    assert "psr_use_" not in str(seen) and "agents-own" not in str(seen)


def test_a_head_with_a_body_leaves_the_connection_in_step(agent, sim, client):
    smuggled = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    client.send(body=smuggled, method="HEAD", path=ANTHROPIC_BASE + "/api/hello")
    assert client.head()[0] == 200
    assert client.send().answer()[2] == message()
    check_books(agent, SETTLED)


@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_pipelined_calls_get_their_own_answers_and_rows(agent, sim, client, in_chunks):
    def play(call):
        text = json.loads(call.read())["messages"][0]["content"]
        call.send(answer(body=message(output=int(text), text=text)))

    sim.play = play
    for text in "123":
        body = ask(text)
        if in_chunks:
            body = b"7\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (body[:7], len(body) - 7, body[7:])
        client.send(*["Transfer-Encoding: chunked"] * in_chunks, body=body, length=not in_chunks)
    assert [json.loads(client.answer()[2])["content"][0]["text"] for _ in range(3)] == ["1", "2", "3"]
    assert sorted(row["output_tokens"] for row in check_books(agent, *[SETTLED] * 3)) == [1, 2, 3]


def test_who_leaves_during_the_upload_made_no_call(agent, sim, client):
    client.send("Content-Length: 300000", body=ask("y" * 300_000)[:100_000], length=False)
    client.leave()
    assert Client(agent).send().answer()[0] == 200
    check_books(agent, SETTLED)


@pytest.mark.parametrize("events, end, outputs", [
    ([], ("aborted", "bound"), [BOUND]), ([START, text_event("abcd")], ABORTED, range(1, 5)), ([START, STOP], SETTLED, [7]),
], ids=["before the answer", "in mid-stream", "after the last event"])
def test_who_leaves_pays_for_what_was_used(agent, sim, client, events, end, outputs):
    sim.play = lambda call: (call.read(), call.send(*[STREAM_HEAD][:len(events)], *events), call.file.read())
    client.send()
    wait_until(lambda: sim.calls, "the call to reach the vendor")
    seen = b""
    while events and events[-1] not in seen:
        seen += client.file.read1(65536) or pytest.fail("the stream ended early")
    client.leave()
    (row,) = check_books(agent, end)
    assert row["output_tokens"] in outputs and (row["input_tokens"] == 22 or not events)


@pytest.mark.parametrize("own_purser", [["--worker-processes=1"]], indirect=True)
def test_who_stops_reading_has_left(sim, own_purser):
    """nginx's limit is a minute; here it is a second."""
    def play(call):
        call.send(STREAM_HEAD, START)
        while True:  # until the gateway gives up
            call.send(text_event("x" * 8000))

    agent = own_purser.new_agent()
    (master,) = [p for p in children(own_purser.process.pid) if command_of(p).startswith("nginx: master")]
    conf = Path(command_of(master).split(" -c ")[1].split(" ")[0])
    conf.write_text(conf.read_text().replace("http {", "http {\n  send_timeout 1s;", 1))
    before = set(own_purser.worker_pids())
    os.kill(master, signal.SIGHUP)
    wait_until(lambda: own_purser.worker_pids() and not before & set(own_purser.worker_pids()), "the new limit")
    sim.play = play
    client = Client(agent).send()  # and never reads
    (row,) = check_books(agent, ABORTED)
    assert (row["input_tokens"], row["output_tokens"]) == (22, BOUND)


@pytest.mark.parametrize("own_purser", [
    ["--worker-processes=18"], ["--worker-processes=1", "--recorder-slots=64"]], ids=" ".join, indirect=True)
def test_sixty_streams_at_once_all_get_a_slot(sim, own_purser):
    """Wherever they land: more workers than there once were lanes, more streams than a lane has slots."""
    release = threading.Event()
    sim.play = lambda call: (call.read(), call.send(STREAM_HEAD, START), release.wait(20), call.send_and_close(STOP))
    agent = own_purser.new_agent()
    clients = [Client(agent).send() for _ in range(60)]
    heads = [client.head() for client in clients]
    assert {status for status, _ in heads} == {200}
    release.set()
    assert {client.body(headers) for client, (_, headers) in zip(clients, heads)} == {START + STOP}
    check_books(agent, *[SETTLED] * 60)
