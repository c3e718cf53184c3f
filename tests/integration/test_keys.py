"""The keyring turns while the server serves, whatever happens to it on the way."""

import json
import os
import signal
import threading
import uuid

import pytest

from harness import PATIENCE, Purser, Sim, free_port, make_folder, new_key, run_up, wait_until
from rows import Place, Puller, Rows, kill_purserd


@pytest.fixture
def purser():
    p = Purser()
    yield p
    p.stop()


def fill(purser, n, orgs=1):
    """n secrets in each of so many new orgs: [(puller of the org, {name: value})]."""
    made = []
    for _ in range(orgs):
        org = purser.new_org()
        stored = {f"NAME_{i}": uuid.uuid4().hex for i in range(n)}
        for begin in range(0, n, 200):
            some = dict(list(stored.items())[begin:begin + 200])
            purser.api("POST", "/settings/secrets/import", {"secrets": some}, org=org)
        made.append((Puller(purser, org), stored))
    return made


def check(made):
    for puller, stored in made:
        assert {k: v for k, v in puller.values().items() if k in stored} == stored


def rotation(purser):
    return purser.api("GET", "/admin/keys")


def test_everything_is_sealed_anew_while_people_read_and_write(purser):
    rows = Rows(purser)
    made = fill(purser, 300, orgs=2)
    puller, stored = made[0]
    purser.api("PUT", "/admin/platform/keys/anthropic-api", {"value": new_key()})
    purser.api("PUT", "/admin/platform/keys/anthropic-api", {"value": new_key()})  # the first is retired now
    assert set(rows.under_keys()) == {1}
    stop, troubles, last = threading.Event(), [], {}

    def busy(n):
        k = 0
        try:
            while not stop.is_set():
                value = f"{n}-{k}-" + uuid.uuid4().hex
                puller.put(f"BUSY_{n}", value)
                last[n] = value
                values = puller.values()
                assert values[f"BUSY_{n}"] == value and values["NAME_0"] == stored["NAME_0"]
                k += 1
        except BaseException as e:
            troubles.append(e)

    threads = [threading.Thread(target=busy, args=(n,)) for n in range(3)]
    for t in threads:
        t.start()
    done = purser.cli("keys", "rotate", "--wait")
    stop.set()
    for t in threads:
        t.join()
    assert not troubles, troubles[0]
    assert "2    current" in done.stdout
    wait_until(lambda: set(rows.under_keys()) == {2}, "no row under the old key")
    check(made)
    assert {f"BUSY_{n}": value for n, value in last.items()}.items() <= puller.values().items()

    assert json.loads(purser.cli("keys", "retire", "1", "--json").stdout)["keys"] == [
        {"id": 2, "state": "current", "rows": sum(rows.under_keys().values())}]
    purser.process.stop()
    purser.start()
    check(made)
    # Nothing can be written under a retired key any more, and no new key gets its number.
    assert json.loads(purser.cli("keys", "add", "--json").stdout)["keys"][-1] == {"id": 3, "state": "next", "rows": 0}


def test_a_rotation_that_is_killed_goes_on_by_itself(purser):
    rows = Rows(purser)
    made = fill(purser, 300, orgs=4)
    for key in (2, 3):
        purser.api("POST", "/admin/keys/rotate")
        wait_until(lambda: rotation(purser)["rotation"]["rows_done"] > 0, "the rotation to be under way")
        kill_purserd(purser)
        wait_until(lambda: set(rows.under_keys()) == {key}, "no row under an old key", 20)
        check(made)
        assert rotation(purser)["current"] == key
    for old in (1, 2):
        purser.api("DELETE", f"/admin/keys/{old}")
    assert [k["id"] for k in rotation(purser)["keys"]] == [3]


def test_a_retirement_that_is_cut_short_is_finished_at_the_next_start(purser):
    fill(purser, 3)
    purser.cli("keys", "rotate", "--wait")
    purser.process.stop()
    Rows(purser).run("INSERT INTO retired_keys (key_id, retired_ms) VALUES (1, 1)")
    purser.start()
    wait_until(lambda: [k["id"] for k in rotation(purser)["keys"]] == [2], "key 1 to leave the keyring")
    assert "key 1 " not in (purser.state / "master-key").read_text()


def test_a_key_stays_while_anything_is_under_it(purser):
    rows = Rows(purser)
    ((puller, _),) = fill(purser, 150)
    org = puller.org
    place = Place(rows, org, "NAME_120")
    sealed, *rest = place.read()
    place.write((f"{int(sealed, 16) ^ 1:0{len(sealed)}x}", *rest))

    refused = purser.request("DELETE", "/admin/keys/1")
    assert (refused.status_code, refused.json()["code"]) == (409, "CONFLICT") and "purser keys rotate" in refused.json()["error"]
    done = purser.cli("keys", "rotate", "--wait", check=False)
    assert done.returncode == 1 and "SECRET_UNREADABLE" in done.stderr and "audit secrets" in done.stderr
    assert rows.under_keys() == {1: 1, 2: 151}
    refused = purser.request("DELETE", "/admin/keys/1")
    assert refused.status_code == 409 and "1 values" in refused.json()["error"]
    assert "NAME_120" in purser.cli("audit", "secrets", check=False).stdout
    # The way out that is named: set it anew.
    purser.api("PUT", "/settings/secrets", {"key": "NAME_120", "value": "anew"}, org=org)
    purser.api("DELETE", "/admin/keys/1")
    for wrong, status in (("2", 409), ("1", 404), ("77", 404), ("x", 400)):
        assert purser.request("DELETE", f"/admin/keys/{wrong}").status_code == status


