"""The cases that the oracle and the program are asked: whole groups of them, made from a registry.

A group is one (runtime, model, override) with every subset of the auth names that can matter for
the runtime, so that what holds between neighbours (one name more) can be checked inside a group.
"""
import itertools
import random
import re

OVERRIDES = (None, "platform_managed", "byok", "disabled", "byokk", "", "BYOK")
UNKNOWN_RUNTIMES = ("langgraph", "Claude-Code")
SUBSETS_MAX = 256


def swap(text):
    return text.swapcase()


def models_of(registry, seed):
    """Ids of every runtime, their relatives, examples of every pattern, odd and random ones."""
    ids = sorted({model for runtime in registry.runtimes.values()
                  for _, models in runtime["arms"] for model in models})
    relatives = [swap(i) for i in ids] + [i + "x" for i in ids] + [f"  {i}\t" for i in ids]
    relatives += [i.replace("/", ":") for i in ids if "/" in i] + [i.replace(":", "/") for i in ids if ":" in i]
    examples = []
    for provider in registry.providers.values():
        if provider.pattern is None:
            continue
        stem = re.sub(r"\(\?i\)|[\^$()]", "", provider.pattern.pattern.decode())
        for part in stem.split("|"):
            for separator in "/:-":
                word = re.sub(r"\[[^]]*\]", separator, part)
                examples += [word, word + "some-model", "x" + word, swap(word) + "1"]
    odd = ["", " ", "\t\v", "/", ":", "platform/anything", "platform:anything", "a/b", "a:b", "anthropic/",
           "moonshot:", "gpt-5.5\x01", "é", "opus\u00a0", "claude\nx"]
    rng = random.Random(seed)
    letters = "abcgkmoptz0245-./:ABM "
    stems = [i[:rng.randint(1, len(i))] for i in ids for _ in range(2)] or [""]
    rand = ["".join(rng.choice(letters) for _ in range(rng.randint(1, 14))) for _ in range(100)]
    rand += [rng.choice(stems) + "".join(rng.choice(letters) for _ in range(rng.randint(0, 5)))
             for _ in range(100)]
    return list(dict.fromkeys(ids + relatives + examples + odd + rand))


def auth_classes(registry, runtime):
    """One name for every way of meeting the runtime's arms, and one that meets none."""
    entry = registry.runtimes.get(runtime)
    if entry is None:
        return ["OPENAI_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"]
    classes = {}
    for name in sorted(registry.auth_names):
        meets = tuple(provider.name for provider, _ in entry["arms"] if name in provider.auth)
        classes.setdefault(meets, name)
    return [name for meets, name in classes.items() if meets] + ["NO_SUCH_KEY"]


def subsets(names, rng):
    """Every subset when they are few; otherwise the small ones, the full one and random ones."""
    if 2 ** len(names) <= 2 * SUBSETS_MAX:
        return [list(s) for n in range(len(names) + 1) for s in itertools.combinations(names, n)]
    small = [list(s) for n in range(3) for s in itertools.combinations(names, n)]
    rand = [[n for n in names if rng.random() < 0.5] for _ in range(SUBSETS_MAX)]
    return (small + rand)[:SUBSETS_MAX] + [list(names)]


def decision_groups(registry, seed, n):
    """All groups when n is 0; otherwise a repeatable choice of groups with about n cases."""
    rng = random.Random(seed)
    runtimes = list(registry.runtimes) + list(UNKNOWN_RUNTIMES) + [" codex "]
    choices = {runtime: subsets(auth_classes(registry, runtime.strip()), rng) for runtime in runtimes}
    keys = list(itertools.product(runtimes, models_of(registry, seed), OVERRIDES))
    if n:
        rng.shuffle(keys)
    size = 0
    for runtime, model, override in keys:
        if n and size >= n:
            return
        size += len(choices[runtime])
        yield [{"runtime": runtime, "model": model, "override": override, "auth": auth}
               for auth in choices[runtime]]


