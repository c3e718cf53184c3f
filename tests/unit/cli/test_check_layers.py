"""The layer checker must be able to fail: each forbidden include below is found, each allowed is not."""
import pathlib
import subprocess
import sys
import tempfile

TOOLS = pathlib.Path(__file__).resolve().parents[3] / "tools"

# file, its text, what the checker must say ("" = nothing)
CASES = [
    ("core/a.c", '#include "core/b.h"\n#include <string.h>\n', ""),
    ("core/a.c", '#include "base/error.h"\n', "core may not include base/error.h"),
    ("core/a.c", "#include <stdio.h>\n", "core may not include <stdio.h>"),
    ("core/a.c", "#include <time.h>\n", "core may not include <time.h>"),
    ("core/a.c", '#include "b.h"\n', "must be written from src/"),
    ("base/a.h", '  #  include "store/store.h"\n', "base may not include store/store.h"),
    ("store/workspace_row.c", "#include <sqlite3.h>\n", "<sqlite3.h> may be included by"),
    ("store/db_sqlite.c", "#include <sqlite3.h>\n", ""),
    ("api/workspace.c", "#include <microhttpd.h>\n", "<microhttpd.h> may be included by"),
    ("launch/a.c", '#include "registry/load.h"\n', "launch may not include registry/load.h"),
    ("daemon/a.c", '#include "cli/client.h"\n', "daemon may not include cli/client.h"),
    ("cli/a.c", '#include "daemon/up.h"\n#include <curl/curl.h>\n', ""),
    ("gateway/a.c", '#include "base/buf.h"\n', "gateway may not include base/buf.h"),
    ("base/a.c", "#include <ngx_core.h>\n", "<ngx_core.h> may be included by"),
    ("misc/a.c", '#include "core/str.h"\n', "no layer"),
    ("base/error.def", '#include "api/api.h"\n', "base may not include api/api.h"),
]


def check(file, text):
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        (root / "tools").mkdir()
        (root / "tools/layers.txt").write_text((TOOLS / "layers.txt").read_text())
        path = root / "src" / file
        path.parent.mkdir(parents=True)
        path.write_text(text)
        ran = subprocess.run([TOOLS / "check-layers", "--root", root], capture_output=True, text=True)
        return ran.returncode, ran.stdout


def check_archive():
    """An archive that calls malloc is refused, one that calls memcpy is not."""
    with tempfile.TemporaryDirectory() as root:
        root = pathlib.Path(root)
        results = []
        for body in ("void *malloc(unsigned long); void *f(void); void *f(void) {return malloc(3);}",
                     "int g(void); int f(void); int f(void) {return 1;} int g(void) {return f();}"):
            (root / "a.c").write_text(body)
            subprocess.run(["cc", "-c", "a.c", "-o", "a.o"], cwd=root, check=True)
            subprocess.run(["ar", "rcs", "liba.a", "a.o"], cwd=root, check=True)
            ran = subprocess.run([TOOLS / "check-layers", "--archive", root / "liba.a"],
                                 capture_output=True, text=True)
            results.append("core may not import malloc" in ran.stdout)
            (root / "liba.a").unlink()
        return results == [True, False]


def main():
    print(f"1..{len(CASES) + 1}")
    bad = 0
    for number, (file, text, wanted) in enumerate(CASES, 1):
        code, said = check(file, text)
        good = (code == 1 and wanted in said) if wanted else code == 0 and said == ""
        bad += not good
        print(f"{'ok' if good else 'not ok'} {number} - {file}: {wanted or 'allowed'}")
    good = check_archive()
    print(f"{'ok' if good else 'not ok'} {len(CASES) + 1} - archive that allocates")
    return 1 if bad or not good else 0


if __name__ == "__main__":
    sys.exit(main())
