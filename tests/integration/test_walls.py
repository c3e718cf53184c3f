"""Every route of the table x every kind of credential x own, foreign and missing object.

What is expected follows from the table's columns; EXPECT says only what the table does not: the body,
and the answer to who may, on an object of one's own. A route without a row there fails.
"""

import contextlib
import json
import sqlite3
import uuid

import httpx
import pytest

from harness import MODEL, Postgres, Purser, Sim, new_key
from routes import read_routes

ROUTES = read_routes()
NEW_WORKSPACE = {"name": "walls", "model": MODEL, "start": False, "command": ["sleep", "600"]}
SECRET = {"key": "WALL_TEST", "value": "brick"}
BILLING = {"mode": None}
# WORKSPACE: the one whose token asks.
REGISTER = {"id": "WORKSPACE", "delivery_mode": "poll", "agent_card": {"name": "mason"}}
BEAT = {"workspace_id": "WORKSPACE", "error_rate": 0}
CARD = {"workspace_id": "WORKSPACE", "agent_card": {"name": "mason"}}


class Row:
    """One route's expectation: the body to send, the status of its success, and of a foreign object."""

    def __init__(self, good, body=None, *, query="", headers=None, foreign=404):
        self.good = good if isinstance(good, tuple) else (good,)
        self.foreign = foreign if isinstance(foreign, tuple) else (foreign,)
        self.body, self.query, self.headers = body, query, headers or {}


