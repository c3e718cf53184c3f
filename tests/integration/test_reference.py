"""What the reference system's own tests stood for, asked of a real server and of agents really started.

One test for each subject, as purser's contract settles it. Left out: the completion gate (`purser probe`
judges replies), the choice of a model's short name (the reference's staging script), the stages in
between that the reference took back, and a payload rebuilt without a model (there is none: the rows decide),
and the setting that only warns of an unregistered model (tests/unit/api).
"""

import contextlib
import functools
import json
import uuid
from types import SimpleNamespace

import httpx
import pytest

from harness import MODEL, SOURCE, Purser, new_key, wait_until

MODES = ("platform_managed", "byok", "disabled")
GARBLED = ["byokk", "BYOK", "", " byok", "platform-managed", "null", "'; --", "b" * 5000]
SCRIPT = 'umask 077; env -0 > "$HOME/part" && mv "$HOME/part" "$HOME/env"; exec sleep 600'
OAUTH = {"CLAUDE_CODE_OAUTH_TOKEN": "own-oauth"}
PROXY = {"ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "MOLECULE_LLM_ANTHROPIC_BASE_URL", "MOLECULE_LLM_USAGE_TOKEN",
         "MOLECULE_LLM_BASE_URL", "MOLECULE_LLM_USAGE_URL", "OPENAI_BASE_URL", "OPENAI_API_KEY"}
BYPASS = """AI_GATEWAY_API_KEY ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN ARCEEAI_API_KEY CLAUDE_CODE_OAUTH_TOKEN
    CODEX_AUTH_JSON DASHSCOPE_API_KEY DEEPSEEK_API_KEY GEMINI_API_KEY GLM_API_KEY HERMES_CUSTOM_API_KEY
    HERMES_CUSTOM_BASE_URL HF_TOKEN KIMI_API_KEY KIMI_CN_API_KEY MINIMAX_API_KEY MINIMAX_CN_API_KEY NOUS_API_KEY
    OPENAI_API_KEY OPENAI_BASE_URL OPENROUTER_API_KEY XAI_API_KEY ZAI_API_KEY""".split()


class QuickPurser(Purser):
    """With one client for all calls: making one for each costs more than the calls."""

    client = httpx.Client(timeout=30)

    def request(self, method, path, body=None, *, org=None, token=None):
        headers = {"Authorization": f"Bearer {token or self.admin_token}"} | ({"X-Molecule-Org-Id": org} if org else {})
        return self.client.request(method, self.url + path, json=body, headers=headers)


@pytest.fixture(scope="module")
def shared_purser(shared_sim):
    """Its own environment names a mode, as the reference's servers did; nothing here may follow it."""
    keys = shared_sim.keys | {"moonshot": new_key()}
    purser = QuickPurser(shared_sim, keys=keys, env={"MOLECULE_LLM_BILLING_MODE": "platform_managed"})
    yield purser
    purser.stop()


@pytest.fixture
def org(purser):
    return purser.new_org()


@pytest.fixture(scope="module")
def registry(shared_purser):
    return json.loads(shared_purser.cli_offline("registry", "show", "--json").stdout)


def share(purser, org, **secrets):
    for name, value in secrets.items():
        purser.api("PUT", "/settings/secrets", {"key": name, "value": value}, org=org)
    return org


def open_org(purser, **secrets):
    """An org that may keep vendor keys for all its workspaces, and keeps these."""
    made = purser.api("POST", "/admin/orgs", {"slug": "open-" + uuid.uuid4().hex[:8], "vendor_keys": "allow"})
    return share(purser, made["id"], **secrets)


