#!/usr/bin/python3
"""A file of lib/ includes only its own folder, folders of a lower rank, and the public headers."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
ranks = {}
for line in (root / "lib/LAYERS").read_text().splitlines():
    if line.strip() and not line.startswith("#"):
        rank, folder = line.split()
        ranks[folder] = int(rank)

faults = []
include = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
for folder in sorted(p.name for p in (root / "lib").iterdir() if p.is_dir()):
    if folder not in ranks:
        faults.append(f"lib/{folder}: has no rank in lib/LAYERS")
        continue
    for path in sorted((root / "lib" / folder).rglob("*.[ch]")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            m = include.match(line)
            if not m:
                continue
            place = f"{path.relative_to(root)}:{number}"
            target = m.group(2)
            if m.group(1) == '"':
                other = target.split("/")[0] if "/" in target else folder
                if other not in ranks:
                    faults.append(f"{place}: \"{target}\" is no folder of lib/")
                elif other != folder and ranks[other] >= ranks[folder]:
                    faults.append(f"{place}: {folder} (rank {ranks[folder]}) includes {target} "
                                  f"(rank {ranks[other]})")
            elif target.startswith("tpcore/modules.h"):
                faults.append(f"{place}: lib/ knows no module of adapters/")
# Adapters see the public headers and what libtpcore-ext.a holds.
allowed = {"base", "data", "calendar", "expr", "store/chunk.h", "bus/format.h", "codec/codec.h", "codec/emit.h"}
for path in sorted((root / "adapters").rglob("*.[ch]")):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        m = include.match(line)
        if m and m.group(1) == '"' and "/" in m.group(2):
            folder = m.group(2).split("/")[0]
            if folder in ranks and folder not in allowed and m.group(2) not in allowed:
                faults.append(f"{path.relative_to(root)}:{number}: an adapter includes {m.group(2)}")
print("\n".join(faults))
sys.exit(1 if faults else 0)
