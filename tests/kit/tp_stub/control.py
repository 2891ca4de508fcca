"""What a stand-in does when a line of JSON asks for it: {"do":"command","device":"M-0001","method":"relay",
"params":{"on":true}}. Each line is answered with one line: {"did":..,"ok":true,..}. README.md has the table."""
import http.client
import json
import socketserver
import threading

from directory import Fault


def later(panel, what, *arguments):
    threading.Thread(target=what, args=arguments, daemon=True).start()
    return {}


def down(kind):
    def do(panel, ask):
        body = ask.get("body", {})
        if kind == "command":
            body = {"method": ask["method"]}
            body.update({"params": ask["params"]} if "params" in ask else {})
        elif kind == "get":
            body = {"keys": ask.get("keys", [])}
        mid = panel.down(kind, ask["device"], body, by=ask.get("by", "number"), nested=ask.get("nested", False),
                         via=ask.get("via", "own"), times=ask.get("times", 1), mid=ask.get("mid"), raw=ask.get("raw"),
                         service=ask.get("service"))
        return {"mid": mid}
    return do


def told(answer):
    return {"status": answer[0], "answer": answer[1]}


def fault(panel, ask):
    panel.fault(ask["mode"], ask.get("call", "*"), ask.get("times"),
                **{k: v for k, v in ask.items() if k not in ("do", "id", "mode", "call", "times")})
    return {}


def state(panel, ask):
    row = panel.directory.find(ask["device"])
    if row is None:
        raise Fault(100404, "no such device")
    return {"device": row, "latest": panel.latest.get(row["id"], {}), "attributes": panel.attributes.get(row["id"], {})}


DO = {
    "counts": lambda panel, ask: panel.counts(),
    "command": down("command"), "set": down("set"), "get": down("get"), "control": down("control"),
    "logs": lambda panel, ask: {"logs": panel.logs},
    "device": state,
    "devices": lambda panel, ask: {"devices": list(panel.directory.devices.values())},
    "form": lambda panel, ask: told(panel.form(ask["form_type"], ask.get("device_type", "1"), ask.get("service"))),
    "forms": lambda panel, ask: {"forms": panel.forms(ask.get("service"))},
    "disconnect": lambda panel, ask: told(panel.disconnect(ask["device"], ask.get("service"))),
    "notification": lambda panel, ask: told(panel.notify(ask.get("body"), ask.get("access", ""),
                                                         ask.get("path", "/api/v1/plugin/notification"), ask.get("service"))),
    "discover": lambda panel, ask: told(panel.discover(ask["voucher"], ask.get("page", 1), ask.get("page_size", 10))),
    "call": lambda panel, ask: told(panel.ask_service(ask.get("method", "GET"), ask["path"], ask.get("body"))),
    "put": lambda panel, ask: {"device": panel.directory.put(ask["row"])},
    "change": lambda panel, ask: told(panel.change(ask["row"])),
    "remove": lambda panel, ask: told(panel.remove(ask["device"])),
    "template": lambda panel, ask: panel.directory.templates.__setitem__(ask["name"], ask["row"]) or {},
    "access": lambda panel, ask: {"access": panel.directory.put_access(ask["row"])},
    "rule": lambda panel, ask: panel.rules.__setitem__(ask["name"], float(ask["value"])) or {},
    "alive": lambda panel, ask: {"service_heartbeat": panel.alive(ask.get("service") or next(iter(panel.services)))},
    "fault": fault,
    "clear": lambda panel, ask: panel.clear() or {},
    "restart": lambda panel, ask: later(panel, panel.restart, ask.get("seconds", 3)),
    "broker": lambda panel, ask: later(panel, panel.broker_stop, ask.get("seconds", 5), ask.get("mode", "freeze")),
    "retained": lambda panel, ask: {"topics": panel.retained()},
}


def carry_out(panel, line):
    ask, out = {}, {"did": None, "ok": False}
    try:
        ask = json.loads(line)
        out["did"] = ask.get("do")
        out.update({"id": ask["id"]} if "id" in ask else {})
        out.update(DO[ask["do"]](panel, ask))
        out["ok"] = True
    except Fault as reason:
        out.update(code=reason.code, error=reason.message)
    except (OSError, http.client.HTTPException) as reason:
        out["error"] = f"the service does not answer: {reason}"
    except (KeyError, ValueError, TypeError, AttributeError) as reason:
        out["error"] = f"{type(reason).__name__}: {reason}"
    return json.dumps(out)


class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            if line.strip():
                self.wfile.write(carry_out(self.server.panel, line).encode() + b"\n")


class Control(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True

    def __init__(self, panel, port):
        self.panel = panel
        super().__init__(("127.0.0.1", port), Lines)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
