"""Bytes nobody should send: a vendor and clients that break the rules, and the books still balance.

Whatever happens, every call that reached the vendor has exactly one row, in the right state.
"""

import json
import os
import re
import resource
import signal
import socket
import threading
from pathlib import Path

import pytest

from harness import ANTHROPIC_BASE, PATIENCE, Purser, children, command_of, wait_until
from raw import (BOUND, CALL, START, STOP, STREAM_HEAD, Client, Vendor, answer, ask, message, serve,
                 text_event)
from registries import lives_at, provider_in, registry_file

SETTLED, ABORTED = ("settled", "exact"), ("aborted", "estimated")
LOST, CUT = ("interrupted", "bound"), ("interrupted", "estimated")
LENGTH = "Content-Length: {n}"


@pytest.fixture(scope="module")
def shared_sim():
    vendor = Vendor()
    yield vendor
    vendor.stop()


@pytest.fixture(scope="module")
def shared_purser(shared_sim):
    purser = Purser(shared_sim)
    # Some calls here are larger than what the default budget would let in.
    purser.api("PATCH", "/org/budgets", {"exempt": True}, org=purser.default_org())
    yield purser
    purser.stop()


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


def test_the_platforms_account_stays_hidden(agent, sim, client):
    hidden = ["anthropic-organization-id", "anthropic-ratelimit-requests-remaining", "Anthropic-RateLimit-Unified-Status",
              "openai-organization", "openai-project", "x-ratelimit-limit-tokens", "msh-uid", "Set-Cookie", "CF-Ray", "Via",
              "Strict-Transport-Security", "Alt-Svc", "x-purser-code"]
    kept = ["retry-after", "x-should-retry", "anthropic-beta-note", "openai-processing-ms", "openai-version", "x-purser"]
    headers = [f"{name}: of-the-vendor" for name in hidden + kept] + ["request-id: of-the-vendor", "x-request-id: of-the-vendor"]
    sim.play = lambda call: (call.read(), call.send(answer(*headers).replace(b"200 OK", b"400 Sorry")))
    status, told, body = client.send().answer()
    assert (status, body) == (400, message())
    assert not {name.lower() for name in hidden} & told.keys()
    assert all(told[name] == ["of-the-vendor"] for name in kept)
    (row,) = check_books(agent, ("failed", "exact"))
    assert told["request-id"] == told["x-purser-call-id"] == [row["call_id"]] and "x-request-id" not in told
    assert told["x-purser-vendor-request-id"] == ["of-the-vendor"]


