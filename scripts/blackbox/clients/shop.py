"""Client of the shop's API."""

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from blackbox.clients.http import HttpClient, Json

ADMIN_EMAIL = "admin@shop.local"
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Member:
    """Registered member with an access token."""

    id: str
    token: str


class ShopClient(HttpClient, ABC):
    """Calls the API of a shop."""

    admin_password: str

    @abstractmethod
    def exported(self) -> Iterator[bytes]:
        """Yields the lines of the export files; lines of one partition are in order."""

    def call(
        self, method: str, path: str, body: Json = None, *, token: str | None = None, key: str | None = None
    ) -> tuple[int, Json]:
        """Returns status and body of an API call; `key` is the Idempotency-Key. Raises Gone without an answer."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if key:
            headers["Idempotency-Key"] = key
        text = None if body is None else json.dumps(body)
        status, _, answer = self.ask(method, f"/api/v1{path}", text, headers)
        return status, answer

    def ok(
        self, method: str, path: str, body: Json = None, *, token: str | None = None, key: str | None = None
    ) -> Json:
        """Returns the body of a 2xx answer and ends the program at any other status."""
        status, answer = self.call(method, path, body, token=token, key=key)
        if not 200 <= status < 300:
            raise SystemExit(f"{method} {path} answered {status}: {str(answer)[:300]}")
        return answer

    def pages(self, path: str, token: str) -> Iterator[Json]:
        """Yields all items of a list."""
        cursor, more = None, "&" if "?" in path else "?"
        while True:
            page = self.ok("GET", f"{path}{more}limit=100" + (f"&cursor={cursor}" if cursor else ""), token=token)
            yield from page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                return

    def sign_in(self, email: str, password: str) -> str:
        """Returns an access token."""
        token: str = self.ok("POST", "/sessions", {"email": email, "password": password})["access_token"]
        return token

    def admin(self) -> str:
        """Returns an access token of the administrator."""
        return self.sign_in(ADMIN_EMAIL, self.admin_password)

    def register(self) -> tuple[int, Json, str]:
        """Registers a member; returns status, body and e-mail address."""
        email = f"kim-{uuid.uuid4()}@example.com"
        return *self.call("POST", "/members", {"email": email, "password": PASSWORD, "name": "Kim"}), email

    def member(self, points: int) -> Member:
        """Registers a member with `points` in the wallet."""
        status, body, email = self.register()
        if status != 201:
            raise SystemExit(f"POST /members answered {status}: {str(body)[:300]}")
        token = self.sign_in(email, PASSWORD)
        self.ok("POST", "/wallet/charges", {"amount": str(points)}, token=token, key=str(uuid.uuid4()))
        return Member(body["id"], token)
