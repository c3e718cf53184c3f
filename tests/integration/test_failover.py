"""Several vendors for one model: what is tried when one fails, in which order, and what the books say.

Each attempt has a row of its own under the call's id. Nothing is tried again once the client has a byte.
"""

import json
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from harness import MODEL, PATIENCE, Purser, free_port, new_key, wait_until
from raw import BIG, START, STOP, STREAM_HEAD, Client, Vendor, answer, ask, message, serve, text_event
from registries import lives_at, registry_file, routed, with_fields

FIRST, SECOND, THIRD = ("anthropic-api", "claude-opus-4-7"), ("moonshot", "kimi-k2.6"), ("minimax", "MiniMax-M2.7")
SETTLED, LOST = ("settled", "exact"), ("interrupted", "bound")
SILENCE_S = max(1, int(PATIENCE))  # what is borne of the first vendor: longer than one of ours takes for an answer


def refuse(status, *headers, body=b'{"type":"error","error":{"type":"x","message":"no"}}'):
    def play(call):
        call.read()
        call.send(answer(*headers, body=body).replace(b"200 OK", b"%d Sorry" % status))
    return play


def hang_up(call):
    call.read()
    call.reset()


def exempt(purser):
    """Some calls here are larger than what the default budget would let in."""
    purser.api("PATCH", "/org/budgets", {"exempt": True}, org=purser.default_org())


class Three:
    """Three vendors on ports of their own and a purser that tries them in turn."""

    def __init__(self):
        self.vendors = {place[0]: Vendor(place[0]) for place in (FIRST, SECOND, THIRD)}
        self.first, self.second, self.third = self.vendors.values()
        registry = registry_file(
            *[lives_at(name, v.url) for name, v in self.vendors.items()], routed(MODEL, FIRST, SECOND, THIRD),
            # One route's worth of patience; the other models of these vendors have it, too.
            with_fields("anthropic-api", timeouts={"connect_s": SILENCE_S + 1, "first_byte_s": SILENCE_S, "idle_s": SILENCE_S}))
        self.keys = {name: v.keys[name] for name, v in self.vendors.items()}
        self.purser = Purser(keys=self.keys, flags=["--registry", registry, "--worker-processes", "1"])
        exempt(self.purser)

    def reset(self):
        for vendor in self.vendors.values():
            vendor.reset()

    def seen(self):
        return [len(v.calls) for v in self.vendors.values()]

    def stop(self):
        self.purser.stop()
        for vendor in self.vendors.values():
            vendor.stop()


@pytest.fixture(scope="module")
def shared_three():
    three = Three()
    yield three
    three.stop()


@pytest.fixture
def three(shared_three):
    shared_three.reset()
    yield shared_three
    # A good answer closes whatever breaker the test opened.
    shared_three.reset()


@pytest.fixture
def agent(three):
    agent = three.purser.new_agent()
    yield agent
    three.reset()
    assert agent.post(json.loads(ask())).status_code == 200
    agent.stop()


def rows_of(agent, n):
    return sorted(agent.wait_entries(n), key=lambda row: row["attempt"])


def check(rows, *wanted):
    """Attempts in order: (provider, state, certainty)."""
    assert [(r["attempt"], r["provider"], r["state"], r["certainty"]) for r in rows] == [
        (i, *row) for i, row in enumerate(wanted, 1)]
    assert len({r["call_id"] for r in rows}) == 1 and {r["model_asked"] for r in rows} == {MODEL}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529, 401, 403])
def test_an_error_before_the_answer_sends_the_call_on(three, agent, status):
    three.first.play = refuse(status, "anthropic-organization-id: the-platforms", "x-leftover: of-the-first")
    told = agent.post(json.loads(ask()))
    assert (told.status_code, told.content) == (200, message()) and "x-leftover" not in told.headers
    assert three.seen() == [1, 1, 0]
    rows = rows_of(agent, 2)
    check(rows, ("anthropic-api", "failed", "exact"), ("moonshot", *SETTLED))
    assert (rows[0]["vendor_status"], rows[0]["cost_nano_usd"]) == (status, 0)
    # 22 in and 7 out, at the second vendor's price.
    assert rows[1]["cost_nano_usd"] == 22 * 950 + 7 * 4000
    assert told.headers["request-id"] == rows[0]["call_id"]