def secret_names(registry):
    plain = ["DATABASE_URL", "MODEL", "MOLECULE_MODEL", "PATH", "HOME", "LLM_PROVIDER", "LD_PRELOAD",
             "MOLECULE_LLM_USAGE_TOKEN", "MOLECULE_LLM_BASE_URL", "ANTHROPIC_MODEL", "HERMES_DEFAULT_MODEL",
             "WORKSPACE_ID"]
    operator = ["GITHUB_TOKEN", "MOLECULE_OPERATOR_X"]
    return sorted(registry.vendor_keys), plain, operator


def plan_groups(registry, seed, n):
    """Random secret sets over scopes, models and overrides; likely ones more often."""
    rng = random.Random(seed)
    models = models_of(registry, seed)
    listed = {runtime: [m for _, ms in entry["arms"] for m in ms] for runtime, entry in registry.runtimes.items()}
    vendor, plain, operator = secret_names(registry)
    for _ in range(n):
        runtime = rng.choice(list(registry.runtimes) * 4 + list(UNKNOWN_RUNTIMES))
        near = listed.get(runtime) or models
        own = sorted(set().union(*(p.auth for p, _ in registry.runtimes.get(runtime, {"arms": ()})["arms"]), ()))
        pool = vendor + plain + own * 3 + (operator if rng.random() < 0.1 else [])
        secrets = {}
        for name in rng.sample(pool, rng.randint(0, 6)):
            spelled = name.lower() if rng.random() < 0.05 else name
            secrets[spelled] = rng.choice(("org", "workspace"))
        case = {"runtime": runtime, "model": rng.choice(near if rng.random() < 0.7 else models),
                "secrets": secrets}
        if rng.random() < 0.5:
            case["override"] = rng.choice(OVERRIDES)
        if rng.random() < 0.15:
            case["gateway"] = rng.random() < 0.3
        if rng.random() < 0.1:
            case["auth"] = rng.sample(own, min(len(own), rng.randint(0, 3)))
        yield [case]


def invented_registry(seed):
    """A small registry with what the real one hardly has: overlapping patterns, shared keys, ties."""
    rng = random.Random(seed)
    providers = []
    names = [f"p{i}" for i in range(rng.randint(2, 7))]
    for i, name in enumerate(names):
        entry = {"name": name, "display_name": name, "kind": "api-key",
                 "auth_env": [f"P{i}_KEY"] + rng.sample(["SHARED_A", "SHARED_B"], rng.randint(0, 2)),
                 "upstream_vendor": name, "model_prefix_match": rng.choice(["^m", "^m-", "(?i)^m-x", "x$", "-", "^q"]),
                 "endpoints": {"openai-chat": {"base_url": "https://x.test/v1", "header": "bearer"}},
                 "models": {"z": {"max_output": "5", "prices": [{"input": "1", "output": "1"}]}}}
        if rng.random() < 0.5:
            entry["auth_token_env"] = [rng.choice(["SHARED_A", "INJECTED"])]
        if rng.random() < 0.5:
            entry["base_url_env"] = ["SHARED_URL"]
        providers.append(entry)
    providers.insert(rng.randint(0, len(providers)), {
        "name": "platform", "display_name": "Platform", "kind": "platform",
        "auth_env": ["MOLECULE_LLM_USAGE_TOKEN"], "model_prefix_match": rng.choice(["^platform/", "^m-p"])})
    runtimes = {}
    for runtime in ("one", "two"):
        arms = []
        for entry in rng.sample(providers, rng.randint(1, len(providers))):
            arm = {"name": entry["name"]}
            if entry["name"] == "platform":
                arm["models"] = [f"{rng.choice(names)}/z"]
            elif rng.random() < 0.8:
                arm["models"] = rng.sample(["m-x", "m-1", "listed", "other"], rng.randint(1, 3))
            arms.append(arm)
        runtimes[runtime] = {"dialect": rng.choice(["openai-chat", "openai-responses"]), "providers": arms,
                             "precedence": ["SHARED_A", "P0_KEY", "SHARED_B"],
                             "required_env": ["DATABASE_URL"] if rng.random() < 0.3 else [],
                             "model_env": ["RUNTIME_MODEL"], "base_env": {"PATH": "/bin"}}
    return {"schema_version": "1", "providers": providers, "runtimes": runtimes,
            "other_vendor_keys": ["STRAY_KEY"], "other_redirects": ["STRAY_URL"]}
