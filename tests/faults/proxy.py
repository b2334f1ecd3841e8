"""A bad network between two ends that are well: a proxy for TCP that passes, resets, holds or loses answers."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

RESET = struct.pack("ii", 1, 0)  # linger for no time: closing sends RST instead of FIN


class Proxy:
    """Listens at ``port`` and connects to ``target``. ``mode`` is what happens to connections from now on:

    * ``pass``: they work; * ``reset``: they are reset when something is sent; * ``hold``: they are accepted, and nothing
    ever comes back (half-open); * ``mute``: what is sent arrives, and the answer is lost with the connection.
    """

    def __init__(self, target: int) -> None:
        self.mode = "pass"
        self.connections = 0
        self._target = target
        self._held: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._held.append(client)
        with contextlib.suppress(OSError):
            while first := client.recv(65536):
                if self.mode == "hold":
                    continue
                if self.mode == "reset":
                    break
                with socket.create_connection(("127.0.0.1", self._target)) as server:
                    server.sendall(first)
                    answers = threading.Thread(target=self._answer, args=(server, client), daemon=True)
                    answers.start()
                    self._forward(client, server)
                break
        with contextlib.suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        while (data := client.recv(65536)) and self.mode in {"pass", "mute"}:
            server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self.mode == "mute":
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        for client in self._held:
            with contextlib.suppress(OSError):
                client.close()


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
