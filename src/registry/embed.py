"""Turns a file into a C array: embed.py INPUT OUTPUT NAME."""
import sys

source, target, name = sys.argv[1:4]
with open(source, "rb") as f:
    data = f.read()
lines = [",".join(str(b) for b in data[i:i + 24]) for i in range(0, len(data), 24)]
with open(target, "w") as f:
    f.write("#include <stddef.h>\n")
    f.write(f"extern const char {name}[];\nextern const size_t {name}_bytes;\n")
    f.write(f"const char {name}[] = {{\n" + ",\n".join(lines) + ",0};\n")
    f.write(f"const size_t {name}_bytes = {len(data)};\n")
