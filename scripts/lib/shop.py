"""A server of its own for a check: started on a free port and a folder, called over HTTP, killed or stopped."""
import glob
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
import uuid

ADMIN = ("admin@shop.local", "correct horse battery staple")


class Gone(Exception):
    """The connection broke: what was asked may have been done or not."""


class Api:
    """Who asks a shop at `port` of this machine; threads have a connection each."""
    patience = 60  # seconds for an answer

    def __init__(self, admin_password):
        self.admin_password, self.port = admin_password, None
        self.local = threading.local()

    def call(self, method, path, body=None, token=None, key=None, prefix="/api/v1"):
        """(status, parsed body). Raises Gone when the answer did not come."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if key:
            headers["Idempotency-Key"] = key
        status, _, answer = self.ask(method, prefix + path, None if body is None else json.dumps(body), headers)
        return status, answer

    def ask(self, method, path, text, headers):
        """(status, headers, parsed body). Raises Gone when the answer did not come."""
        port, connection = self.port, getattr(self.local, "connection", None)
        if port is None:
            raise Gone("it is not there")
        if connection is None or connection.port != port:
            connection = self.local.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=self.patience)
        try:
            connection.request(method, path, text, headers)
            answer = connection.getresponse()
            read = answer.read()
        except (http.client.HTTPException, OSError) as error:
            connection.close()
            self.local.connection = None
            raise Gone(str(error)) from error
        try:
            return answer.status, answer.headers, json.loads(read)
        except ValueError:
            return answer.status, answer.headers, read.decode("utf-8", "replace")

    def ok(self, *arguments, **more):
        """The body of an answer that must be a 2xx."""
        status, body = self.call(*arguments, **more)
        if not 200 <= status < 300:
            raise SystemExit(f"{arguments[0]} {arguments[1]} answered {status}: {str(body)[:300]}")
        return body

    def pages(self, path, token):
        """All items of a list."""
        cursor, more = None, "&" if "?" in path else "?"
        while True:
            page = self.ok("GET", f"{path}{more}limit=100" + (f"&cursor={cursor}" if cursor else ""), token=token)
            yield from page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                return

    def sign_in(self, email, password):
        return self.ok("POST", "/sessions", {"email": email, "password": password})["access_token"]

    def admin(self):
        return self.sign_in(ADMIN[0], self.admin_password)

    def member(self, points):
        """A new member with that much in its wallet: its id, its token, and how to sign in again."""
        email, password = f"kim-{uuid.uuid4()}@example.com", "correct horse battery staple"
        member = self.ok("POST", "/members", {"email": email, "password": password, "name": "Kim"})
        token = self.sign_in(email, password)
        self.ok("POST", "/wallet/charges", {"amount": str(points)}, token=token, key=str(uuid.uuid4()))
        return {"id": member["id"], "token": token, "email": email, "password": password}


class Server(Api):
    """A process, and where it listens. `binary` is run in the folder."""
    SAYS = None  # what its port is in, of the lines that it says

    def __init__(self, binary, folder, env, admin_password):
        super().__init__(admin_password)
        self.folder, self.env = folder, {**os.environ, **env}
        self.log = os.path.join(folder, "log")
        self.binary, self.process = os.path.abspath(binary), None
        self.name = os.path.basename(binary)

    def start(self, prepare=None, patience=60):
        """Until it is ready; returns the seconds that took. `prepare` runs in the new process."""
        began, self.port = time.monotonic(), None
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([self.binary], env=self.env, cwd=self.folder, preexec_fn=prepare,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        for line in self.process.stdout:
            if said := self.SAYS.search(line):
                self.port = int(said[1])
                break
        if self.port is None:
            raise SystemExit(f"{self.name} did not start: {self.last_words()}")
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        while time.monotonic() - began < patience:
            try:
                if self.call("GET", "/readyz", prefix="")[0] == 200:
                    return time.monotonic() - began
            except Gone:
                pass
            time.sleep(0.02)
        raise SystemExit(f"{self.name} was not ready within {patience} s: {self.last_words()}")

    def last_words(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-500:].strip()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.port = None  # somebody else may have it

    def stop(self):
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()


class Shop(Server):
    SAYS = re.compile(rb"^ *API .*:(\d+)/")

    def __init__(self, binary, folder, **settings):
        env = dict(SHOP__HTTP__ADDRESS="127.0.0.1:0", SHOP__DATA_DIR=os.path.join(folder, "data"),
                   SHOP__ADMIN__EMAIL=ADMIN[0], SHOP__ADMIN__PASSWORD=ADMIN[1],
                   SHOP__RATE_LIMIT__ENABLED="false", SHOP__LOG__FILTER="warn")
        env.update({f"SHOP__{name.upper()}": value for name, value in settings.items()})
        super().__init__(binary, folder, env, ADMIN[1])

    def exported(self):
        """The lines of the export files, each partition's in their order."""
        files = os.path.join(self.env["SHOP__DATA_DIR"], "exports", "**", "*.ndjson")
        for file in sorted(glob.glob(files, recursive=True)):
            with open(file, "rb") as lines:
                yield from lines
