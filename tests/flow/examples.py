#!/usr/bin/python3
"""usage: examples.py BUILD_DIR: what the example programs say to good and bad configurations."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

build = sys.argv[1]
root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
quickstart = root + "/examples/quickstart.d/platform.yaml"
failures = []
passed = 0


def run(*command, **environment):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                          env={**os.environ, "MQTT_PORT": "1", "HOOK_PORT": "1", **environment})


def expect(what, result, code, *parts):
    global passed
    missing = [p for p in parts if p not in result.stdout]
    if result.returncode != code or missing:
        failures.append(f"{what}: code {result.returncode}, without {missing}:\n{result.stdout}")
    else:
        passed += 1


def platform(text, *parts, code=1, **environment):
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/c.yaml"
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        result = run(build + "/examples/platform/tp-platform", "--check", path, DATA=folder, **environment)
        expect(repr(text), result, code, *parts)


def tool(*arguments, code=0, parts=()):
    with tempfile.TemporaryDirectory() as folder:
        result = run(build + "/examples/tool/tp-tool", *arguments, DATA=folder)
        expect(" ".join(arguments), result, code, *parts)


DEAD = """log: {type: file, dir: "${DATA}/log"}
store: {type: sqlite, dir: "${DATA}/store"}
adapters:
  sim: {type: sim, count: 1, prefix: t, interval: 20ms, payload: 'warm {value}'}
  http: {type: http_client}
  hooks: {type: webhook}
entities:
  - {kind: product, key: p, codec: CODEC, model: {properties: [{id: t, type: double}]}}
  - {kind: device, key: t1, product: p}
  - {kind: handler, key: nobody, sink: hooks, options: {url: "http://127.0.0.1:1/"}}
"""
SCRIPT = """{type: lua, script: "function decode(b) return { t = tonumber(string.match(b, '[-%d.]+')) } end"}"""


def dead_letters():
    """Bytes that the codec refuses are listed, exported, taken off, and stored once the script is mended."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/c.yaml"

        def write(codec):
            with open(path, "w", encoding="utf-8") as f:
                f.write(DEAD.replace("CODEC", codec))

        def dead(*options, code=0, parts=()):
            result = run(build + "/examples/tool/tp-tool", "dead", path, *options, DATA=folder)
            expect("dead " + " ".join(options), result, code, *parts)
            return result.stdout.splitlines()

        def why(*options):
            return run(build + "/examples/tool/tp-tool", "why", path, *options, DATA=folder)

        write("json")
        log = folder + "/log"
        with subprocess.Popen([build + "/examples/platform/tp-platform", "--quiet", path], stderr=subprocess.DEVNULL,
                              env={**os.environ, "DATA": folder}) as process:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and not (
                    os.path.isdir(log) and sum(os.stat(f"{log}/{n}").st_size for n in os.listdir(log)
                                               if n.endswith(".tpl")) > 2000):
                time.sleep(0.05)
            # The first failure is stored at once, the rest within ten seconds and at the stop.
            while time.monotonic() < deadline and "decode" not in why("t1").stdout:
                time.sleep(0.1)
            expect("why, live", why("t1"), 0, " t1 decode TPC_EDECODE: ", " bytes warm ")
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        expect("why, all", why(), 0, " t1 decode TPC_EDECODE: ", " times, by sim")
        audit = run(build + "/examples/tool/tp-tool", "audit", path, "--key", "t1", DATA=folder)
        expect("audit", audit, 0, " create device t1 {", '"product":"p"')
        expect("why, strangers", why("--strangers"), 0, "no failure is known")
        expect("why, another", why("t2"), 0, "no failure is known")
        letters = [line for line in dead(parts=("t1 TPC_EDECODE",)) if " TPC_EDECODE: " in line]
        exported = [json.loads(line) for line in dead("--json", "--device", "t1")]
        first = letters[0].split()[0]
        dead("9:999999", code=1, parts=("no dead letter 9:999999",))
        dead(first, "--purge", parts=(f"purged 1, left {len(letters) - 1}",))
        dead("--redrive", parts=(f"redriven {len(letters) - 1}, left {len(letters) - 1}",))
        write(SCRIPT)
        dead("--redrive", parts=(f"redriven {len(letters) - 1}, left 0",))
        stored = run(build + "/examples/tool/tp-tool", "history", path, "--all", "t", DATA=folder)
        values = [bytes.fromhex(e["raw_hex"]).split()[1].decode() for e in exported[1:]]
        expect("history of mended letters", stored, 0, *(f"t1 {float(v):g}" for v in values[:1]))
        if stored.stdout.count("t1 ") != len(letters) - 1:
            failures.append(f"{len(letters) - 1} letters were mended, stored are:\n{stored.stdout}")


