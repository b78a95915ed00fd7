"""Address of a server that can lead to another one."""

import socket
import threading
from contextlib import suppress


class Way:
    """Port of this machine whose connections lead to the port of a server."""

    def __init__(self, leads_to: int) -> None:
        """Leads to a port; `leads_to` may change for the connections that follow."""
        self.leads_to = leads_to
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        """Connects clients until `close`."""
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            try:
                there = socket.create_connection(("127.0.0.1", self.leads_to), timeout=2)
            except OSError:
                here.close()
                continue
            there.settimeout(None)
            for ends in ((here, there), (there, here)):
                for end in ends:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=copy, args=ends, daemon=True).start()

    def close(self) -> None:
        """Takes no further connection."""
        self.listener.close()


def copy(source: socket.socket, target: socket.socket) -> None:
    """Copies bytes until one end is closed, and then closes both."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
