"""Runs: the environment of a workspace for a process that purser does not start, and `purser run`."""

import json
import os
import signal
import subprocess
import sys

import pytest

from harness import MODEL, PATIENCE, PROGRAM, Purser, Sim, VENDOR_MODEL, clean_environment, new_key, read_line, wait_until

BYOK_MODEL = "claude-opus-4-7"
TTL_S = int(2 * PATIENCE)  # of a run that is to end soon, and not before somebody could renew it


@pytest.fixture(scope="module")
def shared_sim():
    """A vendor with two customers: the platform, and an org of its own."""
    sim = Sim({"anthropic-api": new_key(), "customer": new_key()})
    yield sim
    sim.stop()


@pytest.fixture(scope="module")
def shared_purser(shared_sim):
    purser = Purser(shared_sim, keys={"anthropic-api": shared_sim.keys["anthropic-api"]})
    yield purser
    purser.stop()


@pytest.fixture
def external(purser):
    """An external workspace on the platform's keys, as a laptop knows it: its id and its own token."""
    made = purser.api("POST", "/workspaces", {"name": "ext-" + new_key()[-8:], "runtime": "external", "model": MODEL},
                      org=purser.default_org())
    return made["id"], made["connection"]["auth_token"]


def byok(purser, secrets=None, **more):
    workspace, _ = purser.new_workspace(["/bin/true"], model=BYOK_MODEL, start=False,
                                        secrets=secrets or {"ANTHROPIC_API_KEY": new_key()}, **more)
    return workspace, purser.api("POST", f"/workspaces/{workspace}/tokens", org=purser.org)["auth_token"]


def decisions(purser, workspace):
    events = purser.api("GET", f"/workspaces/{workspace}/audit", org=purser.org)["events"]
    return [e for e in events if e["type"] == "decision"]


