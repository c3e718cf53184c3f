"""Writes the numbered migrations as one C table: embed.py OUT.c 0001_x.up.sql ..."""
import pathlib
import re
import sys


def c_string(text):
    lines = (line.replace("\\", "\\\\").replace('"', '\\"') for line in text.splitlines())
    return "\n".join(f'        "{line}\\n"' for line in lines)


out, files = sys.argv[1], sorted(pathlib.Path(p) for p in sys.argv[2:])
steps = {}
for path in files:
    number, name, direction = re.fullmatch(r"(\d{4})_(\w+)\.(up|down)\.sql", path.name).groups()
    steps.setdefault((int(number), name), {})[direction] = path.read_text()

numbers = [number for number, _ in steps]
assert numbers == list(range(1, len(numbers) + 1)), f"migrations have a gap or a double: {numbers}"

rows = [
    f'    {{"{name}",\n{c_string(sql["up"])},\n{c_string(sql["down"])}}},\n'
    for (_, name), sql in steps.items()
]
pathlib.Path(out).write_text(
    '#include "store/migration.h"\n\n'
    f"const struct migration migrations[] = {{\n{''.join(rows)}}};\n"
    f"const int migrations_n = {len(rows)};\n"
)
