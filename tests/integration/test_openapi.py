"""docs/openapi.yaml says exactly what src/api/routes.def and src/base/error.def make possible."""

import re

import pytest
import yaml

from harness import SOURCE
from routes import read_codes, read_routes

ROUTES = {r.name: r for r in read_routes()}
CODES = read_codes()
API = yaml.safe_load((SOURCE / "docs/openapi.yaml").read_text())
# The group of answers (x-answers) that an operation merges in.
GROUPS = {"ORG_NONE": "admin", "ORG_CHOSEN": "org", "ORG_OPTIONAL": "optional", "ORG_OF_ID": "workspace"}


def resolve(node):
    while "$ref" in node:
        at = API
        for part in node["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        node = at
    return node


def operation(route):
    return API["paths"].get(route.path, {}).get(route.method.lower())


def parameters(route):
    both = API["paths"][route.path].get("parameters", []) + operation(route).get("parameters", [])
    return {(p["in"], p["name"]): p for p in map(resolve, both)}


def codes_of(response):
    schema = resolve(response)["content"]["application/json"]["schema"]
    return [code for part in schema.get("allOf", []) for code in part.get("properties", {}).get("code", {}).get("enum", [])]


@pytest.fixture(params=ROUTES)
def route(request):
    return ROUTES[request.param]


def test_there_is_an_operation_for_every_route_and_none_besides():
    described = {f"{method.upper()} {path}" for path, item in API["paths"].items()
                 for method in item if method != "parameters"}
    assert described == {f"{r.method} {r.path}" for r in ROUTES.values()}


def test_operation_ids_are_given_once():
    ids = [op["operationId"] for item in API["paths"].values() for m, op in item.items() if m != "parameters"]
    assert len(ids) == len(set(ids))


def test_the_answers_that_every_such_route_has_are_there(route):
    group = "open" if "open" in route.who else f"{GROUPS[route.org]}_{'read' if route.method == 'GET' else 'write'}"
    answers = operation(route)["responses"]
    missing = set(API["x-answers"][group]) - set(answers)
    assert not missing, f"{route.name}: begin its responses with \"<<: *{group}\""
    assert "default" not in answers, f"{route.name}: say which answers there are"
    assert any(status.startswith("2") for status in answers) or route.handler == "provider_retired"


def test_codes_are_those_of_the_table_under_their_status(route):
    for status, response in operation(route)["responses"].items():
        if status.startswith("2") or route.handler == "health_get" and status == "503":
            continue
        codes = codes_of(response)
        assert codes, f"{route.name} {status}: name the codes"
        for code in codes:
            assert CODES.get(code) == int(status), f"{route.name}: {code} is not a {status}"


def test_whoever_may_use_it_is_named(route):
    order = ["admin", "org", "read-only org", "own workspace", "usage token"]
    named = "nobody in particular" if "open" in route.who else ", ".join(k for k in order if k in route.who)
    assert operation(route)["description"].split(".")[0] == "For: " + named


def test_parameters_and_bodies_are_those_of_the_route(route):
    given = parameters(route)
    assert {name for place, name in given if place == "path"} == set(route.params)
    assert (("header", "X-Molecule-Org-Id") in given) == (route.org != "ORG_NONE" and "admin" in route.who)
    assert (("header", "Idempotency-Key") in given) == (route.method != "GET")
    if route.max_body == 0:
        assert "requestBody" not in operation(route)


def test_every_code_that_a_handler_fails_with_is_documented():
    """Codes of error.def that sources of the API name; those that only other parts use are not the API's."""
    named = {code for f in (SOURCE / "src/api").glob("*.c") for code in re.findall(r"fail\(\s*e, ERR_(\w+)", f.read_text())}
    documented = {code for r in ROUTES.values() for response in operation(r)["responses"].values()
                  if "application/json" in resolve(response).get("content", {}) for code in codes_of(response)}
    # Said about paths and methods that are no operation; and while the server starts.
    assert named - documented <= {"METHOD_NOT_ALLOWED", "STATE_LOCKED"}