class Workspace:
    """One that is not started until a test says so; its agent writes its environment down."""

    def __init__(self, purser, org, model=MODEL, **fields):
        self.purser, self.org = purser, org
        self.id, _ = purser.new_workspace(["/bin/sh", "-c", SCRIPT], org=org, model=model, start=False, **fields)

    def ask(self, method, path, body=None, **more):
        return self.purser.request(method, f"/workspaces/{self.id}{path}", body, **({"org": self.org} | more))

    def api(self, method, path, body=None):
        return self.purser.api(method, f"/workspaces/{self.id}{path}", body, org=self.org)

    def ask_mode(self, *body, **more):
        """Without a body the decision is read, with one the override is written."""
        path = f"/admin/workspaces/{self.id}/llm-billing-mode"
        return self.purser.request("PUT" if body else "GET", path, *body, **({"org": self.org} | more))

    def decided(self):
        return tuple(self.ask_mode().json()[k] for k in ("resolved_mode", "source", "provider_selection"))

    def turn(self, model=None, override=None):
        """Another model if one is given, and the override: None clears it, a garbled one goes past the API."""
        if model is not None:
            self.api("PUT", "/model", {"model": model})
        self.purser.sql("UPDATE workspaces SET llm_billing_mode = ? WHERE id = ?", override, self.id)
        return self

    def put(self, name, value="own-value"):
        return self.ask("PUT", "/secrets", {"key": name, "value": value})

    def names(self):
        return {s["key"] for s in self.api("GET", "/secrets")}

    def env(self, action="start", body=None):
        """The environment of an agent started now."""
        if home := self.purser.home(self.id):
            (home / "env").unlink()
        self.api("POST", "/" + action, body)
        return wait_until(lambda: self.purser.read_env(self.id), "the agent's environment")

    def pull(self):
        return self.ask("GET", "/secrets/values", token=self.api("POST", "/tokens")["auth_token"], org=None)

    def records(self):
        return self.purser.api("GET", f"/admin/audit/decisions?workspace={self.id}")["decisions"]


@contextlib.contextmanager
def hidden(purser, table, column):
    """A column that no statement finds: every read and write of it fails."""
    purser.sql(f"ALTER TABLE {table} RENAME COLUMN {column} TO hidden")
    try:
        yield
    finally:
        purser.sql(f"ALTER TABLE {table} RENAME COLUMN hidden TO {column}")


def rows_of(purser, org):
    tables = ("workspaces", "workspace_secrets", "global_secrets", "tokens", "decisions", "events")
    return [purser.sql(f"SELECT count(*) FROM {t} WHERE org_id = ?", org) for t in tables]


def create(purser, org, **fields):
    made = {"name": "w", "runtime": "claude-code", "start": False} | fields
    return purser.request("POST", "/workspaces", made, org=org)


def assert_refused(answer, status, code, **fields):
    body = answer.json()
    assert (answer.status_code, body.get("code")) == (status, code), body
    assert body["error"] and fields.items() <= body.items(), body


PM, OVERRIDE, DERIVED, DEFAULT = "platform_managed", "workspace_override", "derived_provider", "derived_default"
TABLE = [  # runtime, model, override -> mode, source, provider (or the model that has none), error, warning
    ("claude-code", MODEL, PM, PM, OVERRIDE, None, None, None),
    ("claude-code", MODEL, "byok", "byok", OVERRIDE, None, None, "PLATFORM_MODEL_ON_BYOK"),
    ("claude-code", MODEL, "disabled", "disabled", OVERRIDE, None, None, None),
    *[("claude-code", "opus", g, PM, "constant_fallback", None, None, "OVERRIDE_GARBLED") for g in GARBLED],
    ("claude-code", "opus", None, "byok", DERIVED, "anthropic-oauth", None, None),
    ("claude-code", "  opus ", None, "byok", DERIVED, "anthropic-oauth", None, None),
    ("claude-code", "kimi-for-coding", None, "byok", DERIVED, "kimi-coding", None, None),
    ("claude-code", "moonshot/kimi-k2.6", None, PM, DERIVED, "platform", None, None),
    ("codex", "gpt-4o", None, "byok", DERIVED, "openai-subscription", None, None),
    ("claude-code", "Opus", None, PM, DEFAULT, "Opus", "UNREGISTERED_MODEL", None),
    ("claude-code", "", None, PM, DEFAULT, None, "MODEL_REQUIRED", None),
    ("langgraph", "opus", None, PM, DEFAULT, "opus", "UNKNOWN_RUNTIME", None),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda r: f"{r[0]}-{r[1].strip() or 'none'}-{str(r[2])[:20]}")