def call(purser, token):
    """One call of the gateway; its status."""
    import httpx

    return httpx.post(purser.url + "/api/v1/internal/llm/anthropic/v1/messages", timeout=30, verify=False, json={
        "model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]},
        headers={"x-api-key": token, "anthropic-version": "2023-06-01"}).status_code


# ---- the API ----

def test_a_run_has_a_token_of_its_own_that_ends_with_it(purser, sim, external):
    workspace, own = external
    run = purser.api("POST", f"/workspaces/{workspace}/runs", token=own)
    env = run["env"]
    assert run["resolved_mode"] == "platform_managed" and env["WORKSPACE_ID"] == workspace and "HOME" not in env
    assert run["ttl_seconds"] == 86400 and run["warnings"] == []
    token = env["MOLECULE_LLM_USAGE_TOKEN"]
    assert call(purser, token) == 200
    (listed,) = purser.api("GET", f"/workspaces/{workspace}/runs", token=own)["runs"]
    assert listed["run_id"] == run["run_id"] and token not in json.dumps(listed)
    purser.api("DELETE", f"/workspaces/{workspace}/runs/{run['run_id']}", token=own)
    assert call(purser, token) == 401
    assert purser.api("GET", f"/workspaces/{workspace}/runs", token=own)["count"] == 0
    assert purser.request("DELETE", f"/workspaces/{workspace}/runs/{run['run_id']}", token=own).status_code == 404


def test_a_run_is_a_decision_on_record(purser, external):
    workspace, own = external
    run = purser.api("POST", f"/workspaces/{workspace}/runs", token=own)
    (record,) = decisions(purser, workspace)
    assert record["kind"] == "run" and record["id"] == run["run_id"]
    assert run["env"]["MOLECULE_LLM_USAGE_TOKEN"] not in json.dumps(record)
    replayed = json.loads(purser.cli("audit", "replay", "--org", purser.org, "--workspace", workspace, "--json").stdout)
    assert (replayed["replayed"], replayed["different"]) == (1, 0)


def test_a_refused_run_says_why_and_leaves_the_workspace_alone(purser):
    workspace, own = byok(purser)
    purser.api("DELETE", f"/workspaces/{workspace}/secrets/ANTHROPIC_API_KEY", org=purser.org)
    answer = purser.request("POST", f"/workspaces/{workspace}/runs", token=own)
    assert answer.status_code == 422 and answer.json()["code"] == "MISSING_BYOK_CREDENTIAL"
    assert purser.api("GET", f"/workspaces/{workspace}", org=purser.org)["status"] == "stopped"
    assert decisions(purser, workspace)[0]["kind"] == "refusal"
    assert purser.api("GET", f"/workspaces/{workspace}/runs", token=own)["count"] == 0


def test_a_byok_run_has_no_gateway_and_no_token(purser):
    key = new_key()
    workspace, own = byok(purser, {"ANTHROPIC_API_KEY": key})
    env = purser.api("POST", f"/workspaces/{workspace}/runs", token=own)["env"]
    assert env["ANTHROPIC_API_KEY"] == key
    assert not [n for n in env if n in ("ANTHROPIC_BASE_URL", "MOLECULE_LLM_USAGE_TOKEN", "MOLECULE_LLM_BASE_URL")]


def test_a_run_that_nobody_renews_expires_and_a_renewed_one_lives_on(purser, external):
    workspace, own = external
    short = purser.api("POST", f"/workspaces/{workspace}/runs", {"ttl_seconds": TTL_S}, token=own)
    kept = purser.api("POST", f"/workspaces/{workspace}/runs", {"ttl_seconds": TTL_S}, token=own)

    def renewed():
        purser.api("POST", f"/workspaces/{workspace}/runs/{kept['run_id']}/renew", token=own)
        return call(purser, short["env"]["MOLECULE_LLM_USAGE_TOKEN"]) == 401

    wait_until(renewed, "the run that nobody renews to expire")
    assert call(purser, kept["env"]["MOLECULE_LLM_USAGE_TOKEN"]) == 200
    runs = purser.api("GET", f"/workspaces/{workspace}/runs", token=own)["runs"]
    assert [r["run_id"] for r in runs] == [kept["run_id"]]
    answer = purser.request("POST", f"/workspaces/{workspace}/runs/{short['run_id']}/renew", token=own)
    assert answer.status_code == 404


def test_a_run_outlives_restarts_of_the_agent_and_of_purser_but_not_its_workspace(purser):
    workspace, org = purser.new_workspace(["/bin/sleep", "600"])
    token = purser.api("POST", f"/workspaces/{workspace}/runs", org=org)["env"]["MOLECULE_LLM_USAGE_TOKEN"]
    purser.api("POST", f"/workspaces/{workspace}/restart", org=org)
    assert call(purser, token) == 200
    purser.api("POST", f"/workspaces/{workspace}/stop", org=org)
    assert call(purser, token) == 200
    old = purser.purserd_pid()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: purser.purserd_pid() not in (None, old) and purser.healthy(), "another purserd")
    assert call(purser, token) == 200
    assert purser.api("GET", f"/workspaces/{workspace}/runs", org=org)["count"] == 1
    name = purser.api("GET", f"/workspaces/{workspace}", org=org)["name"]
    purser.api("DELETE", f"/workspaces/{workspace}", org=org, headers={"X-Confirm-Name": name})
    assert call(purser, token) == 401


def test_an_external_workspace_is_not_started_here(purser, external):
    workspace, _ = external
    assert purser.api("POST", f"/workspaces/{workspace}/start", org=purser.org)["status"] == "noop"


def test_fifty_live_runs_are_the_most(purser, external):
    workspace, own = external
    runs = [purser.api("POST", f"/workspaces/{workspace}/runs", token=own)["run_id"] for _ in range(50)]
    answer = purser.request("POST", f"/workspaces/{workspace}/runs", token=own)
    assert answer.status_code == 429 and answer.json()["code"] == "TOO_MANY_TOKENS"
    purser.api("DELETE", f"/workspaces/{workspace}/runs/{runs[0]}", token=own)
    purser.api("POST", f"/workspaces/{workspace}/runs", token=own)


