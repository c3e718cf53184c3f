"""Secrets: who can move one, what a damaged one does, and how they come in."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import threading
import uuid

import httpx
import pytest

from harness import MODEL, PATIENCE, PROGRAM, Purser, clean_environment, free_port, run_up
from rows import Place, Puller, Rows, kill_purserd

VALUE = "the very same value"


@pytest.fixture(scope="module")
def purser():
    p = Purser()
    yield p
    p.stop()


@pytest.fixture(scope="module")
def rows(purser):
    return Rows(purser)


def unreadable(response):
    return (response.status_code, response.json().get("code")) == (500, "SECRET_UNREADABLE") and set(response.json()) == {"error", "code"}


# ---- sealed bytes stay where they were put ----

@pytest.fixture(scope="module")
def places(purser, rows):
    """[(place, puller)]: every way in which two rows can differ, all of the same value."""
    found = []
    for org in (purser.new_org(), purser.new_org()):
        first, second = Puller(purser, org), Puller(purser, org)
        for name in ("SHARED", "SHARED_2"):
            purser.api("PUT", "/settings/secrets", {"key": name, "value": VALUE}, org=org)
            found.append((Place(rows, org, name), first))
        for puller in (first, second):
            puller.put("OWN", VALUE)
            found.append((Place(rows, org, "OWN", puller.id), puller))
        first.put("OWN_2", VALUE)
        found.append((Place(rows, org, "OWN_2", first.id), first))
    return found


def test_no_ciphertext_opens_in_another_row(places):
    kept = [place.read() for place, _ in places]
    assert len({sealed for sealed, *_ in kept}) == len(kept)
    for (i, (place, puller)), j in itertools.product(enumerate(places), range(len(places))):
        if i == j:
            continue
        # One way round with the version, key and fingerprint of the other, the other way round with its own.
        place.write(kept[j] if i < j else (kept[j][0], *kept[i][1:]))
        assert unreadable(puller.pull()), (place.where, places[j][0].where)
        place.write(kept[i])
    for place, puller in places:
        assert puller.values()[place.name] == VALUE


def test_an_old_value_fits_no_more_whether_it_was_replaced_or_deleted(purser, rows):
    puller = Puller(purser, purser.new_org())
    puller.put("NAME", "first")
    place = Place(rows, puller.org, "NAME", puller.id)
    first = place.read()
    puller.put("NAME", "second")
    second = place.read()
    purser.api("DELETE", f"/workspaces/{puller.id}/secrets/NAME", org=puller.org)
    puller.put("NAME", "third")
    third = place.read()
    assert len({version for _, version, *_ in (first, second, third)}) == 3
    for old in (first, second):
        place.write((old[0], *third[1:]))
        assert unreadable(puller.pull())
    place.write(third)
    assert puller.values()["NAME"] == "third"


def test_any_damage_is_told_and_nothing_partial_comes_out(purser, rows):
    puller = Puller(purser, purser.new_org())
    puller.put("A_GOOD", "a-good-value")
    puller.put("Z_BAD", "x")
    place = Place(rows, puller.org, "Z_BAD", puller.id)
    good = sealed, version, key, fingerprint = place.read()
    flipped = [f"{int(sealed, 16) ^ (1 << bit):0{len(sealed)}x}" for bit in range(0, len(sealed) * 4, 11)]
    damaged = [(s, version, key, fingerprint) for s in [*flipped, sealed[:-2], sealed[:20], "", sealed + "00"]]
    damaged += [(sealed, int(version) ^ 1, key, fingerprint), (sealed, version, 99, fingerprint)]
    for row in damaged:
        place.write(row)
        response = puller.pull()
        assert unreadable(response), (row, response.text)
        assert "a-good-value" not in response.text
    # A start, too: nothing is started, the row says why, and the mode is the closed one.
    start = purser.request("POST", f"/workspaces/{puller.id}/start", org=puller.org)
    assert start.json()["code"] == "SECRET_UNREADABLE"
    row = purser.api("GET", f"/workspaces/{puller.id}", org=puller.org)
    assert row["status"] == "failed" and row["last_error"]["code"] == "SECRET_UNREADABLE"
    assert "Z_BAD" in row["last_error"]["error"]
    mode = purser.request("GET", f"/admin/workspaces/{puller.id}/llm-billing-mode", org=puller.org).json()
    assert mode["resolved_mode"] == "platform_managed" and mode["source"] == "constant_fallback"
    place.write(good)
    assert puller.values()["Z_BAD"] == "x"


def test_another_keyring_opens_nothing_and_a_cut_one_starts_nothing():
    purser = Purser()
    try:
        puller = Puller(purser, purser.new_org())
        puller.put("NAME", VALUE)
        key = purser.state / "master-key"
        own = key.read_bytes()
        purser.process.stop()
        for cut in (b"", own[: len(own) // 2], own[:-1]):
            key.write_bytes(cut)
            done = run_up("--state", purser.state, "--listen", f"127.0.0.1:{free_port()}")
            assert done.returncode == 1 and "MASTER_KEY_UNREADABLE" in done.stderr, done.stderr
            assert key.read_bytes() == cut
        key.unlink()
        done = run_up("--state", purser.state, "--listen", f"127.0.0.1:{free_port()}")
        assert "MASTER_KEY_UNREADABLE" in done.stderr and not key.exists()

        other = Purser()
        key.write_bytes((other.state / "master-key").read_bytes())
        key.chmod(0o600)
        other.stop()
        purser.start()
        assert unreadable(puller.pull())
        purser.process.stop()
        key.write_bytes(own)
        purser.start()
        assert puller.values()["NAME"] == VALUE
    finally:
        purser.stop()


# ---- names and values ----

@pytest.mark.parametrize("name, stored", [
    ("lower", "LOWER"), (" \tpadded\n", "PADDED"), ("_x9", "_X9"), ("a" * 128, "A" * 128),
    ("a" * 129, None), ("9x", None), ("a-b", None), ("a b", None), ("ä", None), ("", None), ("a.b", None), ("a\0b", None),
])
def test_names_are_upper_cased_and_trimmed(purser, name, stored):
    puller = Puller(purser, purser.new_org())
    response = purser.request("PUT", f"/workspaces/{puller.id}/secrets", {"key": name, "value": "v"}, org=puller.org)
    if stored is None:
        assert response.status_code == 400 and response.json()["code"] == "INVALID_REQUEST"
    else:
        assert response.json()["key"] == stored and puller.values()[stored] == "v"


@pytest.mark.parametrize("value, fits", [
    ("x" * 65536, True), ("x" * 65537, False), ("", False), ("a\0b", False), ("ü€😀\n\ttext", True), (" ", True),
])
def test_values_have_up_to_64_kib_and_no_nul(purser, value, fits):
    puller = Puller(purser, purser.new_org())
    response = purser.request("PUT", f"/workspaces/{puller.id}/secrets", {"key": "NAME", "value": value}, org=puller.org)
    assert response.status_code == (200 if fits else 400), response.text[:300]
    assert puller.values().get("NAME") == (value if fits else None)


# ---- from the command line ----

def test_a_value_comes_from_stdin_and_never_from_argv(purser):
    purser.new_org("argv")
    purser.cli("secret", "set", "from_stdin", "--org", "argv", stdin="canary-stdin\n")
    for argv in (["secret", "set", "NAME", "canary-argv"], ["secret", "set", "NAME=canary-argv"],
                 ["secret", "set", "NAME", "--value", "canary-argv"], ["secret", "set", "NAME", "--", "canary-argv"],
                 ["secret", "import", "NAME=canary-argv"], ["platform", "keys", "add", "anthropic-api", "canary-argv"],
                 ["platform", "keys", "set", "anthropic-api", "canary-argv"]):
        done = purser.cli(*argv, "--org", "argv", check=False, stdin="") if argv[0] == "secret" else purser.cli(*argv, check=False, stdin="")
        assert done.returncode == 2, (argv, done)
        assert "canary-argv" not in done.stdout + done.stderr, argv
    names = json.loads(purser.cli("secret", "list", "--org", "argv", "--json").stdout)
    assert [n["key"] for n in names] == ["FROM_STDIN"]


def test_a_terminal_is_asked_without_echo(purser):
    purser.new_org("prompt")
    ours, theirs = os.openpty()
    child = subprocess.Popen([PROGRAM, "secret", "set", "NAME", "--org", "prompt"], stdin=theirs, stdout=theirs, stderr=theirs,
                             env=clean_environment(PURSER_SERVER=purser.url, PURSER_TOKEN=purser.admin_token), start_new_session=True)
    os.close(theirs)
    seen = b""
    while b"value of NAME: " not in seen:
        seen += os.read(ours, 1000)
    os.write(ours, b"canary-typed\n")
    try:
        while more := os.read(ours, 1000):
            seen += more
    except OSError:
        pass  # the other side is closed
    assert child.wait(10 * PATIENCE) == 0, seen
    assert b"canary-typed" not in seen and b"NAME is set" in seen
    os.close(ours)


DOTENV = """# a comment
PLAIN=one
export EXPORTED = two # with a comment
SINGLE='three $HOME "x"'
MULTI="-----BEGIN
four \\"quoted\\"
-----END"
"""


def test_a_dotenv_file_is_stored_as_a_whole(purser, tmp_path):
    org = purser.new_org("dotenv")
    file = tmp_path / ".env"
    file.write_text(DOTENV)
    done = purser.cli("secret", "import", file, "--org", "dotenv", "--dry-run")
    assert "PLAIN would be set" in done.stdout and "one" not in done.stdout
    assert json.loads(purser.cli("secret", "list", "--org", "dotenv", "--json").stdout) == []
    purser.cli("secret", "import", file, "--org", "dotenv")
    puller = Puller(purser, org)
    own = ("MODEL", "CLAUDE_CODE_OAUTH_TOKEN")
    assert {k: v for k, v in puller.values().items() if k not in own} == {"PLAIN": "one", "EXPORTED": "two", "SINGLE": 'three $HOME "x"', "MULTI": '-----BEGIN\nfour "quoted"\n-----END'}
    purser.cli("secret", "import", "--workspace", puller.id, "--org", "dotenv", stdin="PLAIN=own\n")
    assert puller.values()["PLAIN"] == "own"


@pytest.mark.parametrize("text, code, says", [
    ("A=1\nB='canary\n", "USAGE", "line 2"),
    ("A=1\nnot a line canary\n", "USAGE", "line 2"),
    ("A=1\nLD_PRELOAD=canary\n", "RESERVED_NAME", "LD_PRELOAD"),
    ("A=1\nOPENAI_API_KEY=canary\n", "VENDOR_KEY_AT_ORG_SCOPE", "vendor_keys"),
    ("A=1\n" + "B" * 129 + "=canary\n", "INVALID_REQUEST", "128"),
])
def test_one_bad_line_and_nothing_is_stored(purser, text, code, says):
    slug = "bad-" + uuid.uuid4().hex[:8]
    purser.new_org(slug)
    done = purser.cli("secret", "import", "--org", slug, stdin=text, check=False)
    assert done.returncode != 0 and code in done.stderr and says in done.stderr, done.stderr
    assert "canary" not in done.stderr + done.stdout
    assert json.loads(purser.cli("secret", "list", "--org", slug, "--json").stdout) == []
    if code != "USAGE":
        done = purser.cli("secret", "import", "--org", slug, "--dry-run", stdin=text, check=False)
        assert done.returncode == 1 and "A would be set" in done.stdout and f"is refused: {code}" in done.stdout


def test_the_gate_of_an_import_names_each_refused_key(purser):
    puller = Puller(purser, purser.new_org(), model=MODEL, secrets={})
    body = {"secrets": {"OPENAI_API_KEY": "x", "FINE": "y", "ld_audit": "z"}}
    response = purser.request("POST", f"/workspaces/{puller.id}/secrets/import", body, org=puller.org)
    answer = response.json()
    assert response.status_code == 400, answer
    assert {r["key"]: r["code"] for r in answer["refused"]} == {
        "OPENAI_API_KEY": "VENDOR_KEY_ON_PLATFORM_MANAGED", "ld_audit": "RESERVED_NAME"}
    names = purser.api("GET", f"/workspaces/{puller.id}/secrets", org=puller.org)
    assert [n["key"] for n in names] == ["MODEL"]
    dry = purser.api("POST", f"/workspaces/{puller.id}/secrets/import", body | {"dry_run": True}, org=puller.org)
    assert dry["would_write"] == ["FINE"] and len(dry["refused"]) == 2


def half_sent(purser, org, body):
    """A request whose other half never comes; the connection."""
    content = json.dumps(body).encode()
    s = socket.create_connection(("127.0.0.1", purser.port), 10 * PATIENCE)
    s.sendall(f"POST /settings/secrets/import HTTP/1.1\r\nHost: 127.0.0.1:{purser.port}\r\n"
              f"Authorization: Bearer {purser.admin_token}\r\nX-Molecule-Org-Id: {org}\r\n"
              f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content[:len(content) // 2])
    return s


def test_an_import_that_is_killed_stored_all_or_nothing():
    purser = Purser()
    try:
        # Later each time, so that the kill meets another moment of the request; the last one is answered.
        for delay in (None, 0, 0.006, 0.014, 30):
            org = purser.new_org()
            body = {"secrets": {f"NAME_{i}": uuid.uuid4().hex for i in range(200)}}
            pid, answered = purser.purserd_pid(), []

            def send():
                if delay is None:
                    half_sent(purser, org, body).close()
                    return
                with contextlib.suppress(httpx.HTTPError):
                    answered.append(purser.request("POST", "/settings/secrets/import", body, org=org).status_code)

            thread = threading.Thread(target=send)
            thread.start()
            thread.join(30 * PATIENCE if delay is None else delay * PATIENCE)
            kill_purserd(purser, pid)
            thread.join()
            stored = {row["key"] for row in purser.api("GET", "/settings/secrets", org=org)}
            assert stored in (set(), set(body["secrets"])), len(stored)
            assert delay is not None or not stored, "half a request was done"
            assert answered == [200] or delay != 30, "the last one was to be answered"
            assert not (answered == [200] and not stored), "it was answered, and is gone"
            assert {k: v for k, v in Puller(purser, org).values().items() if k in stored} == (body["secrets"] if stored else {})
    finally:
        purser.stop()


# ---- operators' credentials ----

@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "MOLECULE_OPERATOR_ANYTHING"])
def test_an_operators_name_at_org_scope_starts_nothing(purser, name):
    org = purser.new_org()
    put = purser.api("PUT", "/settings/secrets", {"key": name, "value": "x"}, org=org)
    assert [w["code"] for w in put["warnings"]] == ["OPERATOR_KEY_IN_ORG_SECRETS"]
    puller = Puller(purser, org)
    start = purser.request("POST", f"/workspaces/{puller.id}/start", org=org)
    assert (start.status_code, start.json()["code"]) == (422, "OPERATOR_KEY_IN_ORG_SECRETS")
    assert name in start.json()["error"]
    # The workspace's own row of that name clears it.
    puller.put(name, "own")
    start = purser.request("POST", f"/workspaces/{puller.id}/start", org=org)
    assert start.json().get("code") != "OPERATOR_KEY_IN_ORG_SECRETS"
