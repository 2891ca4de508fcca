#!/usr/bin/python3
"""usage: faults.py BUILD_DIR MOSQUITTO

The plugin with a store that is locked, damaged, of a newer version, replaced, sealed with another key; with
a platform that is killed; with wrong options. It refuses and says why, who is in stays in, and all is well
again once the store is.
"""
import shutil
import sqlite3
import subprocess

import kit

PRODUCT = 'put product {"key":"panel","codec":"thingspanel","model":{"properties":[{"id":"t","type":"int"}]}}'
DEVICE = 'put device {"key":"d1","product":"panel","credentials":{"username":"u","password":"p"}}'


def enters(broker, seconds=8):
    return kit.wait_until(lambda: kit.code_of(broker.port, "x", "u", "p") == 0, seconds)


def refused(broker, seconds=9):
    return kit.wait_until(lambda: kit.code_of(broker.port, "x", "u", "p") == 5, seconds)


def prepare(place):
    platform = kit.Console(place, None)
    platform.must(PRODUCT)
    platform.must(DEVICE)
    platform.stop()


def replace(path, content):
    """Another file in the place of this one, as a restore makes it."""
    other = path.with_suffix(".new")
    shutil.copy(content, other)
    other.rename(path)
    for extra in ("-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)


def damaged(place, broker, r):
    path, good, bad = place.dir / "store/entities.db", place.dir / "good.db", place.dir / "bad.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    shutil.copy(path, good)
    inside = kit.Client(broker.port, "inside", "u", "p")
    for name, why in [("damaged", "not a database"), ("newer", "schema version 99"), ("foreign", "another program"), ("gone", "is not there")]:
        shutil.copy(good, bad)
        if name == "damaged":
            bad.write_bytes(b"x" * 10000)
        elif name != "gone":
            with sqlite3.connect(bad) as db:
                db.execute("PRAGMA user_version=99" if name == "newer" else "PRAGMA application_id=1")
            db.close()
        if name == "gone":
            path.unlink()
        else:
            replace(path, bad)
        r.expect(f"{name}: says why", broker.said(why))
        r.expect(f"{name}: refused", refused(broker))
        r.expect(f"{name}: who is in stays", not inside.gone and inside.subscribe("devices/command/d1/+") == [1])
        replace(path, good)
        r.expect(f"{name}: well again", enters(broker))
    inside.close()


def locked(place, r):
    """Somebody has the whole file while the broker starts."""
    db = sqlite3.connect(place.dir / "store/entities.db", isolation_level=None)
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    db.execute("BEGIN IMMEDIATE")
    db.execute("PRAGMA user_version=3")
    db.execute("COMMIT")
    broker = kit.Broker(place)
    try:
        r.expect("locked: says why", broker.said("locked"))
        r.expect("locked: refused", refused(broker))
        db.close()
        r.expect("locked: well again", enters(broker))
    finally:
        broker.stop()


def sealed(place, r):
    key = place.dir / "secret.key"
    key.write_text("ff" * 32 + "\n")
    broker = kit.Broker(place)
    try:
        r.expect("another key: says why", broker.said("another secret_key"))
        r.expect("another key: refused", refused(broker))
    finally:
        broker.stop()
        key.write_text(kit.SECRET_KEY + "\n")


def killed(place, r):
    """A platform that dies leaves the table as it is; the next one changes it and hears what was refused meanwhile."""
    broker = kit.Broker(place)
    platform = kit.Console(place, broker.port)
    try:
        r.expect("killed: in", enters(broker))
        platform.must(DEVICE)
        r.expect("killed: it listened", broker.said("platform 1 tpcore/why"))
        platform.stop(kill=True)
        # What is told to a connection whose end nobody has seen yet is gone with it.
        gone = ("Client platform closed its connection", "Socket error on client platform")
        r.expect("killed: noticed", kit.wait_until(lambda: any(g in broker.log.read_text(errors="replace") for g in gone)))
        r.expect("killed: still in", enters(broker, 1))
        refused_twice = [kit.code_of(broker.port, "meanwhile", "u", "wrong") for _ in range(2)]
        r.expect("killed: refused", refused_twice == [5, 5], refused_twice)
        platform = kit.Console(place, broker.port)
        platform.must('put device {"key":"d2","product":"panel","credentials":{"token":"t2"}}')
        r.expect("killed: the next one", kit.wait_until(lambda: kit.code_of(broker.port, "x", "t2", "") == 0, 2))

        def why():
            return subprocess.run([place.tool, "why", place.dir / "platform.yaml", "d1"], capture_output=True, text=True, timeout=30).stdout
        r.expect("killed: told later", kit.wait_until(lambda: '"meanwhile": wrong password, 2 times' in why(), 20), why())
    finally:
        platform.stop()
        broker.stop()


def options(place, r):
    for line, why in [("plugin_opt_nonsense 1", "nonsense"), ("plugin_opt_refresh_ms 0", "refresh_ms"), ("plugin_opt_wrap maybe", "wrap"),
                      (f"plugin_opt_secret_key_file {place.dir}/nothing", "secret_key_file"),
                      (f"plugin_opt_token_key_file {place.dir}/platform.yaml", "token_key_file")]:
        config = place.dir / "bad.conf"
        config.write_text(f"listener {kit.free_port()} 127.0.0.1\nuser root\nplugin {place.plugin}\nplugin_opt_store_dir {place.dir}/store\n{line}\n")
        done = subprocess.run([place.mosquitto, "-c", config], text=True, capture_output=True, timeout=30)
        said = done.stdout + done.stderr
        r.expect(line.split()[0], done.returncode != 0 and f"plugin_opt_{why}" in said, said[-300:])


def main(place, r, keep):
    prepare(place)
    broker = kit.Broker(place)
    try:
        r.expect("well", enters(broker))
        damaged(place, broker, r)
    finally:
        broker.stop()
    locked(place, r)
    sealed(place, r)
    killed(place, r)
    options(place, r)


kit.run("contract-faults", main)
