"""The command line as a person meets it: help everywhere, exit codes, and what to type next."""

import re
import uuid

from harness import MODEL

NAME = re.compile(r"^  ([a-z][a-z-]*)  ", re.MULTILINE)


def commands(purser, *path):
    """Every command below path, with its help."""
    done = purser.cli_offline(*path, "--help")
    assert (done.returncode, done.stderr) == (0, ""), (path, done)
    assert done.stdout.startswith("usage: purser"), (path, done.stdout)
    below = NAME.findall(done.stdout.partition("\ncommands:\n")[2])
    yield list(path), done.stdout, below
    for name in below:
        yield from commands(purser, *path, name)


def test_every_command_helps_and_refuses_what_it_does_not_know(purser):
    servers = {"up", "serve", "sim"}
    found = list(commands(purser))
    assert len(found) > 70
    for path, text, below in found:
        if path and not below and path[0] not in servers:
            assert "--json" in text, path
        if path and not below and path != ["sim"]:
            wrong = purser.cli_offline(*path, "--no-such-option")
            assert wrong.returncode == 2, (path, wrong)
            assert "USAGE" in wrong.stderr and "--help" in wrong.stderr, (path, wrong.stderr)
        elif path and path != ["sim"]:
            wrong = purser.cli_offline(*path, "no-such-command")
            assert wrong.returncode == 2 and "--help" in wrong.stderr, (path, wrong)


def test_a_wrong_token_says_where_it_may_have_come_from(purser, tmp_path):
    (tmp_path / "token").write_text("psr_adm_nonsense")
    done = purser.cli("org", "list", "--token-file", tmp_path / "token", check=False)
    assert done.returncode == 1
    assert "UNAUTHORIZED" in done.stderr and "PURSER_TOKEN" in done.stderr and "--token-file" in done.stderr


def test_set_changes_name_model_and_mode_in_one_go(purser):
    org = purser.new_org()
    before, after = uuid.uuid4().hex, uuid.uuid4().hex
    purser.cli("workspace", "create", before, "--model", MODEL, "--no-start", PURSER_ORG=org)
    purser.cli("workspace", "set", before, "--name", after, "--model", "claude-opus-4-7", PURSER_ORG=org)
    explained = purser.cli("workspace", "set", after, "--billing-mode", "disabled", "--json", PURSER_ORG=org)
    assert f'"name": "{after}"' in explained.stdout and '"claude-opus-4-7"' in explained.stdout
    shown = purser.cli("workspace", "show", after, PURSER_ORG=org).stdout
    assert re.search(r"^mode +disabled$", shown, re.MULTILINE), shown
    assert re.search(r"^source +workspace_override$", shown, re.MULTILINE), shown
    purser.cli("workspace", "set", after, "--billing-mode", "derived", PURSER_ORG=org)
    shown = purser.cli("workspace", "show", after, PURSER_ORG=org).stdout
    assert re.search(r"^mode +byok$", shown, re.MULTILINE), shown
    wrong = purser.cli("workspace", "set", after, "--billing-mode", "free", check=False, PURSER_ORG=org)
    assert wrong.returncode == 1 and "allowed: platform_managed, byok, disabled" in wrong.stderr


def test_a_resume_tells_who_could_not_be_started(purser):
    org = purser.new_org()
    top, below = (purser.new_workspace(["sleep", "600"], org=org)[0] for _ in range(2))
    purser.api("PATCH", f"/workspaces/{below}", {"parent_id": top, "name": "lower"}, org=org)
    purser.cli("workspace", "pause", top, PURSER_ORG=org)
    purser.api("PATCH", f"/workspaces/{below}", {"command": ["/no/such/program"]}, org=org)
    done = purser.cli("workspace", "resume", top, "--no-wait", PURSER_ORG=org)
    assert "lower is not started: LAUNCH_FAILED" in done.stderr, done
    purser.api("DELETE", f"/workspaces/{top}?confirm=true", org=org, headers={
        "X-Confirm-Name": purser.api("GET", f"/workspaces/{top}", org=org)["name"]})