def test_runs_of_another_org_are_not_there(purser, external):
    workspace, own = external
    run = purser.api("POST", f"/workspaces/{workspace}/runs", token=own)["run_id"]
    stranger = purser.api("POST", "/org/tokens", {}, org=purser.new_org())["auth_token"]
    _, neighbour = byok(purser)
    for token in (stranger, neighbour):
        for method, path in (("POST", "runs"), ("GET", "runs"), ("POST", f"runs/{run}/renew"), ("DELETE", f"runs/{run}")):
            answer = purser.request(method, f"/workspaces/{workspace}/{path}", token=token)
            assert answer.status_code == 404 and answer.json()["error"] == "workspace not found", (method, path)
    reader = purser.api("POST", "/org/tokens", {"read_only": True}, org=purser.org)["auth_token"]
    assert purser.request("POST", f"/workspaces/{workspace}/runs", token=reader).status_code == 403


@pytest.mark.parametrize("ttl", [0, 1, 86401, "60", 2.5])
def test_a_bad_ttl_is_refused(purser, external, ttl):
    workspace, own = external
    answer = purser.request("POST", f"/workspaces/{workspace}/runs", {"ttl_seconds": ttl}, token=own)
    assert answer.status_code == 400 and "ttl_seconds" in answer.json()["error"]


# ---- purser run ----

def run_argv(workspace, *argv, flags=()):
    return [str(PROGRAM), "run", "--workspace", workspace, *flags, "--", *map(str, argv)]


def surroundings(purser, own, tmp_path, **more):
    return clean_environment(PURSER_SERVER=purser.url, PURSER_TOKEN=own, XDG_STATE_HOME=str(tmp_path)) | more


def run(purser, workspace, own, tmp_path, *argv, flags=(), **more):
    return subprocess.run(run_argv(workspace, *argv, flags=flags), text=True, capture_output=True,
                          timeout=60 * PATIENCE, env=surroundings(purser, own, tmp_path, **more))


def environment_of(done):
    assert done.returncode == 0, done.stderr
    return dict(e.split("=", 1) for e in done.stdout.split("\0") if e)


def test_the_command_gets_exactly_that_environment(purser, external, tmp_path):
    workspace, own = external
    foreign = {"ANTHROPIC_API_KEY": "sim-mine", "OPENAI_BASE_URL": "http://mine", "SECRET_OF_MINE": "x", "TZ": "UTC"}
    seen = environment_of(run(purser, workspace, own, tmp_path, "/usr/bin/env", "-0", **foreign))
    (record,) = decisions(purser, workspace)
    plan = {row["name"] for row in record["record"]["plan"]["env"] if row["action"] != "strip"}
    assert set(seen) - {"LANG"} == plan | {"PATH", "TZ", "HOME"}
    assert seen["TZ"] == "UTC" and seen["HOME"] == f"{tmp_path}/purser/runs/{workspace}/home"
    assert seen["OPENAI_API_KEY"] == seen["MOLECULE_LLM_USAGE_TOKEN"]
    assert "sim-mine" not in seen.values() and "SECRET_OF_MINE" not in seen and "PURSER_TOKEN" not in seen
    assert purser.api("GET", f"/workspaces/{workspace}/runs", token=own)["count"] == 0
    assert call(purser, seen["MOLECULE_LLM_USAGE_TOKEN"]) == 401


def test_the_command_gets_no_connection_of_ours(purser, external, tmp_path):
    workspace, own = external
    shown = run(purser, workspace, own, tmp_path, "/bin/ls", "/proc/self/fd").stdout.split()
    assert shown == ["0", "1", "2", "3"]  # 3: the folder that is listed


