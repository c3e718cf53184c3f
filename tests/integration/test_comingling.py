"""What is stored where it should not be: told to the admin, never to another org, never with a value."""

import json
import uuid

import pytest

from harness import Purser
from rows import Place, Puller, Rows

CANARY = "canary-" + uuid.uuid4().hex


@pytest.fixture
def purser():
    p = Purser()
    yield p
    p.stop()


def audit(purser):
    return purser.api("GET", "/admin/audit/secrets")


def places(finding):
    return {(p["org"], p["scope"], p["key"]) for p in finding["places"]}


def codes(purser):
    return sorted(f["code"] for f in audit(purser)["findings"])


def put(purser, org, name, value):
    return purser.request("PUT", "/settings/secrets", {"key": name, "value": value}, org=org)


def test_the_platforms_keys_stay_out_of_the_orgs_stores(purser):
    org = purser.new_org()
    own, retired = CANARY + "-own", CANARY + "-retired"
    purser.api("PUT", "/admin/platform/keys/anthropic-api", {"value": retired})
    purser.api("PUT", "/admin/platform/keys/anthropic-api", {"value": own})
    puller = Puller(purser, org)
    for rotated in (False, True):
        if rotated:
            purser.cli("keys", "rotate", "--wait")
            purser.cli("keys", "retire", "1")
        for value in (own, retired, f" {own}\n"):
            for response in (put(purser, org, "NOTES", value),
                             purser.request("PUT", f"/workspaces/{puller.id}/secrets", {"key": "NOTES", "value": value}, org=org),
                             purser.request("POST", "/settings/secrets/import", {"secrets": {"A": "1", "NOTES": value}}, org=org),
                             purser.request("POST", "/workspaces", {"name": uuid.uuid4().hex, "runtime": "claude-code", "model": "opus", "start": False,
                                            "secrets": {"CLAUDE_CODE_OAUTH_TOKEN": value}}, org=org)):
                assert (response.status_code, response.json()["code"]) == (409, "PLATFORM_KEY_IN_TENANT_STORE"), response.text
                assert CANARY not in response.text
    assert purser.api("GET", "/settings/secrets", org=org) == []


def test_a_platform_key_that_an_org_has_already_is_told_to_the_admin(purser):
    org = purser.new_org("tenant")
    value = CANARY + "-both"
    put(purser, org, "NOTES", value)
    added = purser.api("POST", "/admin/platform/keys", {"provider": "anthropic-api", "value": value})
    assert [w["code"] for w in added["warnings"]] == ["PLATFORM_KEY_IN_TENANT_STORE"]
    (finding,) = audit(purser)["findings"]
    assert finding["code"] == "PLATFORM_KEY_IN_TENANT_STORE" and places(finding) == {("tenant", "global", "NOTES")}


def test_another_orgs_value_is_answered_like_any_other_and_told_to_the_admin(purser):
    rows = Rows(purser)
    first, second, third = (purser.new_org(slug) for slug in ("first", "second", "third"))
    shared = CANARY + "-shared-by-two"
    alone = put(purser, first, "NAME", shared)
    same = put(purser, second, "NAME", shared)
    other = put(purser, third, "NAME", CANARY + "-of-its-own-alone")
    assert alone.json() == same.json() == other.json() == {"status": "saved", "key": "NAME", "scope": "global"}

    zero = str(uuid.UUID(int=0))
    ((details,),) = rows.run(f"SELECT details FROM events WHERE org_id = '{zero}' AND type = 'secret.comingled'")
    event = json.loads(details)
    assert event == {"org_id": second, "workspace_id": None, "key": "NAME", "also": [{"org_id": first, "workspace_id": None, "key": "NAME"}]}
    for org in (first, second):
        assert all(shared not in d for (d,) in rows.run("SELECT details FROM events"))
        (types,) = zip(*rows.run(f"SELECT type FROM events WHERE org_id = '{org}'"))
        assert set(types) == {"secret.set"}

    (finding,) = audit(purser)["findings"]
    assert finding["code"] == "SAME_VALUE_IN_ORGS"
    assert places(finding) == {("first", "global", "NAME"), ("second", "global", "NAME")}
    done = purser.cli("audit", "secrets", check=False)
    assert done.returncode == 1 and "first" in done.stdout and "second" in done.stdout and "third" not in done.stdout
    assert CANARY not in done.stdout + done.stderr + json.dumps(audit(purser)) + purser.log()

    # During and after a rotation the same is found.
    purser.cli("keys", "rotate", "--wait")
    put(purser, third, "COPY", shared)
    (finding,) = audit(purser)["findings"]
    assert ("third", "global", "COPY") in places(finding) and len(finding["places"]) == 3


