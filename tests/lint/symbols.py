#!/usr/bin/python3
"""Exported symbols = declared symbols.

libtpcore.so exports just what include/tpcore declares with TPC_API, and all of it; it needs only
libc, libcbor and mbedcrypto. libtpcore.a has no variable that can change. A module exports the one
function that carries its name. No .pc file names another adapter.
"""
import pathlib
import re
import subprocess
import sys

root, build, library, archive = (pathlib.Path(a) for a in sys.argv[1:5])
modules = [pathlib.Path(a) for a in sys.argv[5:]]
faults = []


def run(*command):
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout


def exported(path):
    names = set()
    for line in run("nm", "-D", "--defined-only", str(path)).splitlines():
        names.add(line.split()[-1].split("@")[0])
    return names


declared = set()
for path in (root / "include/tpcore").rglob("*.h*"):
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    for m in re.finditer(r"TPC_API\s+[^;]*?\b(tpc_\w+)\s*\(", text, flags=re.S):
        declared.add(m.group(1))
names = exported(library)
faults += [f"{library.name} exports {n}, which no header declares" for n in sorted(names - declared)]
faults += [f"{n} is declared but not exported" for n in sorted(declared - names)]

needed = set(re.findall(r"NEEDED.*\[(.*?)\]", run("readelf", "-d", str(library))))
allowed = re.compile(r"^(libc|libm|libpthread|libdl|ld-linux.*|libcbor|libmbedcrypto)\.so")
faults += [f"{library.name} needs {n}" for n in sorted(needed) if not allowed.match(n)]

for line in run("nm", "-f", "sysv", str(archive)).splitlines():
    parts = [p.strip() for p in line.split("|")]
    if len(parts) >= 7 and parts[6] in (".data", ".bss", "*COM*") and not parts[0].startswith("."):
        # Sanitizers and coverage add their own.
        if not re.match(r"(__|\.L|_)", parts[0]):
            faults.append(f"{archive.name}: {parts[0]} is a variable ({parts[6]})")

for path in modules:
    name = path.stem.removeprefix("tpc_")
    got = exported(path)
    if got != {f"tpc_module_{name}"}:
        faults.append(f"{path.name} exports {sorted(got)}, not just tpc_module_{name}")

pcs = {p.stem: p.read_text() for p in build.rglob("meson-private/tpcore*.pc")}
adapters = {n.removeprefix("tpcore-") for n in pcs} - {"tpcore", "ext"}
for name, text in pcs.items():
    own = name.removeprefix("tpcore-")
    for other in adapters - {own}:
        if re.search(rf"tpcore-{re.escape(other)}(?![\w-])", text):
            faults.append(f"{name}.pc names tpcore-{other}")
    for line in text.splitlines():
        if own in adapters and re.match(r"(Libs|Requires):.*(sqlite3|lua|paho)\b", line) and "tpcore-" not in line:
            faults.append(f"{name}.pc: third-party library in {line}")
print("\n".join(faults))
sys.exit(1 if faults else 0)
