"""The decisions once more, written from the specification alone: the C code is held against this.

Nothing here is shared with src/: the registry file is read by another YAML reader, patterns are
matched by Python's re, and the rules are those of the specification's sections on derivation,
billing mode and the agent's environment, in their order.
"""
import re

WHITE = " \t\r\n\v\f"
MODES = ("platform_managed", "byok", "disabled")

RESERVED_EXACT = {
    "WORKSPACE_ID", "WORKSPACE_CONFIG_PATH", "PLATFORM_URL", "MOLECULE_URL", "MOLECULE_AGENT_ROLE",
    "PARENT_ID", "HOME", "LLM_PROVIDER", "GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "BASH_ENV", "ENV",
    "IFS",
}
RESERVED_PREFIX = ("MOLECULE_LLM_", "PURSER_", "LD_", "DYLD_")
OPERATOR_EXACT = {
    "GITEA_TOKEN", "GITEA_PAT", "GITHUB_TOKEN", "GITHUB_PAT", "GH_TOKEN", "GITLAB_TOKEN", "GL_TOKEN",
    "BITBUCKET_TOKEN", "CP_ADMIN_API_TOKEN", "CP_ADMIN_TOKEN", "INFISICAL_OPERATOR_TOKEN",
    "INFISICAL_BOOTSTRAP_TOKEN", "RAILWAY_TOKEN", "RAILWAY_PERSONAL_API_TOKEN", "HETZNER_TOKEN",
    "HETZNER_API_TOKEN",
}


def upper(text):
    """ASCII only: names of variables know no other letters."""
    return "".join(chr(ord(c) - 32) if "a" <= c <= "z" else c for c in text)


def name_of(text):
    return upper(text.strip(WHITE))


def is_reserved(name):
    return name in RESERVED_EXACT or name.startswith(RESERVED_PREFIX)


def is_operator_scope(name):
    return name in OPERATOR_EXACT or name.startswith("MOLECULE_OPERATOR_")


class Provider:
    def __init__(self, entry):
        self.name = entry["name"]
        self.auth = set(entry["auth_env"])
        self.inject = set(entry.get("auth_token_env", ()))
        self.urls = set(entry.get("base_url_env", ()))
        self.other = set(entry.get("other_env", ()))
        self.vendor = entry.get("upstream_vendor", "")
        self.dialects = set(entry.get("endpoints", ()))
        self.priced = set(entry.get("models", ()))
        text = entry.get("model_prefix_match")
        self.pattern = re.compile(text.encode()) if text else None

    @property
    def is_platform(self):
        return self.name == "platform"

    def matches(self, model):
        return self.pattern is not None and self.pattern.search(model.encode()) is not None


class Registry:
    """tree: the parsed YAML with every scalar as a text."""

    def __init__(self, tree):
        self.providers = {entry["name"]: Provider(entry) for entry in tree["providers"]}
        self.runtimes = {}
        for name, entry in tree["runtimes"].items():
            arms = [(self.providers[arm["name"]], list(arm.get("models", ()))) for arm in entry["providers"]]
            self.runtimes[name] = {**entry, "arms": arms}
        others = [p for p in self.providers.values() if not p.is_platform]
        self.redirects = set(tree.get("other_redirects", ())).union(*(p.urls for p in others))
        self.credentials = set(tree.get("other_vendor_keys", ())).union(
            *(p.auth | p.inject | p.other for p in others))
        self.vendor_keys = self.credentials | self.redirects
        self.auth_names = set().union(*(p.auth for p in self.providers.values()))
        self.routes = {}
        for runtime in self.runtimes.values():
            for provider, models in runtime["arms"]:
                if provider.is_platform:
                    for model in models:
                        self.routes[model] = self.route(model, tree.get("routes", {}))

    def route(self, model, named):
        """(upstream provider, its id); only priced ones are in a registry that loads."""
        if model in named:
            return self.providers[named[model]["provider"]], named[model]["model"]
        for separator in "/:":
            vendor, found, rest = model.partition(separator)
            for provider in self.providers.values():
                if found and rest and provider.vendor and provider.vendor == vendor:
                    return provider, rest
        raise ValueError(f"{model} has no route")


def derive(registry, runtime, model, auth):
    """(provider or None, error or None). auth: the names present, as they were given."""
    runtime, model = runtime.strip(WHITE), model.strip(WHITE)
    auth = {name_of(name) for name in auth} & registry.auth_names
    if not model:
        return None, "MODEL_REQUIRED"
    if runtime not in registry.runtimes:
        return None, "UNKNOWN_RUNTIME"
    arms = registry.runtimes[runtime]["arms"]
    exact = [provider for provider, models in arms if model in models]
    if exact:
        if len(exact) == 1:
            return exact[0], None
        kept = [provider for provider in exact if provider.auth & auth]
        return (kept[0] if len(kept) == 1 else exact[0]), None
    matching = [provider for provider, _ in arms if provider.matches(model)]
    if not matching:
        return None, "UNREGISTERED_MODEL"
    if len(matching) == 1:
        return matching[0], None
    kept = [provider for provider in matching if provider.auth & auth]
    return (kept[0], None) if len(kept) == 1 else (None, "AMBIGUOUS_PROVIDER")