EXPECT = {
    "GET /health": Row(200),
    "POST /workspaces": Row((201, 409), NEW_WORKSPACE),
    "GET /workspaces": Row(200),
    "GET /workspaces/:id": Row(200),
    "PATCH /workspaces/:id": Row(200, {"role": "mason"}),
    "DELETE /workspaces/:id": Row(400),  # not confirmed
    "GET /workspaces/:id/state": Row(200),
    "POST /workspaces/:id/start": Row((200, 409)),
    "POST /workspaces/:id/stop": Row(200),
    "POST /workspaces/:id/restart": Row(200),
    "POST /workspaces/:id/pause": Row(200),
    "POST /workspaces/:id/resume": Row((200, 404)),
    "GET /workspaces/:id/events": Row(200),
    "GET /events": Row(200, headers={"Accept": "application/json"}),  # else it is a stream
    "POST /registry/register": Row((200, 409), REGISTER),
    "POST /registry/heartbeat": Row((200, 409), BEAT),
    "POST /registry/update-card": Row((200, 409), CARD),
    "POST /workspaces/:id/runs": Row(201, {"ttl_seconds": 60}),
    "GET /workspaces/:id/runs": Row(200),
    "POST /workspaces/:id/runs/:run/renew": Row((200, 404)),
    "DELETE /workspaces/:id/runs/:run": Row((200, 404)),
    "GET /workspaces/:id/logs": Row(200),
    "GET /workspaces/:id/env": Row(200),
    "GET /workspaces/:id/model": Row(200),
    "PUT /workspaces/:id/model": Row(200, {"model": MODEL}),
    "GET /workspaces/:id/provider": Row(410, foreign=(404, 410)),
    "PUT /workspaces/:id/provider": Row(410, foreign=(404, 410)),
    "GET /workspaces/:id/secrets": Row(200),
    "POST /workspaces/:id/secrets": Row(200, SECRET),
    "PUT /workspaces/:id/secrets": Row(200, SECRET),
    "DELETE /workspaces/:id/secrets/:key": Row((200, 404)),
    "POST /workspaces/:id/secrets/import": Row((200, 400), {"secrets": {"WALL_TEST": "brick"}}),
    "GET /workspaces/:id/secrets/values": Row(200),
    "GET /settings/secrets": Row(200),
    "PUT /settings/secrets": Row(200, SECRET),
    "POST /settings/secrets": Row(200, SECRET),
    "DELETE /settings/secrets/:key": Row((200, 404)),
    "POST /settings/secrets/import": Row((200, 400), {"secrets": {"WALL_TEST": "brick"}}),
    "GET /admin/secrets": Row(200),
    "POST /admin/secrets": Row(200, SECRET),
    "PUT /admin/secrets": Row(200, SECRET),
    "DELETE /admin/secrets/:key": Row((200, 404)),
    "GET /workspaces/:id/tokens": Row(200),
    "POST /workspaces/:id/tokens": Row(201),
    "DELETE /workspaces/:id/tokens/:token": Row((200, 404)),
    "POST /admin/workspaces/:id/tokens": Row(201),
    "GET /org/tokens": Row(200),
    "POST /org/tokens": Row(201),
    "DELETE /org/tokens/:token": Row((200, 404)),
    "GET /admin/workspaces/:id/llm-billing-mode": Row(200),
    "PUT /admin/workspaces/:id/llm-billing-mode": Row(200, BILLING),
    "GET /cp/admin/workspaces/:id/llm-billing-mode": Row(200),
    "PUT /cp/admin/workspaces/:id/llm-billing-mode": Row(200, BILLING),
    "GET /admin/llm/offered-models": Row(200, query="?runtime=claude-code"),
    "POST /admin/orgs": Row(400, {"slug": "Not A Slug"}),
    "GET /admin/orgs": Row(200),
    "GET /admin/orgs/:org": Row(200),
    "PATCH /admin/orgs/:org": Row(200, {"name": "walls"}),
    "DELETE /admin/orgs/:org": Row(400),  # not confirmed
    "POST /admin/orgs/:org/suspend": Row(200),
    "POST /admin/orgs/:org/resume": Row(200),
    "GET /admin/orgs/:org/export": Row(200),
    "GET /admin/deleted-orgs": Row(200),
    "GET /admin/nodes": Row(200),
    "DELETE /admin/nodes/:node": Row(404),
    "POST /admin/token/rotate": Row(201),
    "GET /admin/platform/keys": Row(200),
    "PUT /admin/platform/keys/:provider": Row((400, 404), {}),
    "POST /admin/platform/keys": Row((400, 404), {}),
    "PATCH /admin/platform/keys/:provider": Row((400, 404), {}),
    "DELETE /admin/platform/keys/:provider": Row((400, 404)),
    "GET /admin/keys": Row(200),
    "POST /admin/keys": Row((200, 201, 400), {"nonsense": 1}),
    "POST /admin/keys/rotate": Row((200, 202, 400, 409), {"nonsense": 1}),
    "DELETE /admin/keys/:key": Row((400, 404)),
    "POST /admin/registry/reload": Row(200),
    "GET /templates": Row(200),
    "GET /workspaces/:id/usage": Row(200),
    "GET /workspaces/:id/audit": Row(200),
    "GET /admin/audit/decisions": Row(200),
    "GET /admin/audit/verify": Row(200),
    "GET /admin/audit/secrets": Row(200),
    "GET /admin/audit/checkpoints": Row(200),
    "GET /usage": Row(200),
    "GET /usage/statement": Row(200, query="?month=2026-11"),
    "GET /api/v1/internal/llm/usage": Row(200),
    "GET /workspaces/:id/metrics": Row(200),
    "POST /admin/ledger/corrections": Row(404, {"call_id": str(uuid.UUID(int=1)), "reason": "walls", "cost_nano_usd": 1}),
    "GET /workspaces/:id/budget": Row(200),
    "PATCH /workspaces/:id/budget": Row(200, {"budget_limit": None}),
    "GET /workspaces/:id/limits": Row(200),
    "PUT /workspaces/:id/limits": Row(200, {"workspace": None}),
    "GET /org/budgets": Row(200),
    "PATCH /org/budgets": Row(200, {"exempt": False}),
    "PUT /org/budgets/:period": Row(200, {"limit": 5000}),
    "DELETE /org/budgets/:period": Row((200, 404)),
}

# The kinds of credentials; the value is the column of routes.def they count as, None: no good at all.
CREDENTIALS = {"none": None, "garbage": None, "revoked": None, "expired": None, "usage": "usage token", "admin": "admin",
               "org": "org", "read-only org": "read-only org", "other org": "org",
               "own workspace": "own workspace", "sibling": "own workspace", "foreign workspace": "own workspace"}


def store_sql(purser, text):
    """As somebody would who has the store's file."""
    if purser.store_env:
        return Postgres.shared().sql(purser.store_env["PURSER_STORE"], text)
    with contextlib.closing(sqlite3.connect(purser.state / "purser.db", timeout=20)) as db, db:
        return db.execute(text).fetchall()


