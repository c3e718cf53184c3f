"""An agent's environment is its plan, byte for byte, in every mode; every refusal says its way out."""

import json
import os
import sqlite3
import stat
import tomllib
import uuid
from pathlib import Path

import pytest

from harness import MODEL, Purser, new_key, wait_until

BYOK_MODEL = "claude-opus-4-7"
LOGIN = {"tokens": {"access_token": "sim-login-one", "refresh_token": "sim-refresh-one"}}


@pytest.fixture(scope="module")
def open_purser(shared_sim):
    """One whose orgs may keep vendor keys, and that asks no vendor about them."""
    purser = Purser(shared_sim, flags=["--verify-credentials", "off"])
    yield purser
    purser.stop()


def new_org(purser):
    org = purser.new_org()
    purser.api("PATCH", f"/admin/orgs/{org}", {"vendor_keys": "allow"})
    return org


def environ_of(workspace, program=b"sleep"):
    """What the kernel says of the agent's process: the raw bytes."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            raw = (path / "environ").read_bytes()
            name = (path / "comm").read_bytes().strip()
        except OSError:
            continue
        if name == program and b"WORKSPACE_ID=" + workspace.encode() + b"\0" in raw:
            return raw
    return None


def plan_of(purser, workspace, org):
    return purser.api("GET", f"/workspaces/{workspace}/env", org=org)


def expected(plan, secrets, token):
    """The plan with the values joined in, as execve takes it."""
    entries = []
    for row in plan["env"]:
        if row["action"] == "strip":
            continue
        value = {"usage_token": token, "secret": secrets.get(row["name"])}.get(row["source"], row["value"])
        entries.append(f"{row['name']}={value or ''}\0")
    return "".join(entries).encode()


MODES = {
    "platform_managed": (MODEL, {"PLAIN": "a b=c\n"}, None),
    "byok": (BYOK_MODEL, {"ANTHROPIC_API_KEY": new_key(), "PLAIN": "ü"}, None),
    "disabled": (BYOK_MODEL, {"ANTHROPIC_API_KEY": new_key(), "OPENAI_API_KEY": new_key()}, "disabled"),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_environment_is_the_plan_byte_for_byte(open_purser, mode):
    purser = open_purser
    model, own, override = MODES[mode]
    shared = {"SHARED": "from the org", "GEMINI_API_KEY": new_key()}
    org = new_org(purser)
    for name, value in shared.items():
        purser.api("PUT", "/settings/secrets", {"key": name, "value": value}, org=org)
    # Created with its own key in every mode: on platform_managed the plan must take it away.
    workspace, org = purser.new_workspace(["/bin/sleep", "600"], org=org, model=BYOK_MODEL, start=False,
                                          secrets={"ANTHROPIC_API_KEY": "sim-gone-soon"} | own)
    purser.api("PUT", f"/workspaces/{workspace}/model", {"model": model}, org=org)
    if override:
        purser.api("PUT", f"/admin/workspaces/{workspace}/llm-billing-mode", {"mode": override}, org=org)
    purser.api("POST", f"/workspaces/{workspace}/start", org=org)
    raw = wait_until(lambda: environ_of(workspace), "the agent's environment")
    seen = dict(e.split("=", 1) for e in raw.decode().split("\0") if e)
    token = seen.get("MOLECULE_LLM_USAGE_TOKEN")
    plan = plan_of(purser, workspace, org)
    assert plan["resolved_mode"] == mode
    assert raw == expected(plan, shared | own, token)
    assert (token is not None) == (mode == "platform_managed")
    assert seen["ANTHROPIC_API_KEY"] == (token or own["ANTHROPIC_API_KEY"])
    assert ("GEMINI_API_KEY" in seen) == (mode == "disabled")
    assert seen["SHARED"] == "from the org" and not any(name.startswith("PURSER") for name in seen)
    purser.api("POST", f"/workspaces/{workspace}/stop", org=org)


def test_pull_and_run_give_what_a_start_gives(open_purser):
    purser = open_purser
    secrets = {"ANTHROPIC_API_KEY": new_key(), "PLAIN": "one"}
    workspace, org = purser.new_workspace(["/bin/sleep", "600"], model=BYOK_MODEL, secrets=secrets)
    raw = wait_until(lambda: environ_of(workspace), "the agent's environment")
    seen = dict(e.split("=", 1) for e in raw.decode().split("\0") if e)
    token = purser.api("POST", f"/workspaces/{workspace}/tokens", org=org)["auth_token"]
    pulled = purser.api("GET", f"/workspaces/{workspace}/secrets/values", token=token)
    run = purser.api("POST", f"/workspaces/{workspace}/runs", token=token)
    assert pulled == secrets == {name: seen[name] for name in secrets}
    assert run["env"] == {name: value for name, value in seen.items() if name != "HOME"}
    purser.api("POST", f"/workspaces/{workspace}/stop", org=org)


# ---- refusals ----

def fails(purser, workspace, org):
    purser.request("POST", f"/workspaces/{workspace}/start", org=org)
    row = purser.api("GET", f"/workspaces/{workspace}", org=org)
    assert row["status"] == "failed", row
    return row["last_error"]["code"], row["last_error"]["error"]


def test_a_start_without_a_credential_is_refused(open_purser):
    workspace, org = open_purser.new_workspace(["/bin/sleep", "600"], model=BYOK_MODEL, start=False,
                                               secrets={"ANTHROPIC_API_KEY": "x"})
    open_purser.api("DELETE", f"/workspaces/{workspace}/secrets/ANTHROPIC_API_KEY", org=org)
    code, text = fails(open_purser, workspace, org)
    assert code == "MISSING_BYOK_CREDENTIAL" and "ANTHROPIC_API_KEY" in text


def test_a_model_without_a_platform_key_is_refused(open_purser):
    workspace, org = open_purser.new_workspace(["/bin/sleep", "600"], model="moonshot/kimi-k2.6", start=False)
    code, text = fails(open_purser, workspace, org)
    assert code == "MISSING_PLATFORM_PROXY" and "moonshot" in text and "purser platform key set" in text


def test_a_byok_model_on_the_platform_is_refused_with_the_id_to_use(open_purser):
    workspace, org = open_purser.new_workspace(["/bin/sleep", "600"], model=BYOK_MODEL, start=False,
                                               secrets={"ANTHROPIC_API_KEY": "x"})
    open_purser.api("PUT", f"/admin/workspaces/{workspace}/llm-billing-mode", {"mode": "platform_managed"}, org=org)
    code, text = fails(open_purser, workspace, org)
    assert code == "MODEL_NOT_ON_PLATFORM" and MODEL in text


def test_a_workspace_without_a_model_is_refused(open_purser):
    workspace, org = open_purser.new_workspace(["/bin/sleep", "600"], start=False)
    open_purser.api("DELETE", f"/workspaces/{workspace}/secrets/MODEL", org=org)
    code, _ = fails(open_purser, workspace, org)
    assert code == "MODEL_REQUIRED"


def test_an_operators_key_among_the_orgs_secrets_is_refused(open_purser):
    org = open_purser.new_org()
    open_purser.api("PUT", "/settings/secrets", {"key": "GITLAB_" + "TOKEN", "value": "x"}, org=org)
    workspace, _ = open_purser.new_workspace(["/bin/sleep", "600"], org=org, start=False)
    code, text = fails(open_purser, workspace, org)
    assert code == "OPERATOR_KEY_IN_ORG_SECRETS" and "GITLAB" in text


def test_a_missing_required_variable_is_refused(open_purser):
    workspace, org = open_purser.new_workspace(["/bin/sleep", "600"], start=False, required_env=["NEEDED"])
    code, text = fails(open_purser, workspace, org)
    assert code == "MISSING_REQUIRED_ENV" and "NEEDED" in text
    open_purser.api("POST", f"/workspaces/{workspace}/secrets", {"key": "NEEDED", "value": "here"}, org=org)
    open_purser.api("POST", f"/workspaces/{workspace}/start", org=org)
    open_purser.api("POST", f"/workspaces/{workspace}/stop", org=org)


def test_an_environment_that_is_too_large_is_refused(open_purser):
    secrets = {f"LARGE_{i}": "x" * 65000 for i in range(9)}
    workspace, org = open_purser.new_workspace(["/bin/sleep", "600"], start=False, secrets=secrets)
    for i in range(9, 18):
        open_purser.api("POST", f"/workspaces/{workspace}/secrets", {"key": f"LARGE_{i}", "value": "x" * 65000}, org=org)
    code, text = fails(open_purser, workspace, org)
    assert code == "ENVIRONMENT_TOO_LARGE" and "LARGE_" in text


def test_a_secret_that_cannot_be_read_refuses_everything(open_purser):
    workspace, org = open_purser.new_workspace(["/bin/sleep", "600"], start=False,
                                               secrets={"PLAIN": "one", "OTHER": "two"})
    with sqlite3.connect(open_purser.state / "purser.db", timeout=10) as db:
        db.execute("UPDATE workspace_secrets SET sealed = zeroblob(64) WHERE workspace_id = ? AND name = 'OTHER'",
                   (workspace,))
    token = open_purser.api("POST", f"/workspaces/{workspace}/tokens", org=org)["auth_token"]
    for method, path in (("GET", "secrets/values"), ("POST", "runs")):
        answer = open_purser.request(method, f"/workspaces/{workspace}/{path}", token=token)
        assert answer.json()["code"] == "SECRET_UNREADABLE" and "one" not in answer.text
    code, text = fails(open_purser, workspace, org)
    assert code == "SECRET_UNREADABLE" and "OTHER" in text


def test_a_shadowed_credential_is_warned_of_or_refused(open_purser, shared_sim):
    secrets = {"KIMI_API_KEY": new_key(), "CLAUDE_CODE_OAUTH_TOKEN": new_key(), "ANTHROPIC_API_KEY": new_key()}
    workspace, org = open_purser.new_workspace(["/bin/sleep", "600"], model="opus", start=False, secrets=secrets)
    warnings = plan_of(open_purser, workspace, org)["warnings"]
    assert [w["code"] for w in warnings] == ["SHADOWED_CREDENTIAL"] and "ANTHROPIC_API_KEY" in warnings[0]["text"]
    strict = Purser(shared_sim, flags=["--shadowed-credential", "refuse", "--verify-credentials", "off"])
    try:
        workspace, org = strict.new_workspace(["/bin/sleep", "600"], model="opus", start=False, secrets=secrets)
        assert fails(strict, workspace, org)[0] == "SHADOWED_CREDENTIAL"
    finally:
        strict.stop()


# ---- files ----

def codex(purser, secrets, model="gpt-5.4", **more):
    return purser.new_workspace(["/bin/sleep", "600"], runtime="codex", model=model, secrets=secrets, **more)


def restart(purser, workspace, org):
    purser.api("POST", f"/workspaces/{workspace}/restart", org=org)


def test_a_runtime_that_variables_do_not_steer_gets_its_files(open_purser):
    purser = open_purser
    workspace, org = codex(purser, {"CODEX_AUTH_JSON": json.dumps(LOGIN)})
    home = purser.home(workspace)
    config, login = home / ".codex/config.toml", home / ".codex/auth.json"
    assert json.loads(login.read_text()) == LOGIN and "requires_openai_auth = true" in config.read_text()
    for path in (config, login):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_uid == home.stat().st_uid

    login.write_text('{"renewed": true}')  # as the CLI does
    restart(purser, workspace, org)
    assert json.loads(login.read_text()) == {"renewed": True}
    purser.api("POST", f"/workspaces/{workspace}/secrets",
               {"key": "CODEX_AUTH_JSON", "value": json.dumps({"new": 1})}, org=org)
    restart(purser, workspace, org)
    assert json.loads(login.read_text()) == {"new": 1}

    # Another payer: the login must be gone, and the agent sent to the gateway with its own token.
    purser.api("DELETE", f"/workspaces/{workspace}/secrets/CODEX_AUTH_JSON", org=org)
    purser.api("POST", f"/workspaces/{workspace}/secrets", {"key": "OPENAI_API_KEY", "value": new_key()}, org=org)
    restart(purser, workspace, org)
    assert not login.exists()
    assert 'env_key = "OPENAI_API_KEY"' in config.read_text() and "https://api.openai.com/v1" in config.read_text()
    purser.api("POST", f"/workspaces/{workspace}/stop", org=org)


def test_an_agent_works_where_its_workspace_says(open_purser):
    folder = open_purser.folder / uuid.uuid4().hex
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    workspace, org = open_purser.new_workspace(["/bin/sh", "-c", "pwd; exec sleep 600"], workspace_dir=str(folder))
    wait_until(lambda: str(folder) in open_purser.api("GET", f"/workspaces/{workspace}/logs", org=org)["output"], "it")
    open_purser.api("POST", f"/workspaces/{workspace}/stop", org=org)


def test_the_plan_shows_files_and_no_value(open_purser):
    workspace, org = codex(open_purser, {"CODEX_AUTH_JSON": json.dumps(LOGIN)}, start=False)
    plan = plan_of(open_purser, workspace, org)
    assert [f["path"] for f in plan["files"]] == [".codex/config.toml", ".codex/auth.json", ".purser/workspace-token"]
    assert plan["files"][1]["content"] == "${CODEX_AUTH_JSON}\n" and plan["files"][1]["refreshed"]
    shown = open_purser.cli("env", "--org", org, workspace).stdout
    assert "~/.codex/auth.json" in shown and "${CODEX_AUTH_JSON}" in shown and "CODEX_AUTH_JSON" in shown
    assert "sim-login-one" not in shown + json.dumps(plan)


def test_what_stands_in_quotes_stays_in_them(open_purser):
    model = 'openai-api:gpt-5.4" \\n= [x] \\'
    workspace, org = codex(open_purser, {"OPENAI_API_KEY": new_key()}, model=model)
    config = tomllib.loads((open_purser.home(workspace) / ".codex/config.toml").read_text())
    assert config["model"] == model and set(config) == {"model", "model_provider", "model_providers"}
    open_purser.api("POST", f"/workspaces/{workspace}/stop", org=org)


def test_a_replay_sees_that_files_would_be_others(open_purser, tmp_path):
    workspace, org = codex(open_purser, {"OPENAI_API_KEY": new_key()})
    open_purser.api("POST", f"/workspaces/{workspace}/stop", org=org)
    other = tmp_path / "other.yaml"
    other.write_text(open_purser.cli_offline("registry", "show", "--source").stdout.replace("env_key = ", "env_keys = "))
    replay = ["audit", "replay", "--org", org, "--workspace", workspace, "--json"]
    assert "files in HOME" not in open_purser.cli(*replay).stdout
    assert "files in HOME would be others" in open_purser.cli(*replay, "--registry", other, check=False).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="without root the agent is who purser is: nothing to get")
def test_links_in_home_lead_nowhere(open_purser):
    purser = open_purser
    workspace, org = codex(purser, {"OPENAI_API_KEY": new_key()})
    home, bait = purser.home(workspace), purser.folder / uuid.uuid4().hex
    bait.mkdir(mode=0o700)
    purser.api("POST", f"/workspaces/{workspace}/stop", org=org)
    (home / ".codex/config.toml").unlink()
    (home / ".codex").rename(home / "away")
    (home / ".codex").symlink_to(bait)
    code, text = fails(purser, workspace, org)
    assert code == "LAUNCH_FAILED" and ".codex/config.toml" in text and not list(bait.iterdir())


# ---- an agent that tells everything it was given ----

def test_an_agent_that_prints_its_environment_leaves_no_secret_behind(open_purser):
    purser = open_purser
    secrets = {"ANTHROPIC_API_KEY": new_key(), "PLAIN": "plain-" + uuid.uuid4().hex,
               "MANY_LINES": "first-" + uuid.uuid4().hex + "\nsecond-" + uuid.uuid4().hex}
    workspace, org = purser.new_workspace(
        ["/bin/sh", "-c", 'env; env -0; cat /proc/self/environ; echo done; exec sleep 600'],
        model=BYOK_MODEL, secrets=secrets)
    platform, _ = purser.new_workspace(["/bin/sh", "-c", "env; echo done; exec sleep 600"], org=org)
    token = dict(e.split("=", 1) for e in wait_until(lambda: environ_of(platform), "it").decode().split("\0") if e)[
        "MOLECULE_LLM_USAGE_TOKEN"]
    for w in (workspace, platform):
        wait_until(lambda: "done" in purser.api("GET", f"/workspaces/{w}/logs", org=org)["output"], "its output")
        purser.api("POST", f"/workspaces/{w}/stop", org=org)
    told = [purser.api("GET", f"/workspaces/{w}/{what}", org=org) for w in (workspace, platform)
            for what in ("logs", "env", "state", "audit", "secrets")]
    told += [purser.api("GET", f"/workspaces/{w}", org=org) for w in (workspace, platform)]
    kept = b"".join(p.read_bytes() for p in (purser.state / "agents").rglob("*") if p.is_file())
    with sqlite3.connect(purser.state / "purser.db", timeout=10) as db:
        kept += repr([db.execute(f"SELECT * FROM {t}").fetchall() for t in ("events", "decisions", "workspaces")]).encode()
    everything = json.dumps(told) + purser.log() + kept.decode(errors="replace")
    for value in [*secrets.values(), token]:
        for line in value.split("\n"):
            assert line not in everything
