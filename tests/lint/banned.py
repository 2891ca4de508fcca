#!/usr/bin/python3
"""Banned functions, line comments, unfinished work, over-long files and undocumented functions."""
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
faults = []
banned = re.compile(r"(?<![\w.>])(sprintf|vsprintf|strcpy|strcat|gets|strtok|atoi|atol|atof|alloca|rand|srand|"
                    r"localtime|gmtime|asctime|ctime|setlocale)\s*\(")
silent = re.compile(r"(?<![\w.>])(printf|puts|putchar|perror|abort|exit|_exit|system|popen|getenv|setenv|umask|"
                    r"chdir|malloc|calloc|realloc|strdup|free|usleep|sleep|signal)\s*\(")
# The system allocator's own file is where malloc stands; paths of it are listed with the reason.
exceptions = {
    "lib/base/alloc.c": {"malloc", "realloc", "free"},  # tpc_allocator_default()
}
unfinished = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def strip(text):
    """Comments and literals to blanks, line structure kept."""
    out = []
    for m in re.finditer(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|.|\n', text, flags=re.S):
        t = m.group(0)
        if t.startswith("//"):
            out.append("\1")
        elif len(t) > 1:
            out.append("\n" * t.count("\n") if t.startswith("/*") else '""')
        else:
            out.append(t)
    return "".join(out)


tracked = subprocess.run(["git", "ls-files", "--", "include", "lib", "adapters", "examples", "tests", "fuzz"],
                         cwd=root, text=True, capture_output=True).stdout.split()
if not tracked:
    tracked = [str(p.relative_to(root)) for d in ("include", "lib", "adapters", "examples", "tests", "fuzz")
               for p in (root / d).rglob("*")]
sources = [t for t in tracked if t.endswith((".c", ".h")) and (root / t).is_file()]
for name in sources:
    text = (root / name).read_text()
    lines = text.count("\n")
    if lines > 800:
        faults.append(f"{name}: {lines} lines, over 800")
    code = strip(text)
    library = name.startswith(("lib/", "adapters/"))
    for number, line in enumerate(code.split("\n"), 1):
        place = f"{name}:{number}"
        if "\1" in line:
            faults.append(f"{place}: // comment")
        for m in banned.finditer(line):
            faults.append(f"{place}: {m.group(1)}() is banned")
        if library:
            for m in silent.finditer(line):
                if m.group(1) not in exceptions.get(name, set()):
                    faults.append(f"{place}: {m.group(1)}() has no place in the library")
    for number, line in enumerate(text.split("\n"), 1):
        if library and unfinished.search(line):
            faults.append(f"{name}:{number}: unfinished work")

# Public functions: one comment each, with all of its fields.
for path in sorted((root / "include/tpcore").rglob("*.h*")):
    text = path.read_text()
    for m in re.finditer(r"^TPC_API\s[^;]*?\b(tpc_\w+)\s*\(", text, flags=re.M | re.S):
        before = text[:m.start()].rstrip()
        comment = before[before.rfind("/*"):] if before.endswith("*/") else ""
        missing = [w for w in ("Returns", "Ownership:", "Thread:", "Since:") if w not in comment]
        if missing:
            faults.append(f"{path.relative_to(root)}: {m.group(1)}: comment lacks {', '.join(missing)}")
print("\n".join(faults))
sys.exit(1 if faults else 0)