class Org:
    """An org with two workspaces, a token of each kind, and secrets at both scopes."""

    def __init__(self, purser, slug):
        self.purser, self.slug = purser, slug
        self.id = purser.new_org(slug)
        self.secret = "ONLY_" + slug.upper().replace("-", "_")
        self.workspaces = [purser.api("POST", "/workspaces", NEW_WORKSPACE | {"name": f"{slug}-{n}"}, org=self.id)["id"]
                           for n in (1, 2)]
        purser.api("PUT", "/settings/secrets", {"key": self.secret, "value": "x"}, org=self.id)
        for workspace in self.workspaces:
            purser.api("PUT", f"/workspaces/{workspace}/secrets", {"key": self.secret, "value": "x"}, org=self.id)
        self.run = purser.api("POST", f"/workspaces/{self.workspaces[0]}/runs", {}, org=self.id)["run_id"]
        self.token_ids = {"org": self.token()[1], "workspace": self.workspace_token(0)[1]}

    def token(self, path="/org/tokens", **body):
        made = self.purser.api("POST", path, body, org=self.id)
        return made["auth_token"], made["id"]

    def workspace_token(self, n):
        return self.token(f"/workspaces/{self.workspaces[n]}/tokens")


class World:
    def __init__(self, purser):
        self.purser = purser
        self.client = httpx.Client(base_url=purser.url, timeout=30, verify=False)
        self.mine, self.theirs = Org(purser, "wall-mine"), Org(purser, "wall-theirs")
        self.spare = purser.new_org("wall-spare")
        revoked, revoked_id = self.mine.token()
        purser.api("DELETE", f"/org/tokens/{revoked_id}", org=self.mine.id)
        expired, expired_id = self.mine.token(expires_in_s=3600)
        store_sql(purser, f"UPDATE tokens SET expires_ms = 1 WHERE id = '{expired_id}'")
        # A run's: a changed secret of the org starts agents anew, with other tokens.
        run = purser.api("POST", f"/workspaces/{self.mine.workspaces[1]}/runs", {}, org=self.mine.id)
        self.tokens = {
            "none": None, "garbage": "psr_org_garbage", "revoked": revoked, "expired": expired,
            "usage": run["env"]["MOLECULE_LLM_USAGE_TOKEN"], "org": self.mine.token()[0], "read-only org": self.mine.token(read_only=True)[0],
            "other org": self.theirs.token()[0], "own workspace": self.mine.workspace_token(0)[0],
            "sibling": self.mine.workspace_token(1)[0], "foreign workspace": self.theirs.workspace_token(0)[0]}
        self.workspace_of = {"sibling": self.mine.workspaces[1], "foreign workspace": self.theirs.workspaces[0]}

    def ask(self, route, kind, path, row):
        token = self.purser.admin_token if kind == "admin" else self.tokens[kind]
        headers = dict(row.headers)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if kind == "admin" and route.org != "ORG_NONE":
            headers["X-Molecule-Org-Id"] = self.mine.id
        own = self.workspace_of.get(kind, self.mine.workspaces[0])
        content = json.dumps(row.body).replace("WORKSPACE", own) if row.body is not None else b"" if route.method != "GET" else None
        answer = self.client.request(route.method, path + row.query, content=content, headers=headers)
        if route.handler == "workspace_pause" and answer.status_code < 300:
            self.purser.api("POST", path.removesuffix("pause") + "resume")  # no other row is to depend on this one
        return answer

    def objects(self, route):
        """own, foreign, missing: the paths, and what of each must not make the answers differ."""
        missing = str(uuid.uuid4())
        whose = {"own": self.mine, "foreign": self.theirs, "missing": None}
        found = {}
        for name, org in whose.items():
            values = {"id": org.workspaces[0] if org else missing, "key": org.secret if org else "ONLY_NOBODY",
                      "provider": "no-such-provider", "org": self.spare if name == "own" else missing, "token": missing,
                      "run": org.run if org else missing, "period": "hour", "node": missing}
            if "token" in route.params and org:
                values["token"] = org.token_ids["workspace" if "id" in route.params else "org"]
            path = route.pattern
            for param in route.params:
                path = path.replace(f":{param}", values[param])
            found[name] = path, sorted(values.values(), key=len, reverse=True)
        return found


@pytest.fixture(scope="module")
def world():
    sim = Sim({"anthropic-api": new_key()})
    purser = Purser(sim, flags=["--auth-failures-per-minute", "0"])
    try:
        yield World(purser)
    finally:
        purser.stop()
        sim.stop()