def test_the_first_rule_that_hits_decides_who_pays(purser, org, row):
    """The table of modes, one case a line; also the table that derives from runtime and model."""
    runtime, model, override, mode, source, selection, error, warning = row
    first = {"codex": "openai/gpt-5.4"}.get(runtime, MODEL)
    seen = Workspace(purser, org, first, runtime=runtime).turn(model, override).ask_mode().json()
    assert (seen["resolved_mode"], seen["source"], seen["provider_selection"]) == (mode, source, selection)
    assert (seen["workspace_override"], seen["runtime"], seen["model"] or "") == (override, runtime, model.strip())
    assert seen.get("derive_error") == error and [x["code"] for x in seen["warnings"]] == ([warning] if warning else [])


def test_the_mode_is_always_one_of_three(purser, org):
    """No mixture of garbled override, model and runtime gives anything else."""
    for runtime, model in (("claude-code", MODEL), ("claude-code", ""), ("langgraph", "x")):
        w = Workspace(purser, org, runtime=runtime).turn(model)
        for override in (None, *MODES, *GARBLED):
            assert w.turn(None, override).decided()[0] in MODES


@pytest.mark.parametrize("table,column", [("global_secrets", "sealed"), ("workspaces", "llm_billing_mode")])
def test_an_unreadable_store_closes_the_decision_and_starts_nothing(purser, org, table, column):
    """A failed read is not an empty answer: closed though the row says byok, the error beside it."""
    w = Workspace(purser, org, "opus", secrets=OAUTH).turn(None, "byok")
    with hidden(purser, table, column):
        read, start, gate = w.ask_mode(), w.ask("POST", "/start"), w.put("OPENAI_API_KEY")
        made = create(purser, org, model="opus", secrets=OAUTH)
    assert_refused(read, 503, "STORE_UNAVAILABLE", resolved_mode=PM, source="constant_fallback")
    assert start.status_code >= 500 and start.json()["code"] in ("STORE_UNAVAILABLE", "SECRET_UNREADABLE")
    assert gate.status_code >= 400 and "OPENAI_API_KEY" not in w.names() and made.status_code == 503
    assert purser.home(w.id) is None and w.decided() == ("byok", OVERRIDE, None)


def test_the_read_derives_from_what_is_stored_for_the_workspace(purser):
    """The read gathers runtime, model and names of keys by itself, the override before all."""
    w = Workspace(purser, open_org(purser), "gpt-5.5", runtime="codex", secrets={"OPENAI_API_KEY": "k", "MOLECULE_MODEL": "  "})
    assert w.decided() == ("byok", DERIVED, "openai-api")
    share(purser, w.org, CODEX_AUTH_JSON="{}")
    assert w.decided() == ("byok", DERIVED, "openai-subscription")
    assert w.put("MOLECULE_MODEL", "openai/gpt-5.4").status_code == 200
    assert w.decided() == (PM, DERIVED, "platform")
    assert w.turn(None, "disabled").decided() == ("disabled", OVERRIDE, None)


def test_an_unknown_mode_is_refused_before_the_store_is_touched(purser, org):
    """The setter judges the value first: neither a broken store nor a missing workspace is noticed."""
    w = Workspace(purser, org)
    with hidden(purser, "workspaces", "llm_billing_mode"):
        for mode in ("byokk", "BYOK", "", "null", 1, True, [], {}):
            assert_refused(w.ask_mode({"mode": mode}), 400, "INVALID_REQUEST")
        assert_refused(w.ask_mode({"mode": "byok"}), 503, "STORE_UNAVAILABLE")
    w.id = uuid.uuid4()
    assert_refused(w.ask_mode({"mode": "byokk"}), 400, "INVALID_REQUEST")


def test_an_override_is_stored_and_null_clears_it_to_nothing(purser, org):
    """byok is stored as written, null becomes SQL NULL; the answer is the decision made anew."""
    w, stored = Workspace(purser, org), "SELECT llm_billing_mode FROM workspaces WHERE id = ?"
    for mode in MODES:
        assert w.ask_mode({"mode": f" {mode} "}).json()["resolved_mode"] == mode
        assert purser.sql(stored, w.id) == [(mode,)]
    cleared = w.ask_mode({"mode": None}).json()
    assert (cleared["workspace_override"], cleared["source"]) == (None, DERIVED)
    assert purser.sql(stored, w.id) == [(None,)]