def test_equal_models_switches_and_addresses_are_nothing_to_tell(purser):
    for _ in range(2):
        org = purser.new_org()
        Puller(purser, org)
        for name, value in (("MODEL", "anthropic/claude-opus-4-7"), ("DEBUG", "1"), ("SERVICE_URL", "https://service.example.com/path"),
                            ("GREETING", "good morning to all of you")):
            put(purser, org, name, value)
    assert audit(purser) == {"findings": [], "more": False, "rotation_under_way": False}
    assert "nothing found" in purser.cli("audit", "secrets").stdout


def test_a_vendor_key_counts_however_short_it_is(purser):
    for slug in ("a-org", "b-org"):
        purser.api("POST", "/admin/orgs", {"slug": slug, "vendor_keys": "allow"})
        put(purser, slug, "OPENAI_API_KEY", "k")
    assert codes(purser) == ["SAME_VALUE_IN_ORGS"]


def test_a_subscription_that_several_workspaces_share_is_flagged(purser):
    org = purser.api("POST", "/admin/orgs", {"slug": "shares", "vendor_keys": "allow"})["id"]
    token = "sk-ant-" + "oat01-" + CANARY
    first = put(purser, org, "CLAUDE_CODE_OAUTH_TOKEN", token).json()
    assert "warnings" not in first
    workspaces = [purser.new_workspace(["/bin/true"], org=org, model="opus", start=False)[0] for _ in range(2)]
    again = put(purser, org, "CLAUDE_CODE_OAUTH_TOKEN", token).json()
    assert [w["code"] for w in again["warnings"]] == ["SHARED_SUBSCRIPTION"] and "2 workspaces" in again["warnings"][0]["text"]
    (finding,) = audit(purser)["findings"]
    assert finding["code"] == "SHARED_SUBSCRIPTION" and places(finding) == {("shares", "global", "CLAUDE_CODE_OAUTH_TOKEN")}
    # One with a token of its own leaves one.
    purser.api("PUT", f"/workspaces/{workspaces[0]}/secrets", {"key": "CLAUDE_CODE_OAUTH_TOKEN", "value": token + "2"}, org=org)
    assert codes(purser) == []


@pytest.mark.parametrize("name, value, misplaced", [
    ("OPENAI_API_KEY", "sk-ant-api" + "03-x", True),
    ("ANTHROPIC_API_KEY", "sk-proj-" + "x", True),
    ("ANTHROPIC_API_KEY", "sk-ant-oat" + "01-x", True),
    ("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-api" + "03-x", True),
    ("OPENROUTER_API_KEY", "gsk_" + "x", True),
    ("ANTHROPIC_API_KEY", "sk-ant-api" + "03-x", False),
    ("ANTHROPIC_API_KEY", "sk-kimi-" + "x", False),      # that vendor's own clients read it there
    ("ANTHROPIC_AUTH_TOKEN", "sk-cp-" + "x", False),
    ("MINIMAX_CN_API_KEY", "sk-api-" + "x", False),
    ("DEEPSEEK_API_KEY", "sk-" + "x", False),            # a prefix of many
    ("CUSTOM_API_KEY", "sk-or-v1-" + "x", False),        # for whichever endpoint the org has
    ("MY_NOTES", "sk-ant-api" + "03-x", False),          # nobody's slot
])
def test_a_key_that_begins_as_another_vendors_is_told(purser, name, value, misplaced):
    org = purser.api("POST", "/admin/orgs", {"slug": "slots", "vendor_keys": "allow"})["id"]
    answer = put(purser, org, name, value).json()
    assert [w["code"] for w in answer.get("warnings", [])] == (["KEY_OF_ANOTHER_VENDOR"] if misplaced else [])
    assert value not in json.dumps(answer)
    assert codes(purser) == (["KEY_OF_ANOTHER_VENDOR"] if misplaced else [])


def test_values_that_do_not_open_are_found(purser):
    rows = Rows(purser)
    org = purser.new_org("broken")
    put(purser, org, "NAME", "x")
    place = Place(rows, org, "NAME")
    sealed, version, key, fingerprint = place.read()
    place.write((sealed, version, 9, fingerprint))  # of a key that the keyring never had
    (finding,) = audit(purser)["findings"]
    assert finding["code"] == "SECRET_UNREADABLE" and places(finding) == {("broken", "global", "NAME")}
    assert {"id": 9, "state": "missing", "rows": 1} in purser.api("GET", "/admin/keys")["keys"]


def test_only_the_admin_may_look(purser):
    org = purser.new_org()
    token = purser.api("POST", "/org/tokens", {"name": "t"}, org=org)["auth_token"]
    for method, path in (("GET", "/admin/audit/secrets"), ("GET", "/admin/keys"), ("POST", "/admin/keys"),
                         ("POST", "/admin/keys/rotate"), ("DELETE", "/admin/keys/1")):
        response = purser.request(method, path, token=token)
        assert (response.status_code, response.json()["code"]) == (403, "WRONG_CREDENTIAL_KIND")