def test_inherited_names_are_passed_on_and_no_name_that_decides_is(purser, external, tmp_path):
    workspace, own = external
    seen = environment_of(run(purser, workspace, own, tmp_path, "/usr/bin/env", "-0", flags=["--inherit", "MINE, HOME"],
                              MINE="yes", HOME="/tmp"))
    assert seen["MINE"] == "yes" and seen["HOME"] == "/tmp"
    for name in ("ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "MOLECULE_LLM_BASE_URL", "LD_PRELOAD", "MODEL"):
        done = run(purser, workspace, own, tmp_path, "/bin/true", flags=["--inherit", name], **{name: ""})
        assert done.returncode == 2 and f"{name} may not be inherited" in done.stderr
    assert purser.api("GET", f"/workspaces/{workspace}/runs", token=own)["count"] == 0


def test_a_base_variable_gives_way_to_an_inherited_one(purser, tmp_path):
    workspace, own = byok(purser)
    plain = environment_of(run(purser, workspace, own, tmp_path, "env", "-0", PATH="/usr/bin:/mine"))
    mine = environment_of(run(purser, workspace, own, tmp_path, "env", "-0", flags=["--inherit", "PATH"], PATH="/usr/bin:/mine"))
    assert "/mine" not in plain["PATH"] and mine["PATH"] == "/usr/bin:/mine"


def test_the_exit_code_is_the_commands(purser, external, tmp_path):
    workspace, own = external
    assert run(purser, workspace, own, tmp_path, "/bin/sh", "-c", "exit 42").returncode == 42
    assert run(purser, workspace, own, tmp_path, "/bin/sh", "-c", "kill -KILL $$").returncode == -signal.SIGKILL
    missing = run(purser, workspace, own, tmp_path, "/does/not/exist")
    assert missing.returncode == 1 and "LAUNCH_FAILED" in missing.stderr
    assert purser.api("GET", f"/workspaces/{workspace}/runs", token=own)["count"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_the_commands(purser, external, tmp_path, number):
    workspace, own = external
    script = f"trap 'echo got; exit 7' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(run_argv(workspace, "/bin/sh", "-c", script), text=True, stdout=subprocess.PIPE,
                          env=surroundings(purser, own, tmp_path), start_new_session=True) as child:
        assert read_line(child) == "ready\n"
        child.send_signal(number)
        assert read_line(child) == "got\n" and child.wait(10 * PATIENCE) == 7


def test_a_killed_run_takes_its_command_with_it(purser, external, tmp_path):
    workspace, own = external
    with subprocess.Popen(run_argv(workspace, "/bin/sh", "-c", "echo $$; exec sleep 600"), text=True,
                          stdout=subprocess.PIPE, env=surroundings(purser, own, tmp_path)) as child:
        pid = int(read_line(child))
        child.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the command to end")


def test_a_long_run_is_renewed(purser, external, tmp_path):
    workspace, own = external
    with subprocess.Popen(run_argv(workspace, "/bin/sh", "-c", "echo $MOLECULE_LLM_USAGE_TOKEN; exec sleep 600", flags=["--ttl", str(TTL_S)]),
                          text=True, stdout=subprocess.PIPE, env=surroundings(purser, own, tmp_path)) as child:
        token = read_line(child).strip()
        (first,) = purser.api("GET", f"/workspaces/{workspace}/runs", token=own)["runs"]
        wait_until(lambda: purser.api("GET", f"/workspaces/{workspace}/runs", token=own)["runs"][0]["expires_at"]
                   > first["expires_at"] + 1000 * TTL_S, "two renewals")
        assert call(purser, token) == 200
        child.terminate()
        child.wait(10 * PATIENCE)
    assert call(purser, token) == 401


def test_a_refusal_is_told_with_its_code(purser, tmp_path):
    workspace, own = byok(purser)
    purser.api("DELETE", f"/workspaces/{workspace}/secrets/ANTHROPIC_API_KEY", org=purser.org)
    done = run(purser, workspace, own, tmp_path, "/bin/echo", "ran")
    assert done.returncode == 1 and "MISSING_BYOK_CREDENTIAL" in done.stderr and "ran" not in done.stdout


def test_files_are_made_in_a_home_of_the_workspaces_own(purser, tmp_path):
    login = json.dumps({"login": "one"})
    workspace, _ = purser.new_workspace(["/bin/true"], runtime="codex", model="gpt-5.4", start=False,
                                        secrets={"CODEX_AUTH_JSON": login})
    own = purser.api("POST", f"/workspaces/{workspace}/tokens", org=purser.org)["auth_token"]
    shown = run(purser, workspace, own, tmp_path, "/bin/sh", "-c", 'cat "$HOME/.codex/auth.json"; echo renewed > "$HOME/.codex/auth.json"')
    assert shown.stdout.strip() == login
    again = run(purser, workspace, own, tmp_path, "/bin/sh", "-c", 'cat "$HOME/.codex/auth.json" "$HOME/.codex/config.toml"')
    assert again.stdout.startswith("renewed\n") and "requires_openai_auth" in again.stdout
    refused = run(purser, workspace, own, tmp_path, "/bin/true", flags=["--inherit", "HOME"])
    assert refused.returncode == 2 and "steered by files" in refused.stderr


SDK = """
import os, sys
if sys.argv[1] == "anthropic":
    import anthropic
    m = anthropic.Anthropic(max_retries=0).messages.create(model=os.environ["MODEL"], max_tokens=64,
        messages=[{"role": "user", "content": "Reply with exactly the word PINEAPPLE"}])
    print(m.content[0].text)
else:
    import openai
    c = openai.OpenAI(max_retries=0).chat.completions.create(model=os.environ["MODEL"], max_tokens=64,
        messages=[{"role": "user", "content": "Reply with exactly the word PINEAPPLE"}])
    print(c.choices[0].message.content)
"""


@pytest.mark.parametrize("mode", ["platform_managed", "byok"])
def test_the_anthropic_sdk_works_under_run(purser, sim, tmp_path, mode):
    if mode == "byok":
        secrets = {"ANTHROPIC_API_KEY": sim.keys["customer"], "ANTHROPIC_BASE_URL": sim.url}
        workspace, own = byok(purser, secrets)
    else:
        workspace, _ = purser.new_workspace(["/bin/true"], start=False)
        own = purser.api("POST", f"/workspaces/{workspace}/tokens", org=purser.org)["auth_token"]
    done = run(purser, workspace, own, tmp_path, sys.executable, "-c", SDK, "anthropic")
    assert done.stdout.strip() == "PINEAPPLE", done.stderr
    (told,) = sim.calls(model=VENDOR_MODEL)
    assert told["key"]["name"] == ("customer" if mode == "byok" else "anthropic-api")
    usage = lambda: purser.api("GET", f"/workspaces/{workspace}/usage", org=purser.org)["calls"]
    if mode == "platform_managed":
        wait_until(lambda: usage() == 1, "the ledger row")
    else:
        assert usage() == 0


def test_the_openai_sdk_works_under_run(purser, sim, tmp_path):
    """An own key at the vendor that the workspace names."""
    workspace, _ = purser.new_workspace(
        ["/bin/true"], runtime="openclaw", model="openai/gpt-4o", start=False,
        secrets={"OPENAI_API_KEY": sim.keys["customer"], "OPENAI_BASE_URL": sim.url + "/v1"})
    own = purser.api("POST", f"/workspaces/{workspace}/tokens", org=purser.org)["auth_token"]
    done = run(purser, workspace, own, tmp_path, sys.executable, "-c", SDK, "openai")
    assert done.stdout.strip() == "PINEAPPLE", done.stderr
    (told,) = sim.calls(kind="chat")
    assert told["status"] == 200 and told["key"]["name"] == "customer"
