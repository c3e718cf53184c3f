"""What must not matter does not: neither the server's own environment nor a stored provider changes a decision."""

import ctypes
import ctypes.util
import os
import re
import time
import uuid
from pathlib import Path

import pytest

from harness import MODEL, SOURCE, Purser, wait_until

HOSTILE = {
    "MOLECULE_LLM_BILLING_MODE": "byok",
    "MOLECULE_LLM_BILLING_MODE_RESOLVED": "disabled",
    "MOLECULE_ORG_BILLING_MODE": "byok",
    "OPENAI_BASE_URL": "http://127.0.0.1:1/hostile",
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:1/hostile",
    "ANTHROPIC_API_KEY": "hostile-anthropic-key",
    "OPENAI_API_KEY": "hostile-openai-key",
    "CLAUDE_CODE_OAUTH_TOKEN": "hostile-oauth-token",
    "LLM_PROVIDER": "hostile-provider",
    "MODEL": "hostile-model",
    "MOLECULE_MODEL": "hostile-model",
    "http_proxy": "http://127.0.0.1:1",
}

# One workspace of each kind of decision: name -> (fields, override).
KINDS = {
    "platform": ({"model": MODEL}, None),
    "byok": ({"model": "opus", "secrets": {"CLAUDE_CODE_OAUTH_TOKEN": "own-token"}}, None),
    "byok by override": ({"model": "claude-opus-4-7", "secrets": {"ANTHROPIC_API_KEY": "own-key"}}, "byok"),
    "disabled": ({"model": "opus", "secrets": {"CLAUDE_CODE_OAUTH_TOKEN": "own-token"}}, "disabled"),
    "codex": ({"runtime": "codex", "model": "gpt-5.5", "secrets": {"OPENAI_API_KEY": "own-openai"}}, None),
    "no registry entry": ({"runtime": "langgraph", "model": "anything"}, None),
}


# ---- a row that the API refuses to write, sealed as the vault does ----

def seal(state, org, workspace, name, value):
    """The sealed bytes and the key's id, made from the keyring file; see src/vault/vault.c for the layout."""
    lines = dict(line.split(" ", 1) for line in (state / "master-key").read_text().splitlines() if not line.startswith("key "))
    keys = dict(line.split(" ")[1:] for line in (state / "master-key").read_text().splitlines() if line.startswith("key "))
    current = lines["current"]
    sodium = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")
    nonce = uuid.uuid4().bytes + b"\0" * 8
    bound = (b"purser-seal-1".ljust(16, b"\0") + bytes([2 if workspace else 1]) + uuid.UUID(org).bytes
             + (uuid.UUID(workspace).bytes if workspace else b"\0" * 16)
             + (1).to_bytes(8, "big") + int(current).to_bytes(8, "big") + name.encode())
    out = ctypes.create_string_buffer(len(value) + 16)
    assert sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
        out, None, value.encode(), ctypes.c_ulonglong(len(value)), bound, ctypes.c_ulonglong(len(bound)), None, nonce,
        bytes.fromhex(keys[current])) == 0
    return nonce + out.raw, int(current)


def plant(purser, org, workspace, name, value):
    """Puts a secret into the store, past everything that would refuse it."""
    sealed, key = seal(purser.state, org, workspace, name, value)
    now = int(time.time() * 1000)
    columns = "org_id, name, sealed, key_id, version, fingerprint, created_ms, updated_ms"
    row = (org, name, sealed, key, 1, uuid.uuid4().bytes * 2, now, now)
    if workspace:
        purser.sql(f"INSERT INTO workspace_secrets ({columns}, workspace_id) VALUES (?,?,?,?,?,?,?,?,?)", *row, workspace)
    else:
        purser.sql(f"INSERT INTO global_secrets ({columns}) VALUES (?,?,?,?,?,?,?,?)", *row)


# ---- two servers with the same workspaces ----

def make(purser, org, fields, override):
    """A workspace that is not started, with its override."""
    script = 'umask 077; env -0 > "$HOME/env.part" && mv "$HOME/env.part" "$HOME/env"; exec sleep 600'
    workspace, _ = purser.new_workspace(["/bin/sh", "-c", script], org=org, start=False, **fields)
    if override:
        purser.api("PUT", f"/admin/workspaces/{workspace}/llm-billing-mode", {"mode": override}, org=org)
    return workspace


def comparable(purser, value, workspace):
    """Without what differs between any two starts."""
    text = str(value).replace(workspace, "<id>").replace(f":{purser.port}", ":<port>")
    return re.sub(r"psr_use_\w+", "<token>", text)


