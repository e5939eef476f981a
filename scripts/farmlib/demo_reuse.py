# SPDX-License-Identifier: Apache-2.0
"""A part of the demo: a page that is made isn't sent to a browser that holds it, by no server, until
the data that it shows are others."""

import socket

from .cli import table
from .errors import FarmError
from .part import wait_until

PAGE = "/shop.shtml"


class Browser:
    """What a browser holds of one page."""

    def __init__(self):
        self.tag = None

    def ask(self, web):
        """(status, bytes of the answer with its head) of one server."""
        held = f"If-None-Match: {self.tag}\r\n" if self.tag else ""
        with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
            connection.sendall(f"GET {PAGE} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n"
                               f"{held}\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head = answer.partition(b"\r\n\r\n")[0].decode(errors="replace").split("\r\n")
        for line in head[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "etag":
                self.tag = value.strip()
        return int(head[0].split()[1]), len(answer)


def show(farm, browser):
    """`browser` holds the page as it was before the data changed."""
    print("\nA browser that holds the shop's page from before the change asks every server for it, twice:\n")
    held, rows, wanted = browser.tag, [], 200
    for web in [*farm.webs, *farm.webs]:
        status, size = browser.ask(web)
        rows.append([web.name, f"{size} bytes",
                     f"{status}: " + ("the new page" if status == 200 else "what you hold is right")])
        if status != wanted:
            raise FarmError(f"{web.name} answers {status} to a browser that holds "
                            f"{'the page' if wanted == 304 else 'an old page'}")
        wanted = 304
    print("  " + table(rows, ["asked", "answer", ""]).replace("\n", "\n  "))
    print(f"\nThe page has one check value on all servers ({held[:12]}… before the change, {browser.tag[:12]}… now), "
          "and isn't even made\nfor who holds it: it names what it depends on, the farm's data.", flush=True)


def first_visit(farm):
    """A browser that holds the page as it is now."""
    browser = Browser()
    wait_until(lambda: browser.ask(farm.webs[0])[0] == 200 and browser.tag, 30,
               f"{farm.webs[0].name} to give the shop's page a check value")
    return browser
