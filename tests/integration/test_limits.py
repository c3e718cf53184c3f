"""What the gateway does when a token goes in the middle of a call, its policy grows old, or its recorder is full."""

import json
import os
import signal
import socket

import httpx
import pytest

from harness import ANTHROPIC_BASE, MODEL, PATIENCE, InBackground, Purser, Sim, new_key, wait_until


def body(text="hi", **more):
    return {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": text}]} | more


@pytest.fixture
def vendor():
    sim = Sim({"anthropic-api": new_key()})
    yield sim
    sim.stop()


def started(vendor, *flags):
    purser = Purser(vendor, flags=["--worker-processes", "1", *flags])
    return purser, purser.new_agent()


def test_a_token_revoked_during_the_upload_makes_no_call(vendor):
    purser, agent = started(vendor)
    try:
        payload = json.dumps(body("x" * 200_000)).encode()
        with socket.create_connection(("127.0.0.1", purser.port), timeout=20) as s:
            s.sendall(f"POST {ANTHROPIC_BASE}/v1/messages HTTP/1.1\r\nHost: 127.0.0.1:{purser.port}\r\n"
                      f"x-api-key: {agent.token}\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload[:100_000])
            purser.api("POST", f"/workspaces/{agent.id}/stop", org=agent.org)
            s.sendall(payload[100_000:])
            assert s.recv(100).startswith(b"HTTP/1.1 401 ")
        assert vendor.calls() == []
    finally:
        purser.stop()


def test_a_revoked_token_is_refused_at_once_and_a_call_in_flight_ends_well(vendor):
    purser, agent = started(vendor)
    try:
        call = InBackground(agent.post, body("sim: events=40 delay_ms=50 output=40", stream=True))
        wait_until(lambda: vendor.calls(outcome="open"), "the call to reach the vendor")
        purser.api("POST", f"/workspaces/{agent.id}/stop", org=agent.org)
        assert agent.post(body()).status_code == 401
        answer = call.result()
        assert answer.status_code == 200 and "message_stop" in answer.text
        (row,) = agent.wait_entries(1)
        assert (row["state"], row["output_tokens"]) == ("settled", 40)
    finally:
        purser.stop()


def test_a_policy_that_nobody_confirms_is_used_until_its_age_limit_and_then_refuses(vendor):
    purser, agent = started(vendor, "--policy-max-age", str(int(3 * PATIENCE)))
    try:
        os.kill(purser.purserd_pid(), signal.SIGSTOP)
        assert agent.post(body()).status_code == 200
        answer = wait_until(lambda: (a := agent.post(body())).status_code != 200 and a, "the policy to grow old", 15)
        assert (answer.status_code, answer.headers["x-purser-code"]) == (503, "NO_POLICY")
        assert answer.headers["x-should-retry"] == "true"
        os.kill(purser.purserd_pid(), signal.SIGCONT)
        wait_until(lambda: agent.post(body()).status_code == 200, "the policy to be confirmed again")
    finally:
        os.kill(purser.purserd_pid(), signal.SIGCONT)
        purser.stop()


def test_once_a_new_key_is_set_no_call_goes_out_with_the_old_one():
    keys = {"anthropic-api": new_key(), "the new one": new_key()}
    vendor = Sim(keys)
    purser = Purser(vendor, keys={"anthropic-api": keys["anthropic-api"]})
    try:
        agent = purser.new_agent()
        assert agent.post(body()).status_code == 200
        purser.api("PUT", "/admin/platform/keys/anthropic-api", {"value": keys["the new one"]})
        # Each on a connection of its own, so that every worker that still takes calls gets some.
        assert {agent.post(body()).status_code for _ in range(30)} == {200}
        used = [c["key"]["name"] for c in vendor.calls()]
        assert used == ["anthropic-api"] + ["the new one"] * 30
    finally:
        purser.stop()
        vendor.stop()


def test_a_full_recorder_refuses_and_loses_nothing(vendor):
    purser, agent = started(vendor, "--recorder-slots", "64")
    slots = purser.health().json()["recorder"]["slots"]
    try:
        os.kill(purser.purserd_pid(), signal.SIGSTOP)
        answers = [agent.post(body()) for _ in range(slots + 5)]
        assert [a.status_code for a in answers] == [200] * slots + [503] * 5
        assert answers[-1].headers["x-purser-code"] == "RECORDER_FULL"
        os.kill(purser.purserd_pid(), signal.SIGCONT)
        rows = agent.wait_entries(slots)
        assert len({r["call_id"] for r in rows}) == slots == len(vendor.calls())
        assert {r["state"] for r in rows} == {"settled"}
        assert agent.post(body()).status_code == 200
    finally:
        os.kill(purser.purserd_pid(), signal.SIGCONT)
        purser.stop()


def test_bad_tokens_from_one_address_are_limited_and_good_ones_beside_them_are_not(vendor):
    purser = Purser(vendor, flags=["--auth-failures-per-minute", "5"])
    try:
        agent = purser.new_agent()
        bad = {"x-api-key": agent.token[:-1] + ("0" if agent.token[-1] != "0" else "1")}
        body = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}

        def post(path, headers):
            return httpx.post(purser.url + path, json=body, headers=headers, timeout=30, verify=False)

        answers = [post(ANTHROPIC_BASE + "/v1/messages", bad) for _ in range(10)]
        codes = [a.headers["x-purser-code"] for a in answers]
        assert codes == ["TOKEN_INVALID"] * codes.index("TOO_MANY_FAILURES") + ["TOO_MANY_FAILURES"] * codes.count(
            "TOO_MANY_FAILURES") and {a.status_code for a in answers} == {401, 429}
        last = answers[-1]
        assert last.json()["error"]["type"] == "rate_limit_error"
        assert (last.headers["retry-after"], last.headers["x-should-retry"]) == ("60", "false")
        assert last.headers["x-purser-call-id"] == last.json()["request_id"]
        other = post("/api/v1/internal/llm/openai/v1/chat/completions", {"authorization": f"Bearer {bad['x-api-key']}"})
        assert other.status_code == 429 and other.json()["error"]["code"] == "rate_limit_exceeded"
        listed = httpx.get(purser.url + ANTHROPIC_BASE + "/v1/models", headers=bad, timeout=30, verify=False)
        assert listed.headers["x-purser-code"] == "TOO_MANY_FAILURES"
        # A good token, on the same connection too, is none of them.
        with httpx.Client(timeout=30, verify=False) as client:
            url = purser.url + ANTHROPIC_BASE + "/v1/messages"
            assert client.post(url, json=body, headers=bad).status_code == 429
            for _ in range(20):
                assert client.post(url, json=body, headers={"x-api-key": agent.token}).status_code == 200
    finally:
        purser.stop()
