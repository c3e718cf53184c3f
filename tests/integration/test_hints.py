"""What the registry, the vendor and the store say of a workspace before and while it runs."""

import pytest

from harness import Agent, Purser, new_key, wait_until


@pytest.fixture(scope="module")
def purser(shared_sim):
    purser = Purser(shared_sim)
    yield purser
    purser.stop()


def care(purser, workspace, org):
    row = purser.api("GET", f"/workspaces/{workspace}", org=org)
    return row["readiness"], row["restart"], row["start_timeout"]


def test_a_workspaces_own_word_goes_before_its_runtimes_and_that_before_ours(purser):
    workspace, org = purser.new_workspace(["/bin/true"], start=False, runtime="hermes", model="anthropic/claude-opus-4-7",
                                           secrets={"ANTHROPIC_API_KEY": new_key()})
    assert care(purser, workspace, org) == ("process", "on-failure", 1800)
    patch = lambda **body: purser.api("PATCH", f"/workspaces/{workspace}", body, org=org)
    patch(start_timeout=5, readiness="register", restart="never")
    assert care(purser, workspace, org) == ("register", "never", 5)
    patch(start_timeout=None, readiness=None, restart=None)
    assert care(purser, workspace, org) == ("process", "on-failure", 1800)
    patch(runtime="claude-code")
    assert care(purser, workspace, org) == ("process", "on-failure", 600)
    for wrong in ({"readiness": ""}, {"restart": "sometimes"}, {"readiness": 1}, {"start_timeout": 0}):
        refused = purser.request("PATCH", f"/workspaces/{workspace}", wrong, org=org)
        assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_REQUEST"), wrong


def test_a_name_that_no_variable_can_have_is_not_required(purser):
    for name in ("1ST", "WITH SPACE", "A=B", "", "X" * 129):
        refused = purser.request("POST", "/workspaces", {
            "name": "odd", "model": "anthropic/claude-opus-4-7", "start": False, "required_env": [name]},
            org=purser.default_org())
        assert refused.status_code == 400 and "required_env" in refused.json()["error"], name
    workspace, org = purser.new_workspace(["/bin/true"], start=False, required_env=["my_name"])
    assert purser.api("GET", f"/workspaces/{workspace}", org=org)["required_env"] == ["MY_NAME"]


def test_create_warns_of_a_key_in_another_vendors_place(purser):
    made = purser.api("POST", "/workspaces", {
        "name": "misplaced", "runtime": "claude-code", "model": "claude-opus-4-7", "start": False,
        "secrets": {"ANTHROPIC_API_KEY": "sk-proj-" + new_key()}}, org=purser.default_org())
    saved = purser.api("PUT", f"/workspaces/{made['id']}/secrets", {
        "key": "ANTHROPIC_API_KEY", "value": "sk-proj-" + new_key()}, org=purser.default_org())
    codes = lambda answer: {w["code"] for w in answer.get("warnings", [])} - {"INVALID_BYOK_CREDENTIAL"}
    assert codes(saved) and codes(made) == codes(saved)


def test_env_tells_what_the_vendor_said_of_the_credential(purser):
    workspace, org = purser.new_workspace(
        ["/bin/true"], start=False, model="claude-opus-4-7", secrets={"ANTHROPIC_API_KEY": "sk-ant-api03-nobodys"})
    plan = purser.api("GET", f"/workspaces/{workspace}/env", org=org)
    assert plan["credential"] == {"name": "ANTHROPIC_API_KEY", "check": "bad"}
    assert "INVALID_BYOK_CREDENTIAL" in {w["code"] for w in plan["warnings"]} and plan["refusal"] is None
    told = purser.cli("env", workspace).stdout
    assert "ANTHROPIC_API_KEY" in told and "INVALID_BYOK_CREDENTIAL" in told and 'is "bad"' in told


LOGIN = '{"tokens": {"access_token": "first", "refresh_token": "r"}}'


def test_a_login_that_the_agent_renewed_survives_new_sealing_keys(purser):
    workspace, org = purser.new_workspace(
        ["/bin/sh", "-c", "echo >> $HOME/starts; exec sleep 600"], runtime="codex", model="gpt-5.4", start=False,
        secrets={"CODEX_AUTH_JSON": LOGIN})
    agent = Agent(purser, workspace, org, {})
    purser.api("POST", f"/workspaces/{workspace}/start", org=org)
    agent.wait_status("online")
    file = purser.home(workspace) / ".codex/auth.json"
    assert "first" in file.read_text()
    file.write_text(LOGIN.replace("first", "renewed"))
    restart = lambda: (purser.api("POST", f"/workspaces/{workspace}/restart", org=org), agent.wait_status("online"))
    purser.cli("keys", "rotate", "--wait")
    restart()
    assert "renewed" in file.read_text()
    purser.api("PUT", f"/workspaces/{workspace}/secrets", {
        "key": "CODEX_AUTH_JSON", "value": LOGIN.replace("first", "second")}, org=org)
    restart()
    wait_until(lambda: "second" in file.read_text(), "the new login")
