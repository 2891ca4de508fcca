#!/usr/bin/python3
"""Every public header compiles alone, as C11 and C++17, pedantic; it includes only libc and tpcore/."""
import pathlib
import re
import subprocess
import sys

root, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
flags = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Werror", "-fsyntax-only",
         f"-I{root}/include", f"-I{build}/include"]
libc = {"stdbool.h", "stddef.h", "stdint.h"}
faults = 0
for path in sorted((root / "include/tpcore").rglob("*.h")):
    name = path.relative_to(root / "include")
    for target in re.findall(r"#include <([^>]+)>", path.read_text()):
        if not target.startswith("tpcore/") and target not in libc:
            print(f"{name}: includes <{target}>")
            faults += 1
    source = f"#include <{name}>\n#include <{name}>\nint tpc_header_check;\n"
    for compiler in (["cc", "-std=c11", "-xc"], ["c++", "-std=c++17", "-xc++"]):
        done = subprocess.run(compiler + flags + ["-"], input=source, text=True, capture_output=True)
        if done.returncode:
            print(f"{name}: {compiler[1]}\n{done.stderr}")
            faults += 1
sys.exit(1 if faults else 0)