def test_the_admin_route_answers_every_kind_of_request_as_promised(purser, org):
    """Read and write of the mode: good; bad, unknown and empty id; absent mode; only the admin makes the platform pay."""
    w = Workspace(purser, org)
    assert {"workspace_id", "resolved_mode", "workspace_override", "source", "provider_selection", "model", "runtime",
            "registry_fingerprint", "warnings"} <= w.ask_mode().json().keys()
    for body in ({}, {"Mode": "byok"}, {"modes": None}):
        assert_refused(w.ask_mode(body), 400, "INVALID_REQUEST")
    token = purser.api("POST", "/org/tokens", {"name": "t"}, org=org)["auth_token"]
    assert_refused(w.ask_mode({"mode": PM}, token=token, org=None), 403, "WRONG_CREDENTIAL_KIND")
    assert w.ask_mode({"mode": "byok"}, token=token, org=None).json()["workspace_override"] == "byok"
    for w.id, status, code in (("nobody", 400, "INVALID_REQUEST"), (w.id + "0", 400, "INVALID_REQUEST"),
                               (uuid.uuid4(), 404, "NOT_FOUND"), ("", 404, "NOT_FOUND")):
        for body in ([], [{"mode": "byok"}], [{"mode": None}]):
            assert_refused(w.ask_mode(*body), status, code)


@pytest.mark.parametrize("fields,status,code", [
    ({"model": "gpt-5.5"}, 422, "UNREGISTERED_MODEL_FOR_RUNTIME"),
    ({"model": "Opus", "secrets": OAUTH}, 422, "UNREGISTERED_MODEL_FOR_RUNTIME"),
    ({}, 422, "MODEL_REQUIRED"),
    ({"model": "opus"}, 422, "MISSING_BYOK_CREDENTIAL"),
    ({"model": "opus", "secrets": {"OPENAI_API_KEY": "another vendor's"}}, 422, "MISSING_BYOK_CREDENTIAL"),
    ({"model": MODEL, "secrets": OAUTH | {"PLAIN": "x"}}, 400, "VENDOR_KEY_ON_PLATFORM_MANAGED"),
    ({"model": "x", "runtime": "langgraph", "secrets": OAUTH}, 400, "VENDOR_KEY_ON_PLATFORM_MANAGED"),
    ({"model": MODEL, "secrets": {"LLM_PROVIDER": "anthropic-api"}}, 400, "RESERVED_NAME"),
], ids=str)
def test_create_refuses_before_anything_is_written(purser, org, fields, status, code):
    """A model that is not registered, none, one without its key, a key that its own model does not take."""
    before = rows_of(purser, org)
    assert_refused(create(purser, org, **fields), status, code)
    assert rows_of(purser, org) == before


@pytest.mark.parametrize("fields,decided", [
    ({"model": MODEL}, (PM, DERIVED, "platform")),
    ({"model": "opus", "secrets": OAUTH}, ("byok", DERIVED, "anthropic-oauth")),
    ({"model": "gpt-5.5", "runtime": "codex", "secrets": {"openai_api_key": "k"}}, ("byok", DERIVED, "openai-api")),
    ({"model": "anthropic:opus", "secrets": OAUTH}, ("byok", DERIVED, "anthropic-oauth")),
    ({"model": "anthropic:claude-opus-4-7", "secrets": {"ANTHROPIC_API_KEY": "k"}}, ("byok", DERIVED, "anthropic-api")),
    ({"model": "moonshot:kimi-k2.6", "secrets": {"KIMI_API_KEY": "k"}}, ("byok", DERIVED, "kimi-coding")),
    ({"model": "minimax:MiniMax-M2.7", "secrets": {"MINIMAX_API_KEY": "k"}}, ("byok", DERIVED, "minimax")),
    ({"model": "gpt-5.5", "runtime": "mock"}, (PM, DEFAULT, "gpt-5.5")),
    ({"model": "any/thing:x", "runtime": "langgraph"}, (PM, DEFAULT, "any/thing:x")),
], ids=str)
def test_create_takes_registered_models_and_keys_that_its_own_model_takes(purser, org, fields, decided):
    """Nothing is said about a registered model, colon forms too; runtimes without a menu pass; a first deployment keeps MODEL only."""
    answer = create(purser, org, **fields)
    assert answer.status_code == 201 and "X-Molecule-Model-Unregistered" not in answer.headers
    w = Workspace(purser, org, **fields)
    assert w.decided() == decided
    assert w.names() == {"MODEL", *(n.upper() for n in fields.get("secrets", ()))}


