"""src/api/routes.def and src/base/error.def as Python sees them: what tests are generated from."""

import re
from dataclasses import dataclass

from harness import SOURCE

KINDS = {"WHO_OPEN": "open", "WHO_ADMIN": "admin", "WHO_ORG": "org", "WHO_ORG_READ": "read-only org",
         "WHO_WORKSPACE": "own workspace", "WHO_USAGE": "usage token", "WHO_AGENT": "agent"}


@dataclass(frozen=True)
class Route:
    method: str
    pattern: str
    who: frozenset
    org: str
    max_body: int
    handler: str

    @property
    def name(self):
        return f"{self.method} {self.pattern}"

    @property
    def path(self):
        """As OpenAPI writes it."""
        return re.sub(r":(\w+)", r"{\1}", self.pattern)

    @property
    def params(self):
        return re.findall(r":(\w+)", self.pattern)


def _kinds(expression, defines):
    names = re.findall(r"\w+", expression)
    while any(n in defines for n in names):
        names = [x for n in names for x in re.findall(r"\w+", defines.get(n, n))]
    return frozenset(KINDS[n] for n in names)


def read_routes():
    text = (SOURCE / "src/api/routes.def").read_text()
    defines = dict(re.findall(r"^#define (\w+) (.+)$", text, re.M))
    rows = re.findall(r'^X\((\w+), "([^"]+)", ([^,]+), (\w+), (\d+), (\w+)\)', text, re.M)
    assert len(rows) == len(re.findall(r"^X\(", text, re.M)), "a row of routes.def is laid out in a new way"
    return [Route(method, pattern, _kinds(who, defines), org, int(body), handler)
            for method, pattern, who, org, body, handler in rows]


def read_codes():
    """Code -> HTTP status, of src/base/error.def."""
    text = (SOURCE / "src/base/error.def").read_text()
    return {name: int(status) for name, status in re.findall(r"^X\((\w+), (\d+), \d+\)", text, re.M)}
