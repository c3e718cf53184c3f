#!/usr/bin/env python3
"""Providers, models and names of credentials are written down in registry/providers.yaml alone.

  one_source.py --purser BUILD/purser --registry registry/providers.yaml --source src

Looks for texts in the C sources that are, whole, a name of the registry. TAP.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

# What may stand in the code, and why.
ALLOWED = {
    ("core/envplan.c", "ANTHROPIC_API_KEY"): "the name the usage token is given under",
    ("core/envplan.c", "ANTHROPIC_BASE_URL"): "the name the gateway is given under",
    ("core/envplan.c", "OPENAI_API_KEY"): "the name the usage token is given under",
    ("core/envplan.c", "OPENAI_BASE_URL"): "the name the gateway is given under",
    ("core/envplan.c", "MOLECULE_LLM_USAGE_TOKEN"): "set in every platform_managed environment",
    ("api/workspace_create.c", "claude-code"): "the default runtime of a create request",
    ("cli/demo.c", "claude-code"): "what the demo starts",
    ("cli/demo.c", "anthropic/claude-opus-4-7"): "what the demo starts",
    ("sim/call.c", "ANTHROPIC_API_KEY"): "a client: reads its environment",
    ("sim/call.c", "ANTHROPIC_BASE_URL"): "a client: reads its environment",
    ("sim/call.c", "OPENAI_API_KEY"): "a client: reads its environment",
    ("sim/call.c", "OPENAI_BASE_URL"): "a client: reads its environment",
}
# Names that are ordinary words of other things, too.
WORDS = {"platform", "custom", "google"}


def registry_names(purser, registry):
    shown = json.loads(subprocess.run([purser, "registry", "show", "--json", "--registry", registry],
                                      check=True, capture_output=True, text=True).stdout)
    names = {runtime["name"] for runtime in shown["runtimes"]} | set(shown["vendor_keys"])
    names |= {model for runtime in shown["runtimes"] for arm in runtime["providers"] for model in arm["models"]}
    for provider in shown["providers"]:
        names |= {provider["name"]} | set(provider["auth_env"])
        names |= {model["id"] for model in provider["models"]}
    return names - WORDS


def texts_of(file):
    code = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.S)
    return set(re.findall(r'"((?:[^"\\]|\\.)*)"', code))


def main():
    parser = argparse.ArgumentParser()
    for name in ("purser", "registry", "source"):
        parser.add_argument("--" + name, required=True)
    args = parser.parse_args()
    source = pathlib.Path(args.source)
    names = registry_names(args.purser, args.registry)
    found = {(str(file.relative_to(source)), text) for file in source.rglob("*.[ch]") for text in texts_of(file) & names}
    wrong = sorted(found - set(ALLOWED))
    print("1..1")
    for file, text in wrong:
        print(f'# src/{file}: "{text}" belongs into the registry and nowhere else')
    print("not ok 1 - one source" if wrong else "ok 1 - one source")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