def test_a_secret_that_cannot_be_stored_takes_the_workspace_back(purser, org):
    """Create is all or nothing: the row goes when one of its secrets fails."""
    before = rows_of(purser, org)
    if purser.store_env:
        purser.sql("CREATE FUNCTION breaks() RETURNS trigger AS $$ BEGIN RAISE 'on purpose'; END $$ LANGUAGE plpgsql;"
                   "CREATE TRIGGER breaks BEFORE INSERT ON workspace_secrets FOR EACH ROW WHEN (NEW.name = 'BREAKS')"
                   " EXECUTE FUNCTION breaks()")
    else:
        purser.sql("CREATE TRIGGER breaks BEFORE INSERT ON workspace_secrets WHEN NEW.name = 'BREAKS' "
                   "BEGIN SELECT RAISE(ABORT, 'on purpose'); END")
    answer = create(purser, org, model="opus", secrets=OAUTH | {"BREAKS": "x"})
    purser.sql("DROP TRIGGER breaks" + (" ON workspace_secrets" if purser.store_env else ""))
    assert answer.status_code >= 500
    key = purser.sim.keys["anthropic-api"]
    assert_refused(create(purser, org, model="opus", secrets=OAUTH | {"K": key}), 409, "PLATFORM_KEY_IN_TENANT_STORE")
    assert rows_of(purser, org) == before


@pytest.mark.parametrize("method,body", [("GET", None), ("PUT", {"provider": "anthropic-api"})])
def test_the_provider_endpoint_is_gone(purser, org, method, body):
    assert_refused(Workspace(purser, org).ask(method, "/provider", body), 410, "PROVIDER_ENDPOINT_RETIRED")


def test_every_name_on_the_bypass_list_is_gated_until_a_vendors_model_is_chosen(purser, org, registry):
    """The whole list, CODEX_AUTH_JSON included, in any case; other names are free."""
    names = registry["vendor_keys"]
    assert set(BYPASS) <= set(names)
    w = Workspace(purser, org)
    for name in [*names, "openai_api_key", " CODEX_AUTH_JSON "]:
        assert_refused(w.put(name), 400, "VENDOR_KEY_ON_PLATFORM_MANAGED", key=name.strip().upper(), workspace_id=w.id)
    assert w.put("DATABASE_URL").status_code == 200
    w.turn("opus")
    assert all(w.put(name).status_code == 200 for name in BYPASS)
    assert w.names() == {"MODEL", "DATABASE_URL", *BYPASS}


def test_the_gate_follows_the_mode_and_not_the_model(purser, org):
    """An own key is stored once the workspace is byok by override; platform_managed and garbled close it again."""
    w = Workspace(purser, org)
    for model, override, status in ((MODEL, "byok", 200), ("opus", PM, 400), ("opus", "byokk", 400), (MODEL, "disabled", 200)):
        assert w.turn(model, override).put("ANTHROPIC_API_KEY", "not-shown").status_code == status
    assert "not-shown" not in w.ask("GET", "/secrets").text


@pytest.mark.parametrize("name", ["HERMES_CUSTOM_API_KEY", "HERMES_CUSTOM_BASE_URL"])
def test_a_decision_that_cannot_be_made_keeps_the_gate_closed(purser, org, name):
    """Custom endpoints are gated like keys; a workspace that cannot be read counts as the platform's."""
    w = Workspace(purser, org, "custom:m", runtime="hermes", secrets={"CUSTOM_API_KEY": "k"})
    purser.sql("UPDATE workspace_secrets SET sealed = ? WHERE workspace_id = ? AND name <> 'MODEL'", bytes(64), w.id)
    assert_refused(w.ask_mode(), 500, "SECRET_UNREADABLE", resolved_mode=PM, source="constant_fallback")
    assert_refused(w.put(name), 400, "VENDOR_KEY_ON_PLATFORM_MANAGED", key=name)
    assert_refused(w.ask("POST", "/start"), 500, "SECRET_UNREADABLE")
    assert_refused(w.pull(), 500, "SECRET_UNREADABLE")
    assert w.ask("DELETE", "/secrets/CUSTOM_API_KEY").status_code == w.put(name).status_code == 200


