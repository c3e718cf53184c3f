"""verify_credentials: a vendor's clear no to an org's own key, and nothing else, counts."""

import socket
import threading

import pytest

from harness import Purser, Sim, new_key

MODEL = "claude-opus-4-7"


@pytest.fixture(scope="module")
def vendor():
    sim = Sim({"customer": new_key()})
    yield sim
    sim.stop()


def make(vendor, policy, url=None):
    purser = Purser(vendor if url is None else None, keys={}, flags=["--verify-credentials", policy] + (
        ["--vendor-override-url", url] if url else []))
    return purser


@pytest.fixture(scope="module")
def strict(vendor):
    purser = make(vendor, "refuse")
    yield purser
    purser.stop()


@pytest.fixture(scope="module")
def lenient(vendor):
    purser = Purser(vendor, keys={})  # warn is the default
    yield purser
    purser.stop()


@pytest.fixture(autouse=True)
def fresh(vendor):
    vendor.reset()


def asked(vendor):
    """The calls that looked at a key: nothing else calls this vendor."""
    return vendor.stats()["calls"]


def body(key, **more):
    return {"name": "ws-" + new_key()[-8:], "model": MODEL, "command": ["/bin/sleep", "600"],
            "secrets": {"ANTHROPIC_API_KEY": key} | more.pop("secrets", {})} | more


def test_create_refuses_a_bad_key_before_there_is_a_workspace(strict, vendor):
    org, key = strict.new_org(), new_key()
    answer = strict.request("POST", "/workspaces", body(key), org=org)
    assert answer.status_code == 422 and answer.json()["code"] == "INVALID_BYOK_CREDENTIAL"
    assert "ANTHROPIC_API_KEY" in answer.json()["error"] and key not in answer.text
    assert "ws-" not in strict.request("GET", "/workspaces", org=org).text
    (call,) = asked(vendor)
    assert (call["kind"], call["status"], call["path"]) == ("models", 401, "/v1/models")
    assert key not in strict.log()


def test_create_refuses_a_bad_key_that_is_inherited(strict):
    org = strict.new_org()
    strict.api("PATCH", f"/admin/orgs/{org}", {"vendor_keys": "allow"})
    strict.api("PUT", "/settings/secrets", {"key": "ANTHROPIC_API_KEY", "value": new_key()}, org=org)
    answer = strict.request("POST", "/workspaces", {"name": "inherits", "model": MODEL}, org=org)
    assert answer.status_code == 422 and answer.json()["code"] == "INVALID_BYOK_CREDENTIAL"


def test_a_good_key_starts_and_is_asked_for_once(strict, vendor):
    org = strict.new_org()
    made = strict.api("POST", "/workspaces", body(vendor.keys["customer"]), org=org)
    assert made["status"] in ("online", "provisioning") and "warnings" not in made
    strict.api("POST", f"/workspaces/{made['id']}/restart", org=org)
    assert len(asked(vendor)) <= 1  # the module's first test with this key asked, later ones remember
    strict.api("POST", f"/workspaces/{made['id']}/stop", org=org)


def test_a_write_refuses_a_bad_key_and_keeps_the_good_one(strict, vendor):
    org = strict.new_org()
    made = strict.api("POST", "/workspaces", body(vendor.keys["customer"], start=False), org=org)
    answer = strict.request("POST", f"/workspaces/{made['id']}/secrets",
                            {"key": "ANTHROPIC_API_KEY", "value": new_key()}, org=org)
    assert answer.status_code == 422 and answer.json()["code"] == "INVALID_BYOK_CREDENTIAL"
    run = strict.api("POST", f"/workspaces/{made['id']}/runs", org=org)
    assert run["env"]["ANTHROPIC_API_KEY"] == vendor.keys["customer"]