def test_each_vendor_gets_its_own_key_host_model_and_the_same_body(three, agent):
    three.first.play, three.second.play = refuse(503), refuse(500)
    body = json.loads(ask("x" * 50_000))
    assert agent.post(body).status_code == 200
    for vendor, (name, model) in zip(three.vendors.values(), (FIRST, SECOND, THIRD)):
        (call,) = vendor.calls
        key = call.headers.get("x-api-key") or call.headers["authorization"]
        assert key == [three.keys[name]] if name == "anthropic-api" else key == ["Bearer " + three.keys[name]]
        assert ("x-api-key" in call.headers) != ("authorization" in call.headers)
        assert call.headers["host"] == [vendor.url.removeprefix("http://")]
        assert json.loads(call.body) == body | {"model": model}
        assert call.path == ("/v1/messages" if name == "anthropic-api" else "/anthropic/v1/messages")
    check(rows_of(agent, 3), ("anthropic-api", "failed", "exact"), ("moonshot", "failed", "exact"),
          ("minimax", *SETTLED))


def test_the_last_vendors_error_is_the_clients(three, agent):
    for vendor, status in zip(three.vendors.values(), (500, 503, 429)):
        vendor.play = refuse(status, "Retry-After: 7")
    told = agent.post(json.loads(ask()))
    assert (told.status_code, told.headers["retry-after"]) == (429, "7") and told.json()["error"]["message"] == "no"
    assert three.seen() == [1, 1, 1]
    assert {row["state"] for row in rows_of(agent, 3)} == {"failed"}


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_is_wrong_with_the_call_is_not_tried_elsewhere(three, agent, status):
    three.first.play = refuse(status)
    assert agent.post(json.loads(ask())).status_code == status
    assert three.seen() == [1, 0, 0]
    check(rows_of(agent, 1), ("anthropic-api", "failed", "exact"))


def test_a_connection_lost_before_the_answer_may_have_been_served(three, agent):
    three.first.play = hang_up
    assert agent.post(json.loads(ask())).status_code == 200
    assert three.seen() == [1, 1, 0]
    rows = rows_of(agent, 2)
    check(rows, ("anthropic-api", *LOST), ("moonshot", *SETTLED))
    assert rows[0]["cost_nano_usd"] == rows[0]["bound_nano_usd"] > 0


def test_a_connection_lost_before_all_of_the_call_was_sent_has_served_nothing(three, agent):
    three.first.play = lambda call: call.reset()
    assert agent.post(json.loads(ask("y" * BIG))).status_code == 200
    assert three.seen() == [1, 1, 0]
    check(rows_of(agent, 2), ("anthropic-api", "failed", "exact"), ("moonshot", *SETTLED))


def test_a_vendor_may_have_served_a_call_whose_padding_it_did_not_wait_for(three, agent):
    three.first.play = lambda call: call.reset()
    assert agent.post(content=ask() + b" " * BIG).status_code == 200
    check(rows_of(agent, 2), ("anthropic-api", *LOST), ("moonshot", *SETTLED))


CHUNKED = b"HTTP/1.1 429 Sorry\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n"


@pytest.mark.parametrize("play, connections", [
    (refuse(429), 1),
    (refuse(429, body=b""), 1),
    (refuse(429, body=b"x" * 12_000), 1),
    (lambda call: (call.read(), call.send(CHUNKED)), 1),
    # Where the end is not there yet, nobody waits for it.
    (refuse(429, body=b"x" * 60_000), 6),
    (refuse(429, "Connection: close"), 6),
], ids=["a body", "an empty body", "a long body", "chunks", "too long a body", "its last answer"])
def test_a_connection_that_brought_a_refusal_carries_the_next_call(three, agent, play, connections):
    three.first.play = play
    for _ in range(6):
        assert agent.post(json.loads(ask())).content == message()
    assert [len({call.connection for call in v.calls}) for v in (three.first, three.second)] == [connections, 1]
    assert three.seen() == [6, 6, 0] and len(agent.wait_entries(12)) == 12


