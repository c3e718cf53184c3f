"""Registry files of the tests' own, made from the one that is built in."""

import yaml

from harness import SOURCE, make_folder


def registry_file(*changes):
    """Path of a registry in which every change (a function of the parsed file) was made."""
    registry = yaml.safe_load((SOURCE / "registry" / "providers.yaml").read_text())
    for change in changes:
        change(registry)
    path = make_folder() / "registry.yaml"
    path.write_text(yaml.safe_dump(registry, sort_keys=False, width=1000))
    return path


def provider_in(registry, name):
    return next(p for p in registry["providers"] if p["name"] == name)


def lives_at(provider, url):
    """The provider's endpoints are at url, each with the path it had."""
    def change(registry):
        for endpoint in provider_in(registry, provider)["endpoints"].values():
            endpoint["base_url"] = "/".join([url, *endpoint["base_url"].split("/", 3)[3:]])
    return change


def with_fields(provider, **fields):
    return lambda registry: provider_in(registry, provider).update(fields)


def routed(model, *places):
    """The platform id goes to (provider, model) pairs, one after the other."""
    def change(registry):
        registry.setdefault("routes", {})[model] = [{"provider": p, "model": m} for p, m in places]
    return change


def offers_embeddings(registry):
    """The built-in registry has no price for a model of embeddings; this one has."""
    openai = provider_in(registry, "openai-api")
    openai["endpoints"]["openai-embeddings"] = dict(openai["endpoints"]["openai-chat"])
    openai["models"]["text-embedding-3-small"] = {"max_output": 1, "prices": [{"input": 0.02, "output": 0}]}
    arms = registry["runtimes"]["codex"]["providers"]
    next(a for a in arms if a["name"] == "platform")["models"].append("openai/text-embedding-3-small")