def test_vendor_keys_for_all_workspaces_need_the_orgs_policy(purser, org, registry):
    """The org gate: refused by default, by every name, whatever the server's own environment says."""
    for name in registry["vendor_keys"]:
        answer = purser.request("PUT", "/settings/secrets", {"key": name.lower(), "value": "v"}, org=org)
        assert_refused(answer, 400, "VENDOR_KEY_AT_ORG_SCOPE", key=name)
    share(purser, org, DATABASE_URL="plain")
    assert [s["key"] for s in purser.api("GET", "/settings/secrets", org=org)] == ["DATABASE_URL"]


def test_an_orgs_key_is_stored_where_allowed_and_restarts_who_inherits_it(purser):
    """200; those without a row of their own come back with the new value, the others run on."""
    org = open_org(purser, CLAUDE_CODE_OAUTH_TOKEN="first")
    inherits, owns = Workspace(purser, org, "opus"), Workspace(purser, org, "opus", secrets=OAUTH)
    assert [w.env()["CLAUDE_CODE_OAUTH_TOKEN"] for w in (inherits, owns)] == ["first", "own-oauth"]
    share(purser, org, CLAUDE_CODE_OAUTH_TOKEN="second")
    wait_until(lambda: (purser.read_env(inherits.id) or {}).get("CLAUDE_CODE_OAUTH_TOKEN") == "second", "the restart")
    assert (len(inherits.records()), len(owns.records())) == (2, 1)


SHARED = {"CLAUDE_CODE_OAUTH_TOKEN": "shared-oauth", "PLAIN": "x"}
MINIMAX = SHARED | {"MINIMAX_API_KEY": "shared-minimax", "OPENAI_BASE_URL": "u"}
OWN = {"CLAUDE_CODE_OAUTH_TOKEN": "own-oauth", "GEMINI_API_KEY": "own-gemini"}
USUAL = dict(first="opus", runtime="claude-code", org={}, own={}, override=None, keeps={}, strips=[])
CASES = {  # model, mode; what else is not as usual
    "byok_by_override_keeps_the_own_subscription": dict(model="opus", mode="byok", own=OAUTH, override="byok", keeps=OAUTH),
    "byok_keeps_the_workspaces_own_subscription": dict(model="opus", mode="byok", own=OAUTH, keeps=OAUTH),
    "byok_with_only_the_orgs_subscription_runs_direct": dict(model="opus", mode="byok", org=SHARED, keeps=SHARED),
    "an_orgs_stray_key_of_another_vendor_is_stripped_on_byok": dict(
        model="MiniMax-M2.7", mode="byok", org=MINIMAX, keeps={"MINIMAX_API_KEY": "shared-minimax", "PLAIN": "x"},
        strips=["CLAUDE_CODE_OAUTH_TOKEN", "OPENAI_BASE_URL"]),
    "a_workspaces_own_key_is_never_stripped_on_byok": dict(model="MiniMax-M2.7", mode="byok", org=MINIMAX, own=OWN, keeps=OWN),
    "without_a_derived_provider_byok_strips_nothing": dict(model=MODEL, mode="byok", org=SHARED, override="byok", keeps=SHARED),
    "a_platform_model_strips_every_vendor_key_and_adds_the_gateway": dict(model=MODEL, mode=PM, org=SHARED, own={"*": "stray"}),
    "so_does_a_runtime_that_speaks_openai": dict(model="moonshot/kimi-k2.6", mode=PM, first="custom:m", runtime="hermes",
                                                 org=SHARED, own={"*": "stray"}),
    "and_one_without_a_registry_entry": dict(model="any", mode=PM, first=MODEL, runtime="langgraph", org=SHARED),
    "without_a_model_the_platform_pays": dict(model="", mode=PM, first=MODEL, runtime="langgraph", org=SHARED),
    "platform_managed_by_override_strips_inherited_keys": dict(model=MODEL, mode=PM, org=SHARED, own=OAUTH, override=PM),
    "a_garbled_override_is_platform_managed": dict(model=MODEL, mode=PM, org=SHARED, own=OAUTH, override="byokk"),
    "disabled_keeps_the_orgs_keys": dict(model="", mode="disabled", org=MINIMAX, override="disabled", keeps=MINIMAX),
    "disabled_never_refuses": dict(model="opus", mode="disabled", first=MODEL, override="disabled"),
}


