"""Shop with SQLite as a child process."""

import re
from collections.abc import Iterator
from pathlib import Path

from blackbox.clients.shop import ADMIN_EMAIL, PASSWORD, ShopClient
from blackbox.servers.process import Server


class Shop(Server, ShopClient):
    """Shop on a free port with its data in a folder."""

    port_pattern = re.compile(rb"^ *API .*:(\d+)/")
    admin_password = PASSWORD

    def __init__(self, binary: Path, folder: Path, **settings: str) -> None:
        self.data = folder / "data"
        env = {
            "HTTP__ADDRESS": "127.0.0.1:0",
            "DATA_DIR": str(self.data),
            "ADMIN__EMAIL": ADMIN_EMAIL,
            "ADMIN__PASSWORD": PASSWORD,
            "RATE_LIMIT__ENABLED": "false",
            "LOG__FILTER": "warn",
            **settings,
        }
        super().__init__(binary, folder, {f"SHOP__{name}": value for name, value in env.items()})

    def exported(self) -> Iterator[bytes]:
        """Yields the lines of the export files; lines of one partition are in order."""
        for file in sorted((self.data / "exports").rglob("*.ndjson")):
            with file.open("rb") as lines:
                yield from lines