def same(answers, values):
    """The bodies, with what was asked for itself taken out."""
    bodies = set()
    for answer, names in zip(answers, values):
        text = answer.text
        for name in names:
            text = text.replace(name, "IT")
        bodies.add((answer.status_code, text, answer.headers.get("content-type")))
    return len(bodies) == 1


def test_every_route_has_its_row():
    assert {r.name for r in ROUTES} == set(EXPECT)


def is_own(kind):
    return kind in ("admin", "org", "read-only org", "own workspace", "usage")


@pytest.mark.parametrize("kind", CREDENTIALS)
@pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.name)
def test_wall(world, route, kind):
    row = EXPECT[route.name]
    objects = world.objects(route)
    asked = {name: world.ask(route, kind, path, row) for name, (path, _) in objects.items()}
    said = {name: f"{name}: {a.status_code} {a.text[:300]}" for name, a in asked.items()}
    if "open" in route.who:
        assert asked["own"].status_code in row.good, said
        return
    if CREDENTIALS[kind] is None:
        assert all(a.status_code == 401 and a.json()["code"] == "UNAUTHORIZED" for a in asked.values()), said
    elif CREDENTIALS[kind] not in route.who:
        assert all(a.status_code == 403 and a.json()["code"] == "WRONG_CREDENTIAL_KIND" for a in asked.values()), said
    else:
        if is_own(kind) or "id" not in route.params and "key" not in route.params and "token" not in route.params:
            assert asked["own"].status_code in row.good, said
        elif "id" in route.params and kind != "foreign workspace" and kind != "other org":
            assert asked["own"].status_code in row.foreign, said  # a sibling's
        hidden = [n for n in ("foreign", "missing") if is_own(kind)] or ["own", "missing"]
        if "id" in route.params:
            assert all(asked[n].status_code in row.foreign for n in hidden), said
        if set(route.params) & {"id", "key", "token"}:
            assert same([asked[n] for n in hidden], [objects[n][1] for n in hidden]), said
        return
    assert same(asked.values(), [o[1] for o in objects.values()]), said


def test_a_foreign_token_below_ones_own_workspace_is_a_missing_one(world):
    path = f"/workspaces/{world.mine.workspaces[0]}/tokens/"
    theirs = world.theirs.token_ids["workspace"]
    sibling = world.mine.workspace_token(1)[1]
    answers = [world.purser.request("DELETE", path + t, token=world.tokens["own workspace"])
               for t in (theirs, sibling, str(uuid.uuid4()))]
    assert {a.status_code for a in answers} == {404} and len({a.text for a in answers}) == 1


@pytest.mark.parametrize("path, body", [("/registry/register", REGISTER), ("/registry/heartbeat", BEAT),
                                        ("/registry/update-card", CARD)])
def test_an_agent_that_names_another_workspace_names_a_missing_one(world, path, body):
    answers = [world.purser.request("POST", path, {k: other if v == "WORKSPACE" else v for k, v in body.items()},
                                    token=world.tokens["own workspace"])
               for other in (world.mine.workspaces[1], world.theirs.workspaces[0], str(uuid.uuid4()))]
    assert {a.status_code for a in answers} == {404} and len({a.text for a in answers}) == 1


def test_the_org_header_is_the_admins_alone(world):
    for kind in ("org", "read-only org"):
        answer = world.purser.request("GET", "/workspaces", token=world.tokens[kind], org=world.theirs.id)
        assert {w["org_id"] for w in answer.json()} == {world.mine.id}


def test_an_admin_who_chose_an_org_reaches_no_other(world):
    foreign, missing = (world.purser.request("GET", f"/workspaces/{w}", org=world.mine.id)
                        for w in (world.theirs.workspaces[0], str(uuid.uuid4())))
    assert foreign.status_code == missing.status_code == 404 and foreign.text == missing.text


@pytest.mark.parametrize("kind", ["org", "read-only org", "own workspace"])
def test_no_answer_speaks_of_another_org(world, kind):
    theirs = [world.theirs.id, world.theirs.slug, world.theirs.secret, *world.theirs.workspaces]
    for route in ROUTES:
        if route.method != "GET" or CREDENTIALS[kind] not in route.who or route.handler == "secret_values":
            continue
        path = world.objects(route)["own"][0]
        text = world.ask(route, kind, path, EXPECT[route.name]).text
        assert not [word for word in theirs if word in text], f"{route.name}: {text}"