@pytest.fixture(scope="module")
def observed(shared_purser, registry):
    """Each case is started once; the tests look at what was seen."""
    @functools.cache
    def observe(name):
        c = SimpleNamespace(**USUAL | CASES[name])
        org = open_org(shared_purser, **c.org)
        own = dict.fromkeys(registry["vendor_keys"], c.own["*"]) if "*" in c.own else c.own
        w = Workspace(shared_purser, org, c.first, runtime=c.runtime, secrets=own).turn(c.model, c.override)
        before, env, after = w.decided(), w.env(), w.decided()
        row = wait_until(lambda: (r := w.api("GET", ""))["status"] == "online" and r, "online")
        return SimpleNamespace(case=c, before=before, env=env, after=after, row=row, records=w.records(),
                               stored=c.org | own, pulled=w.pull().json())
    return observe


@pytest.mark.parametrize("name", CASES)
def test_a_started_agent_finds_that(observed, name):
    o, c, env = observed(name), observed(name).case, observed(name).env
    assert (env["MOLECULE_LLM_BILLING_MODE"], env["MOLECULE_LLM_BILLING_MODE_RESOLVED"]) == (c.mode, c.mode)
    assert o.row["last_error"] is None
    assert c.keeps.items() <= env.items() and not set(c.strips) & env.keys()
    assert (env.get("MODEL", ""), env.get("MOLECULE_MODEL", "")) == (c.model, c.model)
    assert env.get("HERMES_DEFAULT_MODEL") == (c.model if c.runtime == "hermes" else None)
    if c.mode != PM:
        assert not {k for k in PROXY & env.keys() if k not in c.keeps}
        return
    own, other = ("ANTHROPIC", "OPENAI") if c.runtime == "claude-code" else ("OPENAI", "ANTHROPIC")
    base = {"ANTHROPIC": "MOLECULE_LLM_ANTHROPIC_BASE_URL", "OPENAI": "MOLECULE_LLM_BASE_URL"}
    assert PROXY & env.keys() == PROXY - {other + "_API_KEY", other + "_BASE_URL"}
    assert env[own + "_API_KEY"] == env["MOLECULE_LLM_USAGE_TOKEN"] and env[own + "_BASE_URL"] == env[base[own]]
    assert env["MOLECULE_LLM_USAGE_TOKEN"].startswith("psr_use_") and env["MOLECULE_LLM_BASE_URL"].endswith("/v1")
    assert {k for k in o.stored.keys() & env.keys() if k != "PLAIN"} <= PROXY and "stray" not in env.values()


@pytest.mark.parametrize("name", CASES)
def test_the_read_endpoint_and_the_start_give_one_answer(observed, name):
    o = observed(name)
    (record,) = o.records
    assert o.before == o.after == (o.env["MOLECULE_LLM_BILLING_MODE"], record["source"], o.before[2])
    assert (o.row["resolved_mode"], o.row["source"]) == (record["mode"], record["source"]) == o.before[:2]
    assert o.row["provider"] == record["provider"]


@pytest.mark.parametrize("name", CASES)
def test_the_pull_is_what_the_start_injects(observed, name):
    """Of the stored secrets exactly those that the start handed over, an org's credential on byok verbatim."""
    o = observed(name)
    assert o.pulled == {k: o.env[k] for k in o.stored.keys() & o.env.keys() - (PROXY if o.case.mode == PM else set())}


def test_default_preservation_no_model_stays_with_the_platform(purser, org):
    """No model and no credential: platform_managed, refused for the model it lacks and not for a key."""
    w = Workspace(purser, org).turn("")
    assert w.decided() == (PM, DEFAULT, None)
    assert_refused(w.ask("POST", "/start"), 422, "MODEL_REQUIRED")
    assert_refused(w.turn("opus", PM).ask("POST", "/start"), 422, "MODEL_NOT_ON_PLATFORM")


