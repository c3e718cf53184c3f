"""Claude Code and Codex, as they come from their packages, started by purser: each completes a real turn, and
the right key reached the right vendor and no other.

Codex on platform_managed speaks the Responses dialect to the gateway.
"""

import base64
import json
import time

import pytest

from harness import wait_until

WORD = "PINEAPPLE"
PROMPT = f"Reply with exactly the word {WORD}"
CALLS = {"claude": "messages", "codex": "responses"}
SCRIPTS = {
    "claude": '"{program}" -p "$0" --output-format json > out.part 2> err; echo $? > code; mv out.part out',
    "codex": '"{program}" exec --skip-git-repo-check "$0" < /dev/null > out.part 2> err; echo $? > code; mv out.part out',
}


def login(token, account="acc-1"):
    """What `codex login` leaves behind, for an account of the fake vendor: `token` is what it accepts."""
    def jwt(claims):
        parts = [json.dumps({"alg": "none", "typ": "JWT"}), json.dumps(claims), "{}"]
        return ".".join(base64.urlsafe_b64encode(p.encode()).rstrip(b"=").decode() for p in parts)

    who = {"chatgpt_plan_type": "plus", "chatgpt_user_id": "user-1", "chatgpt_account_id": account}
    return json.dumps({
        "auth_mode": "chatgpt", "OPENAI_API_KEY": None, "last_refresh": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "tokens": {"id_token": jwt({"email": "a@example.com", "exp": int(time.time()) + 86400, "https://api.openai.com/auth": who}),
                   "access_token": token, "refresh_token": "sim-refresh", "account_id": account}})


# name: program, runtime, model, secrets (made with the vendor at hand), mode, provider, whose key
CASES = {
    "claude, platform": ("claude", "claude-code", "anthropic/claude-opus-4-7", lambda v: {},
                         "platform_managed", "platform", "anthropic-api"),
    "claude, key": ("claude", "claude-code", "claude-opus-4-7",
                    lambda v: {"ANTHROPIC_API_KEY": v.keys["customer"], "ANTHROPIC_BASE_URL": v.url},
                    "byok", "anthropic-api", "customer"),
    "claude, subscription": ("claude", "claude-code", "opus",
                             lambda v: {"CLAUDE_CODE_OAUTH_TOKEN": v.keys["login"], "ANTHROPIC_BASE_URL": v.url},
                             "byok", "anthropic-oauth", "login"),
    "codex, platform": ("codex", "codex", "openai/gpt-5.4", lambda v: {}, "platform_managed", "platform", "openai-api"),
    "codex, key": ("codex", "codex", "gpt-5.4", lambda v: {"OPENAI_API_KEY": v.keys["customer"]},
                   "byok", "openai-api", "customer"),
    "codex, subscription": ("codex", "codex", "gpt-5.4", lambda v: {"CODEX_AUTH_JSON": login(v.keys["login"])},
                            "byok", "openai-subscription", "login"),
}


class Turns:
    """One workspace whose command is one turn of the program, and what each start made of it."""

    def __init__(self, purser, programs, vendor, case):
        self.program, runtime, model, secrets, self.mode, self.provider, self.whose = CASES[case]
        self.purser, self.vendor = purser, vendor
        script = SCRIPTS[self.program].format(program=programs[self.program])
        self.id, self.org = purser.new_workspace(
            ["/bin/sh", "-c", 'cd "$HOME"; rm -f out; ' + script + "; sleep 600", PROMPT],
            runtime=runtime, model=model, secrets=secrets(vendor), start=False)

    def api(self, method, path, body=None):
        return self.purser.api(method, f"/workspaces/{self.id}{path}", body, org=self.org)

    def finish(self):
        """Waits until the program has ended by itself; what it printed."""
        home = wait_until(lambda: self.purser.home(self.id), "the agent's home")
        wait_until(lambda: (home / "out").exists(), f"{self.program} to end", 60)
        out, err = (home / "out").read_text(), (home / "err").read_text()
        assert (home / "code").read_text().strip() == "0", out + err
        (home / "out").unlink()
        return out

    def check(self, mode=None, provider=None, whose=None):
        """A real turn, paid by whom the read endpoint says, with nobody else's key."""
        said = self.api("GET", "", None)
        billing = self.purser.api("GET", f"/admin/workspaces/{self.id}/llm-billing-mode", org=self.org)
        assert said["status"] in ("online", "provisioning"), said
        assert billing["resolved_mode"] == (mode or self.mode)
        assert billing["provider_selection"] == (provider or self.provider)
        assert WORD in self.finish()
        told = [c for c in self.vendor.stats()["calls"] if c["kind"] != "hello"]
        turns = [c for c in told if c["kind"] == CALLS[self.program]]
        assert turns and all(c["status"] == 200 for c in turns), told
        assert {c["key"]["name"] for c in told} == {whose or self.whose}, told
        self.check_ledger(turns if (mode or self.mode) == "platform_managed" else [])
        return turns

    def check_ledger(self, turns):
        self.paid = getattr(self, "paid", 0) + len(turns)
        wait_until(lambda: self.api("GET", "/usage")["calls"] >= self.paid, "the ledger's rows")
        usage = self.api("GET", "/usage")
        assert usage["calls"] == self.paid
        if turns:
            assert usage["cost_nano_usd"] > 0 and all(e["cost_nano_usd"] > 0 for e in usage["entries"])


@pytest.fixture
def turns(purser, programs, vendor, request):
    turns = Turns(purser, programs, vendor, request.param)
    yield turns
    turns.api("POST", "/stop")


def each(*names):
    return pytest.mark.parametrize("turns", names, indirect=True)


@each(*CASES)
def test_an_agent_completes_a_turn_on_the_right_key(turns):
    turns.api("POST", "/start")
    turns.check()


@each("claude, platform", "codex, subscription")
def test_a_restart_keeps_the_payer(turns):
    turns.api("POST", "/start")
    turns.check()
    turns.vendor.reset()
    turns.api("POST", "/restart")
    turns.check()


@each("codex, key")
def test_a_resume_keeps_the_payer(turns):
    turns.api("POST", "/start")
    turns.check()
    turns.vendor.reset()
    turns.api("POST", "/pause")
    turns.api("POST", "/resume")
    turns.check()


@each("claude, key")
def test_a_changed_secret_is_used_after_the_restart_it_brings(turns):
    turns.api("POST", "/start")
    turns.check()
    turns.vendor.reset()
    turns.api("POST", "/secrets", {"key": "ANTHROPIC_API_KEY", "value": turns.vendor.keys["second"]})
    turns.check(whose="second")


@each("claude, platform", "codex, platform")
def test_a_changed_model_changes_the_payer_with_it(turns):
    turns.api("POST", "/start")
    turns.check()
    turns.vendor.reset()
    name, model, provider, more = {
        "claude": ("ANTHROPIC_API_KEY", "claude-opus-4-7", "anthropic-api", {"ANTHROPIC_BASE_URL": turns.vendor.url}),
        "codex": ("OPENAI_API_KEY", "gpt-5.4", "openai-api", {}),
    }[turns.program]
    turns.api("POST", "/stop")
    turns.api("PUT", "/model", {"model": model})
    for key, value in (more | {name: turns.vendor.keys["customer"]}).items():
        turns.api("POST", "/secrets", {"key": key, "value": value})
    turns.api("POST", "/start")
    turns.check("byok", provider, "customer")