def look(purser, org, workspace):
    """Everything that a decision shows: the mode with its trace, the plan, the start and its record."""
    mode = purser.api("GET", f"/admin/workspaces/{workspace}/llm-billing-mode?trace=1", org=org)
    plan = purser.api("GET", f"/workspaces/{workspace}/env", org=org)["env"]
    started = purser.request("POST", f"/workspaces/{workspace}/start", org=org)
    seen = {"mode": {k: v for k, v in mode.items() if k != "workspace_id"},
            "plan": [(r["name"], r["action"], r["scope"], comparable(purser, r["value"], workspace))
                     for r in plan if r["name"] not in ("HOME", "LLM_PROVIDER")],
            "start": (started.status_code, started.json().get("code"))}
    if started.status_code == 200:
        env = wait_until(lambda: purser.read_env(workspace), "the agent's environment")
        seen["env"] = {k: comparable(purser, v, workspace) for k, v in env.items() if k not in ("HOME", "PWD")}
        purser.api("POST", f"/workspaces/{workspace}/stop", org=org)
    (record,) = purser.api("GET", f"/admin/audit/decisions?workspace={workspace}")["decisions"]
    seen["record"] = (record["kind"], record["mode"], record["source"], record["provider"], record["code"])
    return seen


@pytest.fixture(scope="module")
def plain(shared_sim):
    purser = Purser(shared_sim)
    org = purser.new_org()
    yield {kind: look(purser, org, make(purser, org, *KINDS[kind])) for kind in KINDS}
    purser.stop()


@pytest.fixture(scope="module")
def hostile(shared_sim):
    purser = Purser(shared_sim, env=HOSTILE)
    yield purser
    purser.stop()


def environ_of(pid):
    return dict(p.split("=", 1) for p in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in p)


@pytest.mark.skipif(os.geteuid() != 0, reason="purserd is not dumpable: only root can read its environ")
def test_the_server_really_has_the_hostile_environment(hostile):
    assert HOSTILE.items() <= environ_of(hostile.process.pid).items()
    assert HOSTILE.items() <= environ_of(hostile.purserd_pid()).items()


def test_the_kinds_cover_every_mode_and_source(plain):
    assert {k: (v["mode"]["resolved_mode"], v["mode"]["source"]) for k, v in plain.items()} == {
        "platform": ("platform_managed", "derived_provider"),
        "byok": ("byok", "derived_provider"),
        "byok by override": ("byok", "workspace_override"),
        "disabled": ("disabled", "workspace_override"),
        "codex": ("byok", "derived_provider"),
        "no registry entry": ("platform_managed", "derived_default")}
    assert all(v["start"][0] == 200 and v["env"] for v in plain.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_servers_environment_changes_nothing(hostile, plain, kind):
    org = hostile.new_org()
    seen = look(hostile, org, make(hostile, org, *KINDS[kind]))
    assert seen == plain[kind]
    assert "hostile" not in str(seen)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ["org", "workspace"])
def test_a_stored_provider_changes_nothing(hostile, plain, kind, scope):
    org = hostile.new_org()
    workspace = make(hostile, org, *KINDS[kind])
    plant(hostile, org, workspace if scope == "workspace" else None, "LLM_PROVIDER", "anthropic-api")
    seen = look(hostile, org, workspace)
    assert seen == plain[kind]
    assert "LLM_PROVIDER" not in seen["env"]


def test_a_planted_row_is_really_read(hostile):
    """Otherwise the tests above would show nothing: a planted MODEL is the model."""
    org = hostile.new_org()
    workspace = make(hostile, org, *KINDS["platform"])
    plant(hostile, org, workspace, "MOLECULE_MODEL", "anthropic/claude-sonnet-4-6")
    assert hostile.api("GET", f"/workspaces/{workspace}/model", org=org)["model"] == "anthropic/claude-sonnet-4-6"


def test_a_provider_can_be_neither_stored_nor_set(hostile):
    org = hostile.new_org()
    workspace = make(hostile, org, *KINDS["platform"])
    for path, method in ((f"/workspaces/{workspace}/secrets", "PUT"), ("/settings/secrets", "PUT")):
        answer = hostile.request(method, path, {"key": "LLM_PROVIDER", "value": "anthropic-api"}, org=org)
        assert (answer.status_code, answer.json()["code"]) == (400, "RESERVED_NAME")
    for method in ("GET", "PUT"):
        answer = hostile.request(method, f"/workspaces/{workspace}/provider", org=org)
        assert (answer.status_code, answer.json()["code"]) == (410, "PROVIDER_ENDPOINT_RETIRED")


# ---- and nothing else could ----

def files_that_say(pattern, *folders):
    return {str(f.relative_to(SOURCE / "src")) for folder in folders for f in (SOURCE / "src" / folder).rglob("*.c")
            if re.search(pattern, f.read_text())}


def test_only_the_gatherer_decides_for_a_server():
    """billing.c answers when the store is down; a plan is made for a start, or again from its record."""
    assert files_that_say(r"\bbilling_decide\(", "api", "daemon", "launch", "edge", "store", "ledger") == {
        "api/gather.c", "api/billing.c"}
    assert files_that_say(r"\benv_plan_make\(", "api", "daemon", "launch", "edge", "store", "ledger") == {
        "api/plan.c", "api/replay.c"}


def test_nothing_that_decides_or_starts_reads_the_environment():
    assert files_that_say(r"\b(secure_)?getenv\(|\benviron\b", "core", "registry", "api", "vault", "store", "ledger",
                          "edge", "launch") == set()