def test_a_start_and_a_run_refuse_a_key_that_went_bad(lenient, vendor, strict):
    # Stored while nobody could tell: the other vendor is one that cannot be reached.
    org = strict.new_org()
    made = strict.api("POST", "/workspaces", body(new_key(), secrets={"ANTHROPIC_BASE_URL": vendor.url}, start=False), org=org)
    strict.api("DELETE", f"/workspaces/{made['id']}/secrets/ANTHROPIC_BASE_URL", org=org)
    strict.request("POST", f"/workspaces/{made['id']}/start", org=org)
    row = strict.api("GET", f"/workspaces/{made['id']}", org=org)
    assert row["status"] == "failed" and row["last_error"]["code"] == "INVALID_BYOK_CREDENTIAL"
    answer = strict.request("POST", f"/workspaces/{made['id']}/runs", org=org)
    assert answer.status_code == 422 and answer.json()["code"] == "INVALID_BYOK_CREDENTIAL"


def test_the_default_warns_and_starts(lenient):
    org, key = lenient.new_org(), new_key()
    made = lenient.api("POST", "/workspaces", body(key), org=org)
    assert [w["code"] for w in made["warnings"]] == ["INVALID_BYOK_CREDENTIAL"] and made["status"] != "failed"
    written = lenient.api("POST", f"/workspaces/{made['id']}/secrets", {"key": "ANTHROPIC_API_KEY", "value": new_key()}, org=org)
    assert [w["code"] for w in written["warnings"]] == ["INVALID_BYOK_CREDENTIAL"]
    run = lenient.api("POST", f"/workspaces/{made['id']}/runs", org=org)
    assert "INVALID_BYOK_CREDENTIAL" in [w["code"] for w in run["warnings"]]
    assert "INVALID_BYOK_CREDENTIAL" in lenient.log() and key not in lenient.log()
    assert "WORKSPACE_WARNING" in lenient.request("GET", f"/workspaces/{made['id']}/events", org=org).text
    lenient.api("POST", f"/workspaces/{made['id']}/stop", org=org)


def test_off_asks_nobody(vendor):
    purser = make(vendor, "off")
    try:
        made = purser.api("POST", "/workspaces", body(new_key()), org=purser.new_org())
        assert made["status"] != "failed" and "warnings" not in made and asked(vendor) == []
    finally:
        purser.stop()


def test_a_url_of_the_workspaces_own_is_never_called(strict, vendor):
    """Neither it (it may be anything inside the operator's network) nor the vendor (it is not its key)."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        made = strict.api("POST", "/workspaces", body(
            new_key(), secrets={"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{trap.getsockname()[1]}"}), org=strict.new_org())
        assert made["status"] != "failed"
        with pytest.raises(BlockingIOError):
            trap.accept()
    assert asked(vendor) == []


def test_a_platform_managed_workspace_is_not_asked_about(strict, vendor):
    strict.request("POST", "/workspaces", {"name": "managed", "model": "anthropic/claude-opus-4-7"}, org=strict.new_org())
    assert asked(vendor) == []


def answering(answer):
    """A vendor that says one thing to everybody; None: nothing at all."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                conn, _ = server.accept()
            except OSError:
                return
            with conn:
                conn.recv(65536)
                if answer:
                    conn.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return server


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 500 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 429 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 301 there\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    None])
def test_a_vendor_in_trouble_refuses_nobody(answer):
    server = answering(answer)
    purser = make(None, "refuse", url=f"http://127.0.0.1:{server.getsockname()[1]}")
    try:
        made = purser.api("POST", "/workspaces", body(new_key()), org=purser.new_org())
        assert made["status"] != "failed" and "warnings" not in made
    finally:
        purser.stop()
        server.close()


def test_a_vendor_that_is_away_refuses_nobody():
    purser = make(None, "refuse", url="http://127.0.0.1:1")
    try:
        made = purser.api("POST", "/workspaces", body(new_key()), org=purser.new_org())
        assert made["status"] != "failed"
    finally:
        purser.stop()
