#!/usr/bin/python3
"""usage: report.py LABEL TESTLOG.json ...: adds up what the test programs printed.

A program of the test kit prints "tk: NAME passed=N failed=N skipped=N seconds=S"; any other test
counts as one. Prints a line for each suite with its time, the reason of each skip, and as last line
"total: passed failed skipped".
"""
import json
import re
import sys

totals = [0, 0, 0]
counted = re.compile(r"^tk: (\S+) passed=(\d+) failed=(\d+) skipped=(\d+)", re.M)
for argument in sys.argv[1:]:
    label, _, path = argument.partition("=")
    try:
        lines = open(path, encoding="utf-8").read().splitlines()
    except OSError as error:
        print(f"{label}: {error}")
        totals[1] += 1
        continue
    for line in lines:
        test = json.loads(line)
        text = test.get("stdout", "") or ""
        found = counted.findall(text)
        result = test["result"]
        one = [0, 0, 0]
        for _, passed, failed, skipped in found:
            one = [one[0] + int(passed), one[1] + int(failed), one[2] + int(skipped)]
        if not found:
            one = [int(result == "OK"), 0, int(result == "SKIP")]
        if result not in ("OK", "SKIP") and one[1] == 0:
            one[1] = 1
        totals = [a + b for a, b in zip(totals, one)]
        name = test["name"].split(" / ")[-1]
        print(f"{label:8} {name:24} {test['duration']:7.1f} s  {one[0]} passed, {one[1]} failed, {one[2]} skipped")
        for reason in re.findall(r"^SKIP .*", text, re.M):
            print(f"         {reason}")
        if one[1]:
            print("\n".join("    | " + t for t in (text + "\n" + (test.get("stderr") or "")).splitlines()[-60:]))
print("total: %d %d %d" % tuple(totals))
