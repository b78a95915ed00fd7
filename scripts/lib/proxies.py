"""Two event proxies and three brokers of their own for a check, in a temporary folder."""
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time

from bus import SCRIPTS
from disk import Disk
from shop import Gone, Server

PASSWORD = "correct horse battery staple"
BROKERS = (1, 2, 3)
MAX_RESENDS = 5  # the default
SETTINGS = {
    "BUS__BACKEND": "kafka", "BUS__KAFKA__REPLICATION": "3", "BUS__KAFKA__MIN_INSYNC_REPLICAS": "2",
    "DELIVERY__ACK_TIMEOUT": "2s", "DELIVERY__RESEND_AFTER": "200ms",
    "ADMIN__PASSWORD": PASSWORD, "HTTP__ADDRESS": "127.0.0.1:0", "LOG__FILTER": "warn",
}
PATIENCE = 120  # seconds for what scripts/kafka does


class Failed(Exception):
    """The brokers or the proxies did not do what they were told."""


class Proxy(Server):
    SAYS = re.compile(rb"event proxy is at http://[\d.]+:(\d+)/")
    patience = 30

    def __init__(self, number, binary, folder, servers):
        name = f"proxy-{number}"
        settings = {**SETTINGS, "NODE__NAME": name, "DATA_DIR": os.path.join(folder, "data"),
                    "BUS__KAFKA__BOOTSTRAP_SERVERS": servers}
        super().__init__(binary, folder, {f"EVENT_PROXY__{key}": value for key, value in settings.items()}, PASSWORD)
        self.name, self.asked_for = name, dict(self.env)

    def restart(self, variables=(), **settings):
        """With these variables and settings besides; without any as it was at first."""
        self.stop()
        self.env = {**self.asked_for, **dict(variables),
                    **{f"EVENT_PROXY__{name}": value for name, value in settings.items()}}
        return self.start(self.prepare)

    def prepare(self):
        """In the new process."""

    def admin(self, method, path, body=None):
        """(status, body) of a route of the admin's."""
        secret = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {secret}", "Content-Type": "application/json"}
        status, _, answer = self.ask(method, f"/v1/admin{path}", None if body is None else json.dumps(body), headers)
        return status, answer

    def ledger(self):
        status, _, body = self.ask("GET", "/v1/ledger", None, {})
        if status != 200:
            raise Gone(f"/v1/ledger answers {status}")
        return body

    def is_ready(self):
        return self.ask("GET", "/readyz", None, {})[0] == 200


class Stand:
    """The brokers, the proxies, and the disk of the first."""

    def __init__(self, binary, short):
        self.folder = tempfile.mkdtemp(prefix="jangteo-proxies-")
        self.env = {**os.environ, **({"KAFKA_JIT": "c1"} if short else {})}  # brokers start sooner, and serve less
        self.binary, self.proxies, self.disk = binary, [], None
        self.kafka = os.path.join(self.folder, "kafka")

    def up(self):
        os.mkdir(self.kafka)
        self.broker("start", "3", "0")
        self.servers = self.broker("bootstrap").strip()
        for number in (1, 2):
            folder = os.path.join(self.folder, f"proxy-{number}")
            os.mkdir(folder)
            self.proxies.append(Proxy(number, self.binary, folder, self.servers))
        first = self.proxies[0]
        self.disk = Disk(first.folder)
        first.prepare = self.disk.prepare
        for proxy in self.proxies:
            proxy.start(proxy.prepare)

    def broker(self, what, *words):
        """What scripts/kafka says. With a session of its own: Ctrl-C is ours, and we end it in good order."""
        command = [os.path.join(SCRIPTS, "kafka"), what, *words, self.kafka]
        return self.said(command)

    def cli(self, *words):
        return self.said([os.path.join(SCRIPTS, "kafka"), "cli", self.kafka, *words])

    def said(self, command):
        try:
            done = subprocess.run(command, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, check=False, timeout=PATIENCE,
                                  start_new_session=True)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{' '.join(command)} took more than {PATIENCE} s") from error
        if done.returncode:
            raise Failed(f"{' '.join(command)}: {done.stdout.strip()[-600:]}")
        return done.stdout

    def kill_brokers(self):
        for broker in BROKERS:
            self.broker("kill-node", str(broker))

    def start_brokers(self):
        for broker in BROKERS:
            self.broker("start-node", str(broker))
        self.broker("wait")

    def wait(self, what, is_so, patience=60):
        """Until it is so, or nobody has the patience for it any more; whether it is."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                if is_so():
                    return True
            except Gone:
                pass
            time.sleep(0.1)
        print(f"  waited {patience} s in vain for {what}", flush=True)
        return False

    def errors(self):
        """Lines of level ERROR in the logs so far."""
        for proxy in filter(lambda proxy: os.path.exists(proxy.log), self.proxies):
            with open(proxy.log, errors="replace", encoding="utf-8") as lines:
                yield from (f"{proxy.name}: {line.strip()}" for line in lines if " ERROR " in line or "panicked" in line)

    def destroy(self, keep):
        for proxy in self.proxies:
            if proxy.alive():
                proxy.stop()
        if os.path.isdir(self.kafka):
            self.broker("stop" if keep else "destroy")
        if keep:
            print(f"kept: {self.folder}" + (", with a file system in it" if self.disk and self.disk.mounted else ""))
            return
        if self.disk:
            self.disk.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