def test_a_kept_connection_that_died_meanwhile_is_not_used_twice(three, agent):
    three.first.play = lambda call: hang_up(call) if len(three.first.calls) > 1 else serve(call)
    assert [agent.post(json.loads(ask())).status_code for _ in range(2)] == [200, 200]
    assert three.seen() == [2, 1, 0]
    states = sorted((row["provider"], row["state"]) for row in agent.wait_entries(3))
    assert states == [("anthropic-api", "interrupted"), ("anthropic-api", "settled"), ("moonshot", "settled")]


@pytest.mark.parametrize("spoils", [
    lambda call: call.send(answer(body=message(text="of another call"))),
    lambda call: call.connection.shutdown(socket.SHUT_RDWR),
], ids=["says more", "hangs up"])
def test_a_kept_connection_on_which_something_came_meanwhile_is_not_used(three, agent, spoils):
    """The worker sees the next call and what the vendor did at once, the call first."""
    client = Client(agent).send()
    assert client.answer()[0] == 200
    (worker,) = three.purser.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "T", "the worker to stop")
    try:
        client.send()
        spoils(three.first.calls[0])
    finally:
        os.kill(worker, signal.SIGCONT)
    assert client.answer()[2] == message()
    assert three.seen() == [2, 0, 0]
    assert len({call.connection for call in three.first.calls}) == 2
    assert {(row["state"], row["certainty"]) for row in agent.wait_entries(2)} == {SETTLED}
    client.leave()


def test_a_vendor_that_keeps_silent_is_given_up_and_nobody_else_is_asked(three, agent):
    release = threading.Event()
    three.first.play = lambda call: (call.read(), release.wait(20 * PATIENCE), call.reset())
    told = agent.post(json.loads(ask()))
    release.set()
    assert told.status_code == 504 and told.headers["x-purser-code"] == "GATEWAY_TIMEOUT"
    assert three.seen() == [1, 0, 0]
    check(rows_of(agent, 1), ("anthropic-api", *LOST))


def test_a_vendor_that_falls_silent_in_mid_stream_is_cut_off(three, agent):
    release = threading.Event()
    three.first.play = lambda call: (call.read(), call.send(STREAM_HEAD, START, text_event("abcd")), release.wait(20 * PATIENCE))
    client = Client(agent).send()
    assert client.head()[0] == 200
    assert START in client.file.read()  # to the end, which comes after idle_s
    release.set()
    client.leave()
    (row,) = agent.wait_entries(1)
    assert (row["state"], row["certainty"], row["input_tokens"]) == ("interrupted", "estimated", 22)
    assert three.seen() == [1, 0, 0]


def test_nothing_is_tried_again_after_the_first_byte(three, agent):
    three.first.play = lambda call: call.send_and_close(STREAM_HEAD, START)
    client = Client(agent).send()
    status, headers = client.head()
    assert (status, client.body(headers)) == (200, START)  # to its end: who leaves before that has aborted the call
    client.leave()
    check(rows_of(agent, 1), ("anthropic-api", "interrupted", "estimated"))
    assert three.seen() == [1, 0, 0]


def test_a_stream_may_come_from_the_second_vendor(three, agent):
    three.first.play = refuse(529)
    three.second.play = lambda call: call.send_and_close(STREAM_HEAD, START, text_event("abcd"), STOP)
    client = Client(agent).send()
    status, headers = client.head()
    assert (status, client.body(headers)) == (200, START + text_event("abcd") + STOP)
    client.leave()
    check(rows_of(agent, 2), ("anthropic-api", "failed", "exact"), ("moonshot", *SETTLED))


def test_a_breaker_passes_over_a_vendor_that_fails_in_a_row(request):
    three = Three()  # its breakers stay open
    request.addfinalizer(three.stop)
    agent = three.purser.new_agent()
    three.first.play = refuse(500)
    for _ in range(8):
        assert agent.post(json.loads(ask())).status_code == 200
    assert three.seen() == [5, 8, 0]
    # With every breaker open the call is made all the same.
    three.reset()
    three.second.play = three.third.play = refuse(500)
    for _ in range(5):
        agent.post(json.loads(ask()))
    three.reset()
    assert agent.post(json.loads(ask())).status_code == 200
    assert len(three.first.calls) == 1


