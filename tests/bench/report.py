#!/usr/bin/python3
"""usage: report.py RESULTS OUT: writes docs/performance.md from the JSON lines of a run and performance.md.in."""
import collections
import datetime
import json
import os
import pathlib
import platform
import re
import sys

results, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
here = pathlib.Path(__file__).parent

# Line, what it measures, what is asked of which of its numbers.
TABLE = [
    ("json_points", "JSON message to checked points, predicted order", "ratio", ">=", 20),
    ("json_points_shuffled", "the same, keys shuffled", "ratio", ">=", 10),
    ("json_points_mixed", "the same, 30 % unknown keys, escapes, UTF-8", "ratio", ">=", 8),
    ("cbor_points", "the same content in CBOR", "ratio", "<=", 1.5),
    ("uplink_memory", "bytes to history, 1,000 devices", "value", ">=", 800000),
    ("uplink_memory_cost", "the same, cost of a message", "ratio", "<=", 0.6),
    ("uplink_memory_allocations", "the same, allocations", None, None, None),
    ("uplink_memory_skipped", "the same, counters of skipped work", "value", "<=", 0),
    ("uplink_100k", "the same, 100,000 devices", "ratio", "<=", 1.7),
    ("uplink_100k_rss", "the same, resident memory", None, None, None),
    ("uplink_100k_bytes", "the same, history.db", None, None, None),
    ("uplink_100k_skipped", "the same, counters of skipped work", "value", "<=", 0),
    ("uplink_workers", "2 workers on 2 cores, wall clock", "ratio", ">=", 1.6),
    ("log_append_written", "log, `written`, batch 64", "ratio", "<=", 1.7),
    ("log_append_written_software", "the same, CRC by tables", None, None, None),
    ("log_append_synced", "log, `synced`, groups of 1,000, wall clock", "ratio", "<=", 1.3),
    ("log_append_synced_software", "the same, CRC by tables", None, None, None),
    ("history_write_1000", "points with log, 1,000 devices", "ratio", ">=", 20),
    ("history_write_100000", "the same, 100,000 devices", "ratio", ">=", 20),
    ("history_size", "history.db, decimals", "value", "<=", 1.3),
    ("history_size_noisy", "the same, noisy doubles", "value", "<=", 6.5),
    ("history_read", "one property of a device with 8, half the range", "ratio", "<=", 0.35),
    ("history_read_one_property", "the same, of a device with that property alone", "ratio", "<=", 0.35),
    ("history_read_avg", "average over 24 h of 1 s data, of a device with 8", "ratio", "<=", 0.05),
    ("history_read_avg_one_property", "the same, of a device with that property alone", "ratio", "<=", 0.05),
    ("flash_bytes", "written to the disk, as fast as it goes", "value", "<=", 6),
    ("flash_bytes_slow", "the same at 1,000 points/s", "value", "<=", 6),
    ("registry", "memory of a device with 8 latest values, 1 M devices", "value", "<=", 400),
    ("registry_lookup", "finding one by its key", "value", "<=", 150),
    ("handoff", "receive() to worker", "ratio", "<=", 0.25),
    ("forward_path", "from the log to a target's sink, against a consumer", "ratio", "<=", 1.5),
    ("rule_match", "a simple rule that matches, inside the path", "value", "<=", 80),
    ("rule_index", "10,000 rules of which a message names none", "ratio", "<=", 1.05),
    ("rule_window", "tumbling average by device, 10,000 devices", "value", "<=", 150),
    ("rule_window_memory", "the same, memory of a device and window", "value", "<=", 200),
    ("rule_memory", "a rule of two conditions and one action", "value", "<=", 2048),
    ("rule_compile", "the same, compiled", "value", "<=", 50),
    ("rule_lua", "the same condition as `lua(..)` in the sandbox, against the expression", None, None, None),
    ("expr_eval", "`temperature > 30 && humidity < 40`, against Lua 5.4 compiled before, values in globals", "ratio", ">=", 10),
    ("expr_eval_arguments", "the same, values as arguments of a Lua function", None, None, None),
    ("expr_eval_c", "the same, against C", "ratio", "<=", 8),
    ("start", "open, 100,000 devices, 1 M messages to replay, wall clock", "value", "<=", 3),
    ("start_cpu", "the same, CPU time", None, None, None),
    ("auth_check_hmac", "a login by HMAC", "ratio", "<=", 1.5),
    ("auth_check_basic", "a login by name and password", "ratio", "<=", 1.5),
    ("mosquitto_plugin", "mosquitto with our plugin, 1,000 clients, QoS 1", "ratio", "<=", 1.3),
    ("nested", "ThingsPanel's nested message, 20 sub-devices x 5 values", "ratio", "<=", 2),
    ("import_csv", "100,000 devices from CSV into SQLite, wall clock", "value", "<=", 10),
    ("gateway_range", "tp-gateway: 100 slaves x 100 tags at 1 s to ThingsBoard's topics, QoS 1, file log", "ratio", ">=", 20),
    ("gateway_range_memory", "the same, resident memory", "value", "<=", 12),
    ("gateway_tags", "the same tags scattered, configured one by one", "ratio", ">=", 40),
    ("gateway_max", "most data points, nothing lost", "value", ">=", 400000),
    ("gateway_latency", "reading to platform at 10,000 points/s, p95", "value", "<=", 50),
    ("gateway_drain", "after an hour's outage at 1,000 points/s", "value", ">=", 100),
    ("gateway_start", "start with 1,000 slaves x 100 tags", "value", "<=", 1000),
    ("modbus_coalesce", "100 mixed registers, joined reads against single ones", "ratio", ">=", 50),
    ("report_held", "values that a report strategy holds, against values without one", None, None, None),
    ("report_changed", "values that go through one", None, None, None),
    ("tb_pack", "messages as ThingsBoard's telemetry", None, None, None),
    ("mqtt_connector", "a mapped message of 10 values, against parsing its JSON", None, None, None),
    ("http_json", "HTTP requests answered with 66 bytes of JSON, 64 connections", None, None, None),
    ("http_json_idle", "the same beside 10,000 idle connections", "ratio", ">=", 0.8),
    ("http_idle_memory", "memory of an idle HTTP connection", None, None, None),
    ("service_path", "a service's frames from 1,000 TCP connections, decoded and in the log, against an echo server", None, None, None),
    ("service_path_rate", "the same, frames of a core's second", "value", ">=", 60000),
    ("tcp_idle", "memory of an idle TCP connection of a device", "value", "<=", 5000),
    ("tcp_idle_50k", "50,000 of them", "value", "<=", 250),
    ("tcp_login", "a device that connects and logs in", None, None, None),
    ("thingspanel_wrap", "messages of 4 values as ThingsPanel's services publish them", None, None, None),
    ("presence_timeout", "100,000 devices that time out in one second", None, None, None),
]


