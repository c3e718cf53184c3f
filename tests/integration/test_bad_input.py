"""What goes in wrong comes out as a clear error: nothing started halfway, nothing lost."""

import json
import re
import shutil
import socket

import pytest

from harness import MODEL, SOURCE, Purser, Sim, free_port, make_folder, new_key, run_up, wait_until
from raw import read_head


def body(**more):
    return {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]} | more


@pytest.fixture(scope="module")
def shared_agent(shared_purser):
    agent = shared_purser.new_agent()
    yield agent
    agent.stop()


@pytest.fixture
def agent(purser, shared_agent):
    return shared_agent


def assert_refused(answer, status, kind):
    """In the dialect's own shape, with a sentence."""
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["type"] == "error" and told["error"]["type"] == kind
    assert len(told["error"]["message"]) > 10


# ---- calls ----

@pytest.mark.parametrize("token", ["", "garbage", "psr_use_" + "A" * 43 + "000000", "psr_adm_" + "A" * 49])
def test_a_bad_token_is_401_and_no_call(agent, sim, token):
    answer = agent.post(body(), headers={"x-api-key": token})
    assert_refused(answer, 401, "authentication_error")
    assert sim.calls() == []


def test_two_different_tokens_are_401(agent, sim):
    other = agent.purser.new_agent()
    answer = agent.post(body(), headers={"authorization": f"Bearer {other.token}"})
    assert_refused(answer, 401, "authentication_error")
    assert sim.calls() == []
    other.stop()


@pytest.mark.parametrize("name, content", [
    ("model missing", b'{"max_tokens":16,"messages":[]}'),
    ("model twice", b'{"model":"%s","model":"%s","messages":[]}' % ((MODEL.encode(),) * 2)),
    ("model twice, the second spelled with an escape",
     b'{"model":"%s","mod\\u0065l":"anthropic/claude-sonnet-4-6","messages":[]}' % MODEL.encode()),
    ("model spelled with an escape", b'{"mod\\u0065l":"%s","messages":[]}' % MODEL.encode()),
    ("model is a number", b'{"model":7,"messages":[]}'),
    ("model is null", b'{"model":null,"messages":[]}'),
    ("model is empty", b'{"model":"","messages":[]}'),
    ("no JSON", b"hello"),
    ("JSON cut short", b'{"model":"%s","messages":[' % MODEL.encode()),
    ("a list", b'["model"]'),
    ("nothing", b""),
    ("something behind it", b'{"model":"%s","messages":[]} {}' % MODEL.encode()),
])
def test_a_body_that_cannot_be_judged_is_400(agent, sim, name, content):
    assert_refused(agent.post(content=content), 400, "invalid_request_error")
    assert sim.calls() == [], name


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4-6", "claude-opus-4-7", "no-such/model", "anthropic/"])
def test_a_model_outside_the_grant_is_403(agent, sim, model):
    assert_refused(agent.post(body(model=model)), 403, "permission_error")
    assert sim.calls() == []


def test_a_body_that_is_too_big_is_413_before_it_is_sent(agent, sim):
    head = (f"POST /api/v1/internal/llm/anthropic/v1/messages HTTP/1.1\r\nHost: 127.0.0.1:{agent.purser.port}\r\n"
            f"x-api-key: {agent.token}\r\ncontent-type: application/json\r\ncontent-length: 4000000000\r\n\r\n")
    with socket.create_connection(("127.0.0.1", agent.purser.port), 10) as s:
        s.sendall(head.encode())
        file = s.makefile("rb")
        line, headers = read_head(file)
        told = json.loads(file.read(int(headers["content-length"][0])))  # the gateway waits for the rest of the call
    assert line.startswith("HTTP/1.1 413 ") and told["error"]["type"] == "request_too_large"
    assert sim.calls() == []


def test_a_long_chunked_body_is_411_and_a_compressed_one_415(agent, sim):
    pieces = (b" " * 65536 for _ in range(80))
    assert agent.post(content=pieces).status_code == 411
    assert agent.post(body(), headers={"content-encoding": "gzip"}).status_code == 415
    assert sim.calls() == []


def test_a_refused_call_leaves_no_cost(agent, sim):
    before = agent.usage()["cost_nano_usd"]
    agent.post(content=b"hello")
    agent.post(body(model="no-such/model"))
    agent.post(body())
    wait_until(lambda: agent.usage()["cost_nano_usd"] > before, "the good call's row")
    assert len(sim.calls()) == 1


# ---- walls between orgs ----

def test_a_foreign_orgs_workspace_is_not_there(purser):
    agent = purser.new_agent()
    other = purser.new_org()
    stranger = purser.api("POST", "/org/tokens", {"name": "stranger"}, org=other)["auth_token"]
    missing = "0190f0e0-0000-7000-8000-000000000000"
    for method, path in (("GET", ""), ("GET", "/usage"), ("POST", "/stop"), ("GET", "/secrets"), ("DELETE", "")):
        foreign = purser.request(method, f"/workspaces/{agent.id}{path}", token=stranger)
        nothing = purser.request(method, f"/workspaces/{missing}{path}", token=stranger)
        assert foreign.status_code == nothing.status_code == 404, (method, path, foreign.text)
        assert foreign.text == nothing.text
    assert agent.row()["id"] == agent.id
    agent.stop()