def test_a_token_that_was_revoked_meanwhile_makes_no_second_attempt(three):
    agent = three.purser.new_agent()
    three.first.play = lambda call: (call.read(), agent.stop(), refuse(500)(call))
    assert agent.post(json.loads(ask())).status_code == 500
    assert three.seen() == [1, 0, 0]


def test_a_vendor_that_is_not_there_costs_nothing_and_the_next_one_serves():
    vendor = Vendor("moonshot")
    registry = registry_file(lives_at("anthropic-api", f"http://127.0.0.1:{free_port()}"),
                             lives_at("moonshot", vendor.url), routed(MODEL, FIRST, SECOND))
    purser = Purser(keys={"anthropic-api": new_key()} | vendor.keys, flags=["--registry", registry])
    try:
        agent = purser.new_agent()
        assert agent.post(json.loads(ask())).status_code == 200
        check(rows_of(agent, 2), ("anthropic-api", "failed", "exact"), ("moonshot", *SETTLED))
        # A vendor without a key of the platform's is no place to go.
        purser.api("DELETE", "/admin/platform/keys/moonshot")
        told = agent.post(json.loads(ask()))
        assert (told.status_code, told.headers["x-purser-code"]) == (502, "BAD_GATEWAY")
        assert len(vendor.calls) == 1
        agent.wait_entries(3)
    finally:
        purser.stop()
        vendor.stop()


def test_count_tokens_is_free_wherever_it_is_answered(three, agent):
    body = b'{"input_tokens": 5}'
    three.first.play, three.second.play = refuse(500), lambda call: (call.read(), call.send(answer(body=body)))
    told = agent.post({"model": MODEL, "messages": []}, path="/v1/messages/count_tokens")
    assert (told.status_code, told.content) == (200, body)
    assert [v.calls[0].path for v in (three.first, three.second)] == [
        "/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens"]
    assert json.loads(three.second.calls[0].body)["model"] == "kimi-k2.6"
    assert agent.entries() == []


# ---- on_client_abort ----

@pytest.fixture(scope="module")
def draining():
    vendor = Vendor("anthropic-api")
    registry = registry_file(lives_at("anthropic-api", vendor.url),
                             with_fields("anthropic-api", on_client_abort={"drain_s": 2 * SILENCE_S, "max_usd": 0.00035}))
    vendor.purser = Purser(keys=vendor.keys, flags=["--registry", registry])
    exempt(vendor.purser)
    yield vendor
    vendor.purser.stop()
    vendor.stop()


@pytest.mark.parametrize("events, end", [
    ([STOP], ("settled", "exact", [7])),
    ([text_event("x" * 40)] * 4000 + [STOP], ("aborted", "estimated", [10])),  # 10 tokens cost more than max_usd
    ([text_event("abcd")], ("aborted", "estimated", range(1, 10))),  # and then silence: until drain_s is over
], ids=["to its end", "too dear", "too long"])
def test_an_abandoned_stream_is_read_to_its_end_within_limits(draining, events, end):
    left, done = threading.Event(), threading.Event()

    def play(call):
        call.read()
        call.send(STREAM_HEAD, START, text_event("abcd"))
        left.wait(20 * PATIENCE)
        for event in events:
            call.send(event)
        call.open = False
        if events[-1] != STOP:
            done.wait(20 * PATIENCE)

    draining.reset()
    draining.play = play
    agent = draining.purser.new_agent()
    client = Client(agent).send()
    assert client.head()[0] == 200
    client.leave()
    left.set()
    (row,) = agent.wait_entries(1)
    done.set()
    assert (row["state"], row["certainty"]) == end[:2]
    assert row["output_tokens"] in end[2] and row["input_tokens"] == 22
    agent.stop()


def test_a_client_that_leaves_before_the_vendor_has_all_of_its_call_pays_nothing(draining):
    release = threading.Event()
    draining.reset()
    draining.play = lambda call: (release.wait(20 * PATIENCE), call.reset())
    agent = draining.purser.new_agent()
    client = Client(agent).send(body=ask("y" * BIG))
    wait_until(lambda: draining.calls, "the head of the call to arrive")
    client.leave()
    try:
        (row,) = agent.wait_entries(1)
        assert (row["state"], row["certainty"], row["cost_nano_usd"]) == ("failed", "exact", 0)
    finally:
        release.set()
        agent.stop()


