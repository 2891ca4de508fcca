"""What the stand-in knows of devices: templates, devices, access points, as rows of JSON. README.md has the file's
members."""
import json
import uuid

SPACE = uuid.UUID("7f0e2a52-3c39-4c60-9c0b-9f9d6c3b1a10")


class Fault(Exception):
    """An answer of the platform that is no success."""

    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


def stable_id(name):
    return str(uuid.uuid5(SPACE, name))


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Directory:
    def __init__(self, rows=None):
        self.templates, self.devices, self.access_points = {}, {}, {}
        self.by_number, self.by_voucher = {}, {}
        self.load(rows or {})

    def load(self, rows):
        for name, row in (rows.get("templates") or {}).items():
            self.templates[name] = row
        for row in rows.get("access_points") or []:
            self.put_access(row)
        for row in rows.get("devices") or []:
            self.put(row)

    def put(self, row):
        """Adds a device or changes one; members that are missing keep what they have."""
        name = row.get("id") or row.get("device_number")
        known = self.devices.get(row.get("id") or "") or {
            "id": stable_id(name or ""), "name": row.get("device_number") or name, "voucher": "", "template": None,
            "config": None, "parent": None, "sub_device_addr": None, "enabled": True, "active": True, "access": None,
            "online": 0}
        self._forget(known)
        known.update(row)
        if isinstance(known["voucher"], dict):
            known["voucher"] = compact(known["voucher"])
        known["voucher"] = known["voucher"] or compact({"default": known["id"]})
        known["device_number"] = known.get("device_number") or known["id"]
        self.devices[known["id"]] = known
        self.by_number[known["device_number"]] = known
        self.by_voucher[known["voucher"]] = known
        return known

    def _forget(self, row):
        for index, key in ((self.by_number, "device_number"), (self.by_voucher, "voucher")):
            if index.get(row.get(key)) is row:
                del index[row[key]]

    def remove(self, device_id):
        row = self.devices.pop(device_id, None)
        if row:
            self._forget(row)
        return row

    def put_access(self, row):
        known = self.access_points.setdefault(row["id"], {"id": row["id"], "name": row["id"], "voucher": "{}"})
        known.update(row)
        if isinstance(known["voucher"], dict):
            known["voucher"] = compact(known["voucher"])
        return known

    def find(self, name):
        """By id or number."""
        return self.devices.get(name) or self.by_number.get(name)

    def children(self, row):
        return [d for d in self.devices.values() if d["parent"] == row["id"]]

    def top(self, row):
        for step in range(10):
            if not row["parent"]:
                return row
            row = self.devices[row["parent"]]
        return row

    def type_of(self, row):
        return str((self.templates.get(row["template"]) or {}).get("device_type", "1"))

    def config(self, row):
        """The object of device/config (contract 3.2, item 2)."""
        template = self.templates.get(row["template"])
        if template is None:
            raise Fault(100000, "the device has no template")
        out = {"id": row["id"], "voucher": row["voucher"], "device_type": self.type_of(row),
               "protocol_type": template.get("protocol_type", "MQTT"), "device_number": row["device_number"],
               "config": row["config"], "protocol_config_template": template.get("protocol_config"), "sub_devices": None}
        if out["device_type"] != "2":
            return out
        out["sub_devices"] = []
        for child in self.children(row):
            of_child = self.templates.get(child["template"])
            if of_child is None or not child["sub_device_addr"]:
                raise Fault(100000, "a sub-device has no address or no template")
            out["sub_devices"].append({
                "device_id": child["id"], "device_number": child["device_number"], "voucher": child["voucher"],
                "sub_device_addr": child["sub_device_addr"], "config": child["config"],
                "protocol_config_template": of_child.get("protocol_config")})
        return out

    def access(self, point):
        """An access point with its devices (contract 3.2, items 4 and 5)."""
        devices = [{"id": d["id"], "name": d["name"], "voucher": d["voucher"],
                    "is_enabled": "enabled" if d["enabled"] else "disabled", "device_number": d["device_number"],
                    "sub_device_addr": d["sub_device_addr"] or "", "additional_info": "{}",
                    "protocol_config": compact(d["config"] or {}), "device_config_id": stable_id(d["template"] or ""),
                    "is_online": d["online"], "service_access_id": point["id"]}
                   for d in self.devices.values() if d["access"] == point["id"]]
        identifier = point.get("service_identifier", "")
        return {"id": point["id"], "name": point["name"], "service_plugin_id": stable_id("service " + identifier),
                "voucher": point["voucher"], "description": point.get("description"), "service_access_config": "{}",
                "remark": None, "create_at": "2026-01-01T00:00:00Z", "update_at": "2026-01-01T00:00:00Z",
                "tenant_id": "tenant", "service_access_id": point["id"], "service_identifier": identifier,
                "devices": devices}


def generate(identifier, meters, behind=0, serial="M-{:04d}"):
    """Concentrators with meters behind them, as meter.py simulates."""
    rows = {"templates": {
        "concentrator": {"device_type": "2" if behind else "1", "protocol_type": identifier,
                         "protocol_config": {"interval": "10"}},
        "meter": {"device_type": "3", "protocol_type": identifier, "protocol_config": {"interval": 10}}}, "devices": []}
    for n in range(1, meters + 1):
        number = serial.format(n)
        rows["devices"].append({"id": stable_id(number), "device_number": number, "template": "concentrator",
                                "voucher": {"serial": number}})
        rows["devices"] += [{"id": stable_id(f"{number}/{a}"), "device_number": f"{number}-{a}", "template": "meter",
                             "parent": stable_id(number), "sub_device_addr": str(a)} for a in range(1, behind + 1)]
    return rows