def number(x):
    if x == 0:
        return "0"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def read_lines():
    lines = {}
    for file in sorted(results.glob("*.json")):
        for text in file.read_text().splitlines():
            if text.startswith("{"):
                line = json.loads(text)
                lines[line["bench"]] = line
    return lines


def rows(lines):
    known = set()
    text = ["| bench | what | value | unit | against | ratio | asked for | |", "|---|---|---|---|---|---|---|---|"]
    for name, what, which, op, limit in TABLE:
        known.add(name)
        line = lines.get(name)
        asked, met = "-", ""
        if which is not None:
            asked = f"{which} {op} {limit:,}"
            if line is not None:
                x = line[which]
                met = "reached" if (x >= limit if op == ">=" else x <= limit) else "**missed**"
        if line is None:
            text.append(f"| `{name}` | {what} | not run | | | | {asked} | |")
            continue
        ratio = number(line["ratio"]) if line["ratio"] != 0 else "-"
        text.append(f"| `{name}` | {what} | {number(line['value'])} | {line['unit']} | {line['vs']} | {ratio} | {asked} | {met} |")
    for name in sorted(set(lines) - known):
        line = lines[name]
        ratio = number(line["ratio"]) if line["ratio"] != 0 else "-"
        text.append(f"| `{name}` | | {number(line['value'])} | {line['unit']} | {line['vs']} | {ratio} | - | |")
    return "\n".join(text)


def profile(why):
    """Functions of the threads that a platform has; the main thread made and read back what is compared."""
    file = results / "perf.txt"
    if not file.exists():
        return "This run had no `perf`."
    functions = collections.Counter()
    for line in file.read_text().splitlines():
        m = re.match(r"\s*(bench_\S+)\s+(\d+)/(\d+)\s+[0-9a-f]+ (.*) \((.*)\)$", line)
        if m is None or m[2] == m[3]:
            continue
        library = m[5].rsplit("/", 1)[-1]
        name = m[4].split("+")[0].split(".")[0]
        if "kernel" in library:
            name = "(kernel)"
        elif "sqlite" in library:
            name = "(SQLite)"
        if not name.startswith("data_") and name not in ("next_message", "send_more", "feed_settled"):
            functions[name] += 1
    total = sum(functions.values())
    text = ["| function | of the path's time | why |", "|---|---|---|"]
    mine = [(name, n) for name, n in functions.most_common() if name in why or name.startswith("tpi_")]
    for name, n in mine[:5]:
        text.append(f"| `{name}` | {100 * n / total:.0f} % | {why.get(name, '')} |")
    rest = {name: 100 * functions[name] / total for name in ("(kernel)", "(SQLite)")}
    text.append(f"\nThe kernel (writing the files, switching threads) takes {rest['(kernel)']:.0f} %, SQLite {rest['(SQLite)']:.0f} %.")
    return "\n".join(text)


def machine():
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    where = (results / "where").read_text().split()
    return (f"{model}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, {datetime.date.today()}; "
            f"files on {where[0]}, those of `log_append_synced` and `flash_bytes` on {where[1]}")


def value(lines, name, which="value"):
    return number(lines[name][which]) if name in lines else "not measured"


source = (here / "performance.md.in").read_text()
source, _, reasons = source.partition("\n@WHY@\n")
why = dict(line.split(": ", 1) for line in reasons.splitlines() if ": " in line)
lines = read_lines()
page = source.replace("@TABLE@", rows(lines)).replace("@PROFILE@", profile(why)).replace("@MACHINE@", machine())
page = re.sub(r"@(\w+)\.(value|ratio)@", lambda m: value(lines, m[1], m[2]), page)
out.write_text(page.rstrip("\n") + "\n")