class Unreachable:
    """A place that takes no connection and refuses none: its queue is full, and nobody looks at it."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.queue = [socket.socket() for _ in range(3)]
        for s in self.queue:
            s.setblocking(False)
            s.connect_ex(self.listener.getsockname())
        self.waiting = self._connecting()

    def _connecting(self):
        """How many ask for a connection just now."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[2].endswith(f":{self.port:04X}") and row[3] == "02" for row in rows)

    def is_asked(self):
        return self._connecting() > self.waiting

    def stop(self):
        for s in [self.listener, *self.queue]:
            s.close()


@pytest.mark.parametrize("abort", [{"drain_s": 60, "max_usd": 1}, "cancel"], ids=["drain", "cancel"])
def test_a_client_that_leaves_before_the_second_vendor_is_reached_pays_nothing(abort):
    vendor, nowhere = Vendor("anthropic-api"), Unreachable()
    vendor.play = refuse(503)
    registry = registry_file(lives_at("anthropic-api", vendor.url), lives_at("moonshot", nowhere.url),
                             with_fields("moonshot", on_client_abort=abort), routed(MODEL, FIRST, SECOND))
    purser = Purser(keys=vendor.keys | {"moonshot": new_key()}, flags=["--registry", registry])
    try:
        agent = purser.new_agent()
        client = Client(agent).send()
        wait_until(nowhere.is_asked, "the second vendor to be asked for a connection")
        client.leave()
        rows = rows_of(agent, 2)
        check(rows, ("anthropic-api", "failed", "exact"), ("moonshot", "failed", "exact"))
        assert [row["cost_nano_usd"] for row in rows] == [0, 0]
    finally:
        purser.stop()
        vendor.stop()
        nowhere.stop()


# ---- several keys of one vendor ----

@pytest.fixture(scope="module")
def shared_two_keys():
    three = Three()
    three.purser.api("PUT", "/admin/platform/keys/anthropic-api", {"value": "key-a"})
    three.purser.api("POST", "/admin/platform/keys", {"provider": "anthropic-api", "value": "key-b", "weight": 3})
    yield three
    three.stop()


@pytest.fixture
def two_keys(shared_two_keys):
    shared_two_keys.reset()
    return shared_two_keys


@pytest.fixture
def two_keyed(two_keys):
    agent = two_keys.purser.new_agent()
    yield agent
    agent.stop()


def used(vendor):
    return [call.headers["x-api-key"][0] for call in vendor.calls]


def test_keys_of_one_vendor_share_its_calls_by_weight(two_keys, two_keyed):
    client = Client(two_keyed)
    assert {client.send().answer()[0] for _ in range(200)} == {200}
    client.leave()
    shares = used(two_keys.first)
    assert 20 < shares.count("key-a") < 80 and shares.count("key-a") + shares.count("key-b") == 200


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_key_that_is_refused_gives_way_to_the_vendors_other_one(two_keys, two_keyed, status):
    two_keys.first.play = lambda call: (serve if used(two_keys.first)[0] != call.headers["x-api-key"][0] else refuse(status))(call)
    assert two_keyed.post(json.loads(ask())).status_code == 200
    assert sorted(used(two_keys.first)) == ["key-a", "key-b"] and two_keys.seen() == [2, 0, 0]
    rows = rows_of(two_keyed, 2)
    check(rows, ("anthropic-api", "failed", "exact"), ("anthropic-api", *SETTLED))
    assert rows[0]["platform_key_id"] != rows[1]["platform_key_id"]


def test_when_all_keys_are_refused_the_next_vendor_is_asked_and_a_broken_one_only_once(two_keys, two_keyed):
    two_keys.first.play = refuse(429)
    assert two_keyed.post(json.loads(ask())).status_code == 200
    assert two_keys.seen() == [2, 1, 0]
    two_keys.reset()
    two_keys.first.play = refuse(500)
    assert two_keyed.post(json.loads(ask())).status_code == 200
    assert two_keys.seen() == [1, 1, 0]
