#!/usr/bin/env python3
"""Asks `purser explain --batch` and the oracle the same questions, and holds the answers together.

  run.py --purser BUILD/purser --registry registry/providers.yaml [--cases N]

Prints TAP. --cases 0 asks everything (millions); otherwise whole groups are drawn until N is reached.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import cases
import oracle

CHUNK = 20000
GATEWAY_NAMES = {"MOLECULE_LLM_BASE_URL", "MOLECULE_LLM_ANTHROPIC_BASE_URL", "MOLECULE_LLM_USAGE_TOKEN",
                 "MOLECULE_LLM_USAGE_URL"}


class Difference(Exception):
    pass


def ask(purser, lines, registry_file=None):
    command = [purser, "explain", "--batch"] + (["--registry", registry_file] if registry_file else [])
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True)
    if done.returncode != 0:
        raise Difference(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    answers = done.stdout.splitlines()
    if len(answers) != len(lines):
        raise Difference(f"{len(lines)} questions, {len(answers)} answers")
    return answers


def check_promises(registry, case, got):
    """What must hold whatever the oracle thinks."""
    mode, source, env = got["resolved_mode"], got["source"], got["env"]
    secrets = {oracle.name_of(n): s for n, s in (case.get("secrets") or {}).items()}
    promises = {
        "the mode is one of three": mode in oracle.MODES,
        "byok and disabled come from an override or a derivation": mode == "platform_managed"
        or source in ("workspace_override", "derived_provider"),
        "disabled comes from an override": mode != "disabled" or source == "workspace_override",
        "a provider or an error": got["provider"] is not None or got["error"] is not None
        or "PLATFORM_MODEL_ON_BYOK" in got["warnings"],
        "no vendor key is kept on platform_managed": mode != "platform_managed"
        or not any(a == "keep" and n in registry.vendor_keys for n, a in env.items()),
        "no gateway value outside platform_managed": mode == "platform_managed"
        or not any(env.get(n) == "set" for n in GATEWAY_NAMES),
        "a workspace's own key stays on byok": mode == "platform_managed"
        or not any(env.get(n) == "strip" and s == "workspace" and n in registry.vendor_keys
                   for n, s in secrets.items()),
        "disabled strips no vendor key": mode != "disabled"
        or not any(a == "strip" and n in registry.vendor_keys for n, a in env.items()),
    }
    for promise, kept in promises.items():
        if not kept:
            raise Difference(f"broken promise: {promise}\n  case {json.dumps(case)}\n  got  {json.dumps(got)}")


def check_group(group, answers):
    """
    One auth name more never turns byok into platform_managed. A promise of our registry, not of any:
    where patterns overlap, one name more may make a model ambiguous, and that is closed.
    """
    modes = {frozenset(case["auth"]): got["resolved_mode"] for case, got in zip(group, answers)}
    names = set().union(*modes)
    for auth, mode in modes.items():
        for name in names - auth:
            if mode == "byok" and modes.get(auth | {name}) == "platform_managed":
                raise Difference(f"{name} more turns byok into platform_managed: {json.dumps(group[0])}")


def compare(purser, registry, groups, check, registry_file):
    """Number of cases that agreed."""
    flat = [case for group in groups for case in group]
    answers = [json.loads(line) for line in ask(purser, [json.dumps(c) for c in flat], registry_file)]
    for case, got in zip(flat, answers):
        expected = oracle.answer(registry, case)
        if got != expected:
            raise Difference(f"case     {json.dumps(case)}\n  expected {json.dumps(expected)}\n"
                             f"  got      {json.dumps(got)}")
        check_promises(registry, case, got)
    at = 0
    for group in groups:
        if check is not None:
            check(group, answers[at:at + len(group)])
        at += len(group)
    return len(flat)


def compare_all(purser, registry, groups, check=None, registry_file=None):
    total, pending, size = 0, [], 0
    for group in groups:
        pending.append(group)
        size += len(group)
        if size >= CHUNK:
            total += compare(purser, registry, pending, check, registry_file)
            pending, size = [], 0
    return total + (compare(purser, registry, pending, check, registry_file) if pending else 0)


def test_decisions(args, registry):
    wanted = args.cases * 6 // 10
    return compare_all(args.purser, registry, cases.decision_groups(registry, args.seed, wanted), check_group)


def test_plans(args, registry):
    wanted = args.cases * 3 // 10 or 500000
    return compare_all(args.purser, registry, cases.plan_groups(registry, args.seed, wanted))


def test_invented_registries(args, _):
    count = 20 if args.cases else 200
    each = (args.cases or 2000000) // 10 // count // 2
    total = 0
    for i in range(count):
        tree = cases.invented_registry(args.seed + i)
        registry = oracle.Registry(tree)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
            json.dump(tree, f)  # JSON is YAML, and one writer is enough
            f.flush()
            for groups in (cases.decision_groups(registry, args.seed + i, each),
                           cases.plan_groups(registry, args.seed + i, each)):
                total += compare_all(args.purser, registry, groups, registry_file=f.name)
    return total


def test_same_question_same_answer(args, registry):
    lines = [json.dumps(g[0]) for g in cases.plan_groups(registry, args.seed, 2000)]
    hostile = {"MOLECULE_LLM_BILLING_MODE": "byok", "OPENAI_BASE_URL": "http://evil.test",
               "ANTHROPIC_API_KEY": "x", "LLM_PROVIDER": "anthropic-api", "MODEL": "opus"}
    first = ask(args.purser, lines)
    saved = dict(os.environ)
    os.environ.update(hostile)
    try:
        second = ask(args.purser, list(reversed(lines)))
    finally:
        os.environ.clear()
        os.environ.update(saved)
    if first != list(reversed(second)):
        raise Difference("order or environment changed an answer")
    return len(lines)


def read_registry(path, purser):
    """With a YAML reader of another make where there is one."""
    try:
        import yaml
        with open(path) as f:
            return yaml.load(f, Loader=yaml.BaseLoader), "read by PyYAML"
    except ImportError:
        shown = json.loads(subprocess.run([purser, "registry", "show", "--json", "--registry", path],
                                          check=True, capture_output=True, text=True).stdout)
    for runtime in shown["runtimes"]:
        runtime["anthropic_native"] = str(runtime["anthropic_native"]).lower()
        runtime["base_env"] = dict(zip(runtime["base_env"][::2], runtime["base_env"][1::2]))
    for provider in shown["providers"]:
        provider["models"] = {model["id"]: model for model in provider["models"]}
    shown["runtimes"] = {runtime["name"]: runtime for runtime in shown["runtimes"]}
    shown["routes"] = {m["id"]: m for m in shown["platform_models"]}
    return shown, "as purser shows it (PyYAML is not here)"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--purser", required=True)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--cases", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tree, how = read_registry(args.registry, args.purser)
    registry = oracle.Registry(tree)
    tests = [test_decisions, test_plans, test_invented_registries, test_same_question_same_answer]
    print(f"1..{len(tests)}\n# registry {how}", flush=True)
    failed, total = 0, 0
    for number, test in enumerate(tests, 1):
        try:
            n = test(args, registry)
            total += n
            print(f"ok {number} - {test.__name__[5:]}\n# {n} cases", flush=True)
        except Difference as difference:
            failed += 1
            print(f"not ok {number} - {test.__name__[5:]}", flush=True)
            print("\n".join("# " + line for line in str(difference).splitlines()), flush=True)
    print(f"# {total} cases in all")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
