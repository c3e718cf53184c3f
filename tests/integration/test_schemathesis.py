"""schemathesis makes requests from docs/openapi.yaml: whatever it sends, the answer is a documented one."""

import os

import hypothesis
import pytest
import schemathesis
from schemathesis import checks

from harness import MODEL, SOURCE, Purser, Sim, new_key

# Few, since there are many operations: what is found once becomes a test of its own.
EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "10"))
SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck))
CHECKS = [checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
          checks.response_headers_conformance, checks.response_schema_conformance]

schema = schemathesis.openapi.from_path(str(SOURCE / "docs/openapi.yaml"))


# What is there, by the name of the parameter or of the body's field: half of the requests use it.
THERE = {"provider": "anthropic-api", "period": "hour", "model": MODEL, "runtime": "claude-code", "key": "FOUND", "start": False}


@pytest.fixture(scope="module")
def server():
    sim = Sim({"anthropic-api": new_key()})
    purser = Purser(sim)
    purser.default_org()
    purser.workspace = purser.new_workspace(["sleep", "600"], start=False)[0]
    purser.workspace_token = purser.api("POST", f"/workspaces/{purser.workspace}/tokens", {})["auth_token"]
    purser.usage_token = purser.api("POST", f"/workspaces/{purser.workspace}/runs", {})["env"]["MOLECULE_LLM_USAGE_TOKEN"]
    purser.asked = 0
    try:
        yield purser
    finally:
        purser.stop()
        sim.stop()


def use_what_is_there(server, part):
    there = THERE | {"id": server.workspace, "workspace_id": server.workspace}
    if isinstance(part, dict):
        part.update((name, there[name]) for name in part if name in there)


def token_for(server, path):
    if path.startswith("/api/v1/"):
        return server.usage_token
    own = path.endswith("/secrets/values") or path.startswith("/registry/")
    return server.workspace_token if own else server.admin_token


@schema.parametrize()
@SETTINGS
def test_every_answer_is_a_documented_one(server, case):
    server.asked += 1
    if server.asked % 2:
        use_what_is_there(server, case.path_parameters)
        use_what_is_there(server, case.body)
    # Events without end are for tests of their own.
    headers = {"Authorization": f"Bearer {token_for(server, case.operation.path)}", "Accept": "application/json"}
    if not case.operation.path.startswith("/admin/orgs"):
        headers["X-Molecule-Org-Id"] = server.org
    case.call_and_validate(base_url=server.url, headers=headers, checks=CHECKS, timeout=30)