with tempfile.TemporaryDirectory() as data:
    result = run(build + "/examples/platform/tp-platform", "--check", quickstart, DATA=data)
    expect("quickstart", result, 0, "configuration: ok")

platform("core: {workers: 1}\n", "configuration: ok", code=0)
platform("core: {workers: 1}\nlogs: {}\n", "c.yaml:2", "logs", "unknown key")
platform("core:\n  workers: 1\n  wrkers: 1\n", "c.yaml:3", "core.wrkers")
platform("log:\n  type: file\n  dir: ${DATA}/log\n  segment_sise: 1MiB\n", "c.yaml:4", "segment_sise")
platform("log:\n  type: file\n  dir: ${DATA}/log\n  segment_size: 1 parsec\n", "c.yaml:4", "segment_size")
platform("log: {type: nolog}\n", "c.yaml:1", "nolog")
platform("log: {dir: x}\n", "type", "missing")
platform('log: {type: file, dir: "${NO_SUCH_VARIABLE}"}\n', "NO_SUCH_VARIABLE")
platform("log: [unclosed\n", "c.yaml:")
platform("entities:\n  - {kind: device, key: d, product: none}\n", "c.yaml:2", "none")
platform("entities:\n  - {kind: product, key: p, codec: json, model: {properties: [{id: t, type: what}]}}\n",
         "c.yaml:2", "properties[0].type", "is none of")
platform("entities: [none.yaml]\n", "none.yaml")

tool("modules", parts=("mqtt", "EPL-2.0", "sqlite", "lua"))
tool("codec", "meter", "--config", quickstart, "--hex", "00000001 08fc 01f4 00002cec 00000064",
     parts=("voltage = 230", "power = 1150", "seq = 1"))
tool("codec", "meter", "--config", quickstart, "--hex", "00", code=1, parts=("TPC_ESCRIPT", "line 3"))
tool("codec", "thermo", "--config", quickstart, "--text",
     '{"method":"thing.property.post","params":{"temperature":200,"humidity":40}}', code=1,
     parts=("humidity = 40", "temperature = 200   refused"))
tool("codec", "fan", "--config", quickstart, "--encode", "set", '{"on":true}',
     parts=('{"method":"thing.property.set","params":{"on":true}}',))
tool("codec", "fan", "--config", quickstart, "--encode", "set", '{"speed":1}', code=1, parts=("speed",))
tool("codec", "none", "--config", quickstart, "--text", "{}", code=1, parts=("none",))
tool("log", "/nonexistent", code=1, parts=("/nonexistent",))
tool("sql", code=2, parts=("tp-tool sql HISTORY_DB",))
tool("sql", "/nonexistent/history.db", "select 1", code=1, parts=("/nonexistent", "unable to open"))
models = root + "/fuzz/corpus/tsl/"
tool("model", "check", models + "get_tsl.json", parts=("properties=9 services=2 events=3",))
tool("model", "check", models + "bad_range.json", code=1,
     parts=("bad_range.json:1:80: properties[0].dataSpecs.min: is above max",))
tool("model", "import", models + "thingspanel.json", parts=('"id": "temperature"', '"role": "attribute"'))
tool("model", "export", models + "tpcore.json", "--form", "thingspanel", parts=('"data_identifier": "serial"',))
tool("model", "export", models + "tpcore.json", code=2, parts=("tp-tool model export",))
tool("model", "check", "/nonexistent.json", code=1, parts=("/nonexistent.json",))
mine = root + "/fuzz/corpus/mycontroller/"
tool("import-mycontroller", mine + "task.json", "--product", "thermo", "--property", "{field}",
     parts=('"kind":"scene"', '"expr":"t is not null and (t between 1 and 2 or', '{"delay":5000}'))
tool("import-mycontroller", mine + "all.json",
     parts=('"kind":"handler"', "task t: evaluationType: conditions are expressions, not javascript",
            "handler b: type: no counterpart: 'backup'"))
tool("import-mycontroller", code=2, parts=("tp-tool import-mycontroller FILE",))
tool("nothing", code=2, parts=("usage",))
tool("dead", code=2, parts=("tp-tool dead CONFIG",))
dead_letters()

for failure in failures:
    print(failure)
print(f"tk: examples passed={passed} failed={len(failures)} skipped=0 seconds=0")
sys.exit(1 if failures else 0)