def test_no_or_bad_credential_is_401(purser):
    for token in ("", "garbage", "psr_adm_" + "A" * 49):
        answer = purser.request("GET", "/workspaces", token=token)
        assert answer.status_code == 401 and answer.json()["code"] == "UNAUTHORIZED"


# ---- upstreams that are not there ----

def test_a_dead_upstream_is_502_and_a_failed_row():
    sim = Sim({"anthropic-api": new_key()})
    purser = Purser(sim)
    try:
        agent = purser.new_agent()
        sim.stop()
        assert_refused(agent.post(body()), 502, "api_error")
        (row,) = agent.wait_entries(1)
        assert (row["state"], row["cost_nano_usd"]) == ("failed", 0)
        # When it is back, so are the calls.
        sim = Sim(sim.keys, listen=sim.url.removeprefix("http://"))
        wait_until(lambda: agent.post(body()).status_code == 200, "the vendor to be tried again", 30)
    finally:
        purser.stop()
        sim.stop()


def changed_registry(folder, old, new):
    text = (SOURCE / "registry" / "providers.yaml").read_text()
    assert old in text
    path = folder / "providers.yaml"
    path.write_text(text.replace(old, new))
    return path


def test_a_vendor_name_that_does_not_resolve_is_502_and_told_in_health():
    folder = make_folder()
    registry = changed_registry(folder, "//api.anthropic.com", "//no-such-vendor.invalid")
    purser = Purser(keys={"anthropic-api": new_key()}, flags=["--registry", registry])
    try:
        agent = purser.new_agent()
        assert_refused(agent.post(body()), 502, "api_error")
        assert "no-such-vendor.invalid" in purser.health().text
        assert agent.usage()["cost_nano_usd"] == 0
    finally:
        purser.stop()
        shutil.rmtree(folder)


# ---- starts that must not happen ----

def refused_start(*flags, code, says):
    done = run_up(*flags)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert code in done.stderr, done.stderr
    for pattern in says:
        assert re.search(pattern, done.stderr), (pattern, done.stderr)


def test_a_bad_registry_refuses_the_start_with_file_and_line():
    folder, port = make_folder(), free_port()
    registry = changed_registry(folder, "    kind: api-key\n", "    kind: api-key\n    colour: red\n")
    refused_start("--state", folder / "state", "--listen", f"127.0.0.1:{port}", "--registry", registry,
                  code="REGISTRY_INVALID", says=[r"providers\.yaml:\d+", "colour"])
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", port)) != 0, "something listens after a refused start"
    shutil.rmtree(folder)


def test_a_port_in_use_refuses_the_start_and_says_which():
    folder = make_folder()
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        refused_start("--state", folder / "state", "--listen", f"127.0.0.1:{port}", code="PORT_IN_USE", says=[str(port)])
    # Nothing was left halfway: the same state starts once the port is free.
    purser = Purser(state=folder / "state", port=port)
    purser.stop()
    shutil.rmtree(folder)


def test_a_second_purser_on_the_same_state_is_refused_and_the_first_goes_on(purser):
    refused_start("--state", purser.state, "--listen", f"127.0.0.1:{free_port()}", code="STATE_LOCKED",
                  says=[re.escape(str(purser.state))])
    assert purser.healthy()


def test_an_unreadable_master_key_refuses_the_start_and_loses_nothing():
    folder = make_folder()
    state = folder / "state"
    purser = Purser(state=state, keys={"anthropic-api": new_key()})
    workspace, org = purser.new_workspace(["/bin/true"], start=False)
    purser.stop()
    (key,) = [p for p in state.iterdir() if "master" in p.name]
    good = key.read_bytes()
    for bad in (b"", good[:7], good + b"x"):
        key.write_bytes(bad)
        refused_start("--state", state, "--listen", f"127.0.0.1:{free_port()}", code="MASTER_KEY_UNREADABLE",
                      says=[re.escape(key.name)])
        assert key.read_bytes() == bad, "an unreadable key must never be replaced"
    key.write_bytes(good)
    purser = Purser(state=state)
    assert purser.api("GET", f"/workspaces/{workspace}", org=org)["id"] == workspace
    purser.stop()
    shutil.rmtree(folder)


def test_an_unknown_setting_refuses_the_start():
    folder = make_folder()
    config = folder / "purser.yaml"
    config.write_text("lissten: 127.0.0.1:1\n")
    refused_start("--state", folder / "state", "--config", config, code="SETTINGS_INVALID", says=["lissten", r"purser\.yaml:1"])
    shutil.rmtree(folder)