# What it does, what the client is told, what is booked.
MISDEEDS = {
    "dies before the answer": (lambda call: call.send_and_close(), 502, LOST),
    "dies before the answer, by reset": (lambda call: (call.read(), call.reset()), 502, LOST),
    "dies before the body was read": (lambda call: call.reset(), 502, LOST),
    "dies in the header": (lambda call: call.send_and_close(answer()[:30]), 502, LOST),
    "dies after the header": (lambda call: call.send_and_close(answer()[:-len(message())]), 200, LOST),
    "dies in the usage": (lambda call: call.send_and_close(answer()[:-9]), 200, LOST),
    "dies after the usage": (lambda call: call.send_and_close(answer()[:-1]), 200, CUT),
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


def test_the_key_is_where_the_vendor_wants_it_and_nowhere_else():
    vendor = Vendor("anthropic-api")
    key = vendor.keys["anthropic-api"]
    places = {"x-api-key": ("x-api-key", key), "bearer": ("authorization", f"Bearer {key}"),
              "api-key": ("api-key", key), "x-goog-api-key": ("x-goog-api-key", key)}

    def wanting(header):
        return registry_file(lives_at("anthropic-api", vendor.url), lambda registry: provider_in(
            registry, "anthropic-api")["endpoints"]["anthropic"].update(header=header))

    path = wanting("bearer")
    purser = Purser(keys=vendor.keys, flags=["--registry", path])
    try:
        agent = purser.new_agent()
        for header, (name, value) in places.items():
            path.write_text(wanting(header).read_text())
            purser.api("POST", "/admin/registry/reload")
            assert agent.post(json.loads(ask())).status_code == 200
            seen = vendor.calls[-1].headers
            assert {n: v for n, v in seen.items() if key in str(v)} == {name: [value]}
            assert seen["host"] == [vendor.url.removeprefix("http://")]
    finally:
        purser.stop()
        vendor.stop()


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


def set_in_nginx(purser, setting):
    """nginx's own limits are a minute or so; here they are a second."""
    (master,) = [p for p in children(purser.process.pid) if command_of(p).startswith("nginx: master")]
    conf = Path(command_of(master).split(" -c ")[1].split(" ")[0])
    name = setting.split(" ")[0]
    conf.write_text(re.sub(rf"(?m)^ *{name} .*$", f"  {setting};", conf.read_text(), count=1))
    assert f"  {setting};" in conf.read_text()
    before = set(purser.worker_pids())
    os.kill(master, signal.SIGHUP)
    wait_until(lambda: purser.worker_pids() and not before & set(purser.worker_pids()), "the new limit")


@pytest.mark.parametrize("own_purser", [["--worker-processes=1"]], indirect=True)
def test_who_stops_reading_has_left(sim, own_purser):
    def play(call):
        call.send(STREAM_HEAD, START)
        while True:  # until the gateway gives up
            call.send(text_event("x" * 8000))

    agent = own_purser.new_agent()
    set_in_nginx(own_purser, "send_timeout 1s")
    sim.play = play
    client = Client(agent).send()  # and never reads
    (row,) = check_books(agent, ABORTED)
    assert (row["input_tokens"], row["output_tokens"]) == (22, BOUND)


@pytest.mark.parametrize("own_purser", [
    ["--worker-processes=18"], ["--worker-processes=1", "--recorder-slots=64"]], ids=" ".join, indirect=True)
def test_sixty_streams_at_once_all_get_a_slot(sim, own_purser):
    """Wherever they land: more workers than there once were lanes, more streams than a lane has slots."""
    release = threading.Event()
    sim.play = lambda call: (call.read(), call.send(STREAM_HEAD, START), release.wait(20 * PATIENCE), call.send_and_close(STOP))
    agent = own_purser.new_agent()
    clients = [Client(agent).send() for _ in range(60)]
    heads = [client.head() for client in clients]
    assert {status for status, _ in heads} == {200}
    release.set()
    assert {client.body(headers) for client, (_, headers) in zip(clients, heads)} == {START + STOP}
    check_books(agent, *[SETTLED] * 60)


# ---- many, slow and large ----

def opened(purser, content):
    s = socket.create_connection(("127.0.0.1", purser.port))
    s.sendall(content)
    return s


@pytest.mark.parametrize("content", [
    b"", b"POST " + CALL.encode() + b" HTTP/1.1\r\nHost: x\r\nx-api-key: ",
    b"POST " + CALL.encode() + b" HTTP/1.1\r\nHost: x\r\nx-api-key: {token}\r\nContent-Length: 1000000\r\n\r\n{",
], ids=["nothing", "half a head", "a byte of a body"])
def test_slow_clients_hold_nobody_up(agent, purser, sim, client, content):
    content = content.replace(b"{token}", agent.token.encode())
    slow = [opened(purser, content) for _ in range(400)]
    for _ in range(20):
        assert client.send().answer()[0] == 200
    for s in slow:
        s.close()
    check_books(agent, *[SETTLED] * 20)


@pytest.mark.parametrize("own_purser", [["--worker-processes=1"]], indirect=True)
@pytest.mark.parametrize("setting, content", [
    ("client_header_timeout 1s", b"POST / HTTP/1.1\r\nHost: "),
    ("client_body_timeout 1s", b"POST " + CALL.encode() + b" HTTP/1.1\r\nHost: x\r\nx-api-key: {token}\r\nContent-Length: 9\r\n\r\n{"),
], ids=["head", "body"])
def test_who_does_not_go_on_is_shown_the_door(sim, own_purser, setting, content):
    agent = own_purser.new_agent()
    set_in_nginx(own_purser, setting)
    with opened(own_purser, content.replace(b"{token}", agent.token.encode())) as s:
        s.settimeout(15 * PATIENCE)
        assert b" 408 " in (s.recv(65536) or b" 408 ").split(b"\r\n")[0]
    assert agent.entries() == []


@pytest.mark.parametrize("headers, status", [
    ([f"x-{i}: {'y' * 20}" for i in range(500)], 200), ([f"x-{i}: {'y' * 20}" for i in range(20_000)], 400),
    (["x-long: " + "y" * 31_000], 200), (["x-long: " + "y" * 33_000], 400), ([f"x-{i}: {'y' * 31_000}" for i in range(9)], 400),
    (["x-nul: a\0b"], 400), (["x-bare\rcr: y"], 400), (["no colon here"], 400), ([" folded: y"], 400),
    (["anthropic-beta: " + ",".join(f"feature-{i}" for i in range(1000))], 200),
], ids=range(10))
def test_header_bombs(agent, sim, client, headers, status):
    try:
        assert client.send(*headers).head()[0] == status
    except ConnectionError:
        assert status == 400  # it hung up while we were still sending
    other = Client(agent)
    assert other.send().answer()[0] == 200
    other.leave()
    check_books(agent, *[SETTLED] * (2 if status == 200 else 1))


def private_bytes(pid):
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Private_"))


@pytest.mark.parametrize("own_purser", [["--worker-processes=1"]], indirect=True)
def test_ten_thousand_idle_connections_cost_little(sim, own_purser):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(10_000, hard - 2000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    hello = f"HEAD {ANTHROPIC_BASE}/api/hello HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    agent = own_purser.new_agent()
    (worker,) = own_purser.worker_pids()
    before, idle = private_bytes(worker), []
    try:
        for _ in range(n):
            idle.append(opened(own_purser, hello))
            assert idle[-1].recv(4096).startswith(b"HTTP/1.1 200")
        assert agent.post(json.loads(ask())).status_code == 200
        # The target is 12 MB for 10,000; what is not met loudly here is a leak, not a matter of taste.
        if "libasan" not in Path(f"/proc/{worker}/maps").read_text():  # which has a use for memory itself
            assert private_bytes(worker) - before < 2400 * n
    finally:
        for s in idle:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    check_books(agent, SETTLED)
