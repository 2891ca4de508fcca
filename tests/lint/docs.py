#!/usr/bin/python3
"""Links between documents lead to files, docs/README.md names every document, README.md's program is the example's."""
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
faults = []
listed = subprocess.run(["git", "ls-files", "*.md"], cwd=root, text=True, capture_output=True).stdout.split()
if not listed:
    print("SKIP docs: not a git checkout")
    sys.exit(77)
documents = [root / name for name in listed if (root / name).is_file()]
for document in documents:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target and not (document.parent / target).exists():
            faults.append(f"{document.relative_to(root)}: no file {target}")

index = (root / "docs/README.md").read_text()
for document in (root / "docs").rglob("*.md"):
    name = str(document.relative_to(root / "docs"))
    if name != "README.md" and f"({name})" not in index:
        faults.append(f"docs/README.md: {name} is not named")

program = re.search(r"```c\n(.*?)```", (root / "README.md").read_text(), re.S).group(1)
example = [line.strip() for line in (root / "examples/minimal/main.c").read_text().splitlines()]
at = 0
for line in (line.strip() for line in program.splitlines()):
    if line not in example[at:]:
        faults.append(f"README.md: not in examples/minimal/main.c, or not there: {line}")
        break
    at = example.index(line, at) + 1

print("\n".join(faults))
sys.exit(1 if faults else 0)
