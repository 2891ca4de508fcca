"""A stock mosquitto for the stand-in: users root (the platform) and plugin (all services), sessions kept over
a restart, so that what the broker acknowledged is not lost by a stop of it."""
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port, host="127.0.0.1"):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((host, port)) == 0


def find(program):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/usr/bin"
    found = shutil.which(program, path=path)
    if not found:
        raise SystemExit(f"tp_stub: {program} is not installed")
    return found


class Broker:
    def __init__(self, folder, port=0, passwords=None, program=None):
        self.folder, self.port, self.free = pathlib.Path(folder), port, not port
        self.program = str(program or find("mosquitto"))
        self.passwords, self.child, self.stopped = passwords or {"root": "root", "plugin": "plugin"}, None, False
        self.log = self.folder / "mosquitto.log"
        self._write_passwords()
        for attempt in range(10):
            self.port = port or free_port()
            if self.start():
                return
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        raise SystemExit("tp_stub: mosquitto does not start: " + text[-1000:])

    def _write_passwords(self):
        path = self.folder / "passwords"
        path.write_text("".join(f"{user}:{password}\n" for user, password in self.passwords.items()))
        path.chmod(0o600)
        subprocess.run([find("mosquitto_passwd"), "-U", str(path)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    def start(self):
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous false", f"password_file {self.folder}/passwords",
                 "persistence true", f"persistence_location {self.folder}/", "max_queued_messages 0",
                 "max_inflight_messages 0", f"user {getpass.getuser()}", f"log_dest file {self.log}",
                 "set_tcp_nodelay true"]
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        self.child = subprocess.Popen([self.program, "-c", str(config)], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + 10
        while time.monotonic() < end and self.child.poll() is None:
            if listens(self.port):
                time.sleep(0.02)
                if self.child.poll() is None:
                    return True
            time.sleep(0.02)
        self.end()
        return False

    def freeze(self):
        """It holds its connections and says nothing."""
        self.stopped = True
        self.child.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.stopped = False
        self.child.send_signal(signal.SIGCONT)

    def end(self):
        if not self.child or self.child.poll() is not None:
            return
        if self.stopped:
            self.thaw()
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