def bill(override, provider, error):
    """(mode, source, warnings, provider whose credentials count)."""
    if override is not None:
        if override not in MODES:
            return "platform_managed", "constant_fallback", ["OVERRIDE_GARBLED"], provider
        if override == "byok" and provider is not None and provider.is_platform:
            return "byok", "workspace_override", ["PLATFORM_MODEL_ON_BYOK"], None
        return override, "workspace_override", [], provider
    if error is not None:
        return "platform_managed", "derived_default", [], provider
    return ("platform_managed" if provider.is_platform else "byok"), "derived_provider", [], provider


def strips(registry, mode, provider, name, scope):
    if is_reserved(name):
        return True
    if name not in registry.vendor_keys:
        return False
    if mode == "platform_managed":
        return True
    return mode == "byok" and scope == "org" and provider is not None and name not in provider.auth


def names_set(registry, mode, runtime, model):
    """Names that purser sets itself, beyond the base variables."""
    entry = registry.runtimes.get(runtime, {})
    names = ["MOLECULE_LLM_BILLING_MODE", "MOLECULE_LLM_BILLING_MODE_RESOLVED"]
    if mode == "platform_managed":
        names += ["MOLECULE_LLM_BASE_URL", "MOLECULE_LLM_ANTHROPIC_BASE_URL", "MOLECULE_LLM_USAGE_TOKEN",
                  "MOLECULE_LLM_USAGE_URL"]
        client = "ANTHROPIC" if entry.get("anthropic_native") == "true" else "OPENAI"
        names += [f"{client}_BASE_URL", f"{client}_API_KEY"]
    if model:
        names += ["MODEL", "MOLECULE_MODEL"] + list(entry.get("model_env", ()))
        if mode == "platform_managed":
            names += list(entry.get("platform_model_env", ()))
    return names


def environment(registry, mode, provider, runtime, model, secrets):
    env = {name: "strip" if strips(registry, mode, provider, name, scope) else "keep"
           for name, scope in secrets.items()}
    for name in names_set(registry, mode, runtime, model):
        env[name] = "set"
    for name in registry.runtimes.get(runtime, {}).get("base_env", ()):
        if env.get(name) != "keep":
            env.setdefault(name, "set")
    return env


def refuses_platform(registry, runtime, model, gateway):
    if not gateway:
        return "MISSING_PLATFORM_PROXY"
    entry = registry.runtimes.get(runtime)
    if entry is None:
        return None
    if not model:
        return "MODEL_REQUIRED"
    if model not in registry.routes:
        return "MODEL_NOT_ON_PLATFORM"
    upstream, _ = registry.routes[model]
    return None if entry["dialect"] in upstream.dialects else "MISSING_PLATFORM_PROXY"


def refuses_byok(registry, provider, secrets):
    accepted = provider.auth if provider is not None else registry.vendor_keys
    usable = {name for name in secrets if name in accepted and name not in registry.redirects}
    return None if usable else "MISSING_BYOK_CREDENTIAL"


def refusal(registry, mode, provider, runtime, model, secrets, gateway, env):
    if any(scope == "org" and is_operator_scope(name) for name, scope in secrets.items()):
        return "OPERATOR_KEY_IN_ORG_SECRETS"
    first = None
    if mode == "platform_managed":
        first = refuses_platform(registry, runtime, model, gateway)
    elif mode == "byok":
        first = refuses_byok(registry, provider, secrets)
    if first is None:
        for name in registry.runtimes.get(runtime, {}).get("required_env", ()):
            if env.get(name) not in ("keep", "set"):
                first = first or "MISSING_REQUIRED_ENV"
    return first


def is_told_by_file(entry, provider):
    """A file in HOME that names the variable of the credential leaves the program nothing to choose."""
    return any(provider.name in file["for"] and any("${credential_env}" in line for line in file["content"])
               for file in entry.get("files", ()))


def is_shadowed(registry, provider, runtime, env, secrets):
    if provider is None or is_told_by_file(registry.runtimes.get(runtime, {}), provider):
        return False
    for name in registry.runtimes.get(runtime, {}).get("precedence", ()):
        if name in secrets and env.get(name) == "keep":
            return name not in provider.auth
    return False


def answer(registry, case):
    """What `purser explain --batch` must say to one line."""
    secrets = {}
    for name, scope in (case.get("secrets") or {}).items():
        if secrets.get(name_of(name)) != "workspace":
            secrets[name_of(name)] = scope
    auth = case.get("auth")
    if auth is None:
        auth = [name for name in secrets if name in registry.auth_names]
    runtime, model = case["runtime"].strip(WHITE), case["model"].strip(WHITE)
    derived, error = derive(registry, runtime, model, auth)
    mode, source, warnings, provider = bill(case.get("override"), derived, error)
    env = environment(registry, mode, provider, runtime, model, secrets)
    if mode == "byok" and is_shadowed(registry, provider, runtime, env, secrets):
        warnings = warnings + ["SHADOWED_CREDENTIAL"]
    return {
        "provider": provider.name if provider else None,
        "resolved_mode": mode,
        "source": source,
        "error": error,
        "refusal": refusal(registry, mode, provider, runtime, model, secrets,
                           case.get("gateway") is not False, env),
        "warnings": warnings,
        "env": env,
    }