def test_the_keyring_is_sealed_under_a_key_that_is_kept_elsewhere():
    folder = make_folder()
    outer = folder / "purser-key"
    outer.write_text("# the outer key\n" + os.urandom(32).hex() + "\n")
    outer.chmod(0o400)
    purser = Purser(flags=["--key-file", outer])
    try:
        puller = Puller(purser, purser.new_org())
        puller.put("NAME", "value")
        file = purser.state / "master-key"
        assert file.read_text().startswith("purser-keyring-sealed 1\n")
        purser.cli("keys", "rotate", "--wait")
        purser.cli("keys", "retire", "1")
        assert file.read_text().startswith("purser-keyring-sealed 1\n") and file.stat().st_mode & 0o777 == 0o600

        # The same key as a program prints it, and as a credential of systemd.
        for flags, env in ((["--key-command", f"cat {outer}"], {}), ([], {"CREDENTIALS_DIRECTORY": str(folder)})):
            purser.process.stop()
            purser.flags, purser.env = flags, purser.store_env | env
            purser.start()
            assert puller.values()["NAME"] == "value"

        purser.process.stop()
        where = ["--state", purser.state, "--listen", f"127.0.0.1:{free_port()}"]
        for more, says in (([], "key_file"), (["--key-command", "echo nothing"], "64 hexadecimal"),
                           (["--key-command", "false"], "exit code 1"),
                           (["--key-file", folder / "missing"], "No such file")):
            done = run_up(*where, *more)
            assert done.returncode == 1 and "MASTER_KEY_UNREADABLE" in done.stderr and says in done.stderr, done.stderr
        done = run_up(*where, "--key-command", "true", "--key-file", outer)
        assert done.returncode == 2 and "exclude" in done.stderr
        purser.flags, purser.env = ["--key-file", outer], purser.store_env
        purser.start()
        assert puller.values()["NAME"] == "value"
    finally:
        purser.stop()


def test_a_keyring_that_was_replaced_is_read_again_on_sighup(purser):
    puller = Puller(purser, purser.new_org())
    puller.put("NAME", "value")
    before = (purser.state / "master-key").read_bytes()
    purser.cli("keys", "add")
    (purser.state / "master-key").write_bytes(before)  # as if it came from another node
    os.kill(purser.purserd_pid(), signal.SIGHUP)
    wait_until(lambda: len(rotation(purser)["keys"]) == 1, "the file to be read")
    (purser.state / "master-key").write_bytes(before[:-9])
    os.kill(purser.purserd_pid(), signal.SIGHUP)
    wait_until(lambda: "keyring stays as it was" in purser.log(), "the refusal to be told")
    assert puller.values()["NAME"] == "value"


def test_a_platform_key_is_replaced_without_a_failed_call():
    old, new = new_key(), new_key()
    sim = Sim(keys={"old": old, "new": new})
    purser = Purser(sim, keys={"anthropic-api": old})
    try:
        agent = purser.new_agent()
        stop, troubles, answered = threading.Event(), [], [0] * 4

        def calls(n):
            # A reload closes idle connections, which a client that is just about to use one cannot know: it tries
            # again, as every SDK does. On a connection of its own no call may fail at all.
            kept = agent.anthropic().with_options(max_retries=2) if n % 2 else None
            try:
                while not stop.is_set():
                    client = kept or agent.anthropic()
                    with client.messages.stream(model="anthropic/claude-opus-4-7", max_tokens=50,
                                                messages=[{"role": "user", "content": "sim: output=8 events=4 delay_ms=2"}]) as s:
                        assert "".join(s.text_stream)
                    answered[n] += 1
            except BaseException as e:
                troubles.append(e)

        threads = [threading.Thread(target=calls, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()

        def both_go_on(what):
            before = list(answered)
            wait_until(lambda: troubles or all(a > b + 1 for a, b in zip(answered, before)), what, 20)

        both_go_on("calls on the old key")
        (old_id,) = [k["id"] for k in purser.api("GET", "/admin/platform/keys")]
        added = json.loads(purser.cli("platform", "keys", "add", "anthropic-api", "--weight", "5", "--json", stdin=new + "\n").stdout)
        assert added["weight"] == 5
        both_go_on("calls with both keys")
        purser.cli("platform", "keys", "retire", old_id)
        both_go_on("calls on the new key")
        stop.set()
        for t in threads:
            t.join(30 * PATIENCE)
        assert not troubles, troubles[0]
        purser.cli("platform", "keys", "weight", added["id"], "9")
        (left,) = purser.api("GET", "/admin/platform/keys")
        assert (left["id"], left["weight"]) == (added["id"], 9)
        calls = sim.calls()
        assert {c["status"] for c in calls} == {200} and calls[-1]["key"]["name"] == "new" != calls[0]["key"]["name"]
        for wrong, status in ((old_id, 404), ("nobody", 404), (str(uuid.uuid4()), 404)):
            assert purser.request("DELETE", f"/admin/platform/keys/{wrong}").status_code == status
        assert purser.request("PATCH", f"/admin/platform/keys/{old_id}", {"weight": 2}).status_code == 404
        for weight in (0, 1001, "x", None):
            assert purser.request("PATCH", f"/admin/platform/keys/{left['id']}", {"weight": weight}).status_code == 400
        # It goes into a line of a header: what cannot stand there was pasted wrongly, or means to add another line.
        for value in ("sk-a\r\nx-other: b", "sk-a\nb", "sk-a b", "sk-a\x7f", "sk-\u00e9"):
            refused = purser.request("POST", "/admin/platform/keys", {"provider": "anthropic-api", "value": value})
            assert (refused.status_code, value in refused.text) == (400, False)
    finally:
        purser.stop()
        sim.stop()