def test_byok_without_a_credential_at_any_scope_starts_nothing_and_says_why(purser):
    """Code, sentence, event and record; another vendor's key and a base URL do not count."""
    w = Workspace(purser, open_org(purser, OPENAI_API_KEY="another vendor's", ANTHROPIC_BASE_URL="u")).turn("kimi-for-coding")
    answer, row = w.ask("POST", "/start"), w.api("GET", "")
    assert_refused(answer, 422, "MISSING_BYOK_CREDENTIAL")
    told = {"code": "MISSING_BYOK_CREDENTIAL", "error": answer.json()["error"]}
    assert all(word in told["error"] for word in ("byok", "kimi-coding", "KIMI_API_KEY", "platform model"))
    assert (row["status"], row["last_error"]) == ("failed", told) and purser.home(w.id) is None
    ((details,),) = purser.sql("SELECT details FROM events WHERE workspace_id = ? AND type = 'WORKSPACE_PROVISION_FAILED'", w.id)
    assert json.loads(details) == told | {"billing_mode": "byok"}
    assert [(r["kind"], r["code"], r["mode"]) for r in w.records()] == [("refusal", told["code"], "byok")]
    assert_refused(w.pull(), 422, "MISSING_BYOK_CREDENTIAL")


def test_a_restart_uses_the_stored_model_whatever_one_start_was_told(purser, org):
    """The request of a second start names no model: the stored one decides, so the payer does not flip."""
    w = Workspace(purser, org, "opus", secrets=OAUTH)
    assert w.env(body={"model": MODEL})["MOLECULE_LLM_BILLING_MODE"] == PM
    for _ in range(2):
        env = w.env("restart")
        assert (env["MODEL"], env["MOLECULE_LLM_BILLING_MODE"], w.decided()[0]) == ("opus", "byok", "byok")
        assert OAUTH.items() <= env.items() and not PROXY & env.keys()


@pytest.mark.parametrize("auth", [[], ["CODEX_AUTH_JSON"], ["OPENAI_API_KEY"], ["CODEX_AUTH_JSON", "OPENAI_API_KEY"]], ids=str)
def test_every_codex_model_derives_to_a_provider_that_codex_knows(purser, registry, auth):
    """Each listed id with each set of credentials; the login alone or with a key means the subscription."""
    arms = next(r for r in registry["runtimes"] if r["name"] == "codex")["providers"]
    w = Workspace(purser, open_org(purser, **dict.fromkeys(auth, "k")), "openai/gpt-5.4", runtime="codex")
    for model in sorted({m for arm in arms for m in arm["models"]}):
        provider = "openai-api" if auth == ["OPENAI_API_KEY"] else "openai-subscription"
        expected = (PM, DERIVED, "platform") if "/" in model else ("byok", DERIVED, provider)
        assert w.turn(model).decided() == expected and expected[2] in [arm["name"] for arm in arms]


def test_one_fingerprint_names_the_registry_everywhere(purser, org):
    """The pin: what is built in, what the one file says, and what every answer, record and log names."""
    w, file = Workspace(purser, org), SOURCE / "registry" / "providers.yaml"
    seen = {purser.cli_offline("registry", "fingerprint", *args).stdout.split()[0] for args in ((), (file,))}
    w.env()
    seen |= {j["registry_fingerprint"] for j in (purser.health().json(), w.ask_mode().json(), w.records()[0])}
    (fingerprint,) = seen
    assert len(fingerprint) == 64 and fingerprint[:12] in purser.log()


@pytest.mark.parametrize("old,new", [
    ("auth_env: [CODEX_AUTH_JSON, ", "auth_env: ["), ("'^kimi-'", "'^kimi-k'"), ("[sonnet, opus,", "[opus, sonnet,"),
    ("{input: 5, output: 25,", "{input: 5, output: 26,"), ("https://api.kimi.com", "https://api.kimi.org"),
    ("  - XAI_API_KEY\n", ""), ("precedence: [ANTHROPIC_AUTH_TOKEN, ", "precedence: [")], ids=lambda s: s[:20])
def test_the_fingerprint_covers_whatever_can_change_a_decision(purser, tmp_path, old, new):
    """The generated form is current to the last detail."""
    text = (SOURCE / "registry" / "providers.yaml").read_text()
    (tmp_path / "r.yaml").write_text(text.replace(old, new, 1))
    done = [purser.cli_offline("registry", "fingerprint", *args) for args in ((), (tmp_path / "r.yaml",))]
    assert old in text and done[1].returncode == 0 and done[0].stdout.split()[0] != done[1].stdout.split()[0]
