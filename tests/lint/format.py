#!/usr/bin/python3
"""Every C file is as clang-format 14 would write it."""
import pathlib
import shutil
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
tool = shutil.which("clang-format-14") or shutil.which("clang-format")
if tool is None:
    print("SKIP format: clang-format is not installed")
    sys.exit(77)
files = subprocess.run(["git", "ls-files", "*.c", "*.h"], cwd=root, text=True, capture_output=True).stdout.split()
files = [f for f in files if (root / f).is_file()]
if not files:
    print("SKIP format: not a git checkout")
    sys.exit(77)
done = subprocess.run([tool, "--dry-run", "-Werror", "--ferror-limit=3"] + files, cwd=root, text=True,
                      capture_output=True)
print(done.stderr[-4000:])
sys.exit(done.returncode)
