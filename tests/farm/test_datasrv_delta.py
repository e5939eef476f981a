# SPDX-License-Identifier: Apache-2.0
"""
Deltas of datasrv, and what it does when more want images than it may send: against a real database.
"""

import concurrent.futures
import json
import os
import re
import socket

import pytest

from farmlib.part import wait_until
from test_datasrv import (database, directory, first_version, group, server,  # noqa: F401
                          servers, urlopen)

DELTA = "application/vnd.farmsync.delta"
IMAGE = "application/octet-stream"
ROWS = 20000


@pytest.fixture(scope="module")
def filled(database):  # noqa: F811
    database.sql(f"INSERT IGNORE INTO shop.prices SELECT CONCAT('row-', seq), seq, SHA1(seq)"
                 f" FROM shop.seq_1_to_{ROWS}")


@pytest.fixture
def large(filled, group):  # noqa: F811
    """A group whose dataset is large enough for deltas to be of use."""
    return group


def digest_of(one, name, version=None):
    manifest = one.manifest(name)
    for each in manifest["versions"]:
        if each["version"] == (version or manifest["version"]):
            return each["datasets"][0]["digest"]
    raise AssertionError(manifest)


def promote(one, database, name, statement):  # noqa: F811
    """Makes the change and brings it in; the new version's digest, once its image is here."""
    before = one.manifest(name)["version"]
    database.sql(statement.format(f"shop.{name}"))
    database.sql(f"UPDATE farmsync.sync SET epoch = epoch + 1, activation_time = UTC_TIMESTAMP(6)"
                 f" WHERE group_name = '{name}'")
    wait_until(lambda: one.manifest(name)["version"] > before
               and one.metric(f'datasrv_images_missing{{group="{name}"}}') == 0, 30, "a new version", one.log)
    return digest_of(one, name)


def ask(one, new, old, **more):
    return one.get(f"/v1/images/{new}?from={old}", **more)


def test_delta_is_made_once_and_served_like_an_image(servers, database, large):  # noqa: F811
    one = servers(Group=large).start()
    first_version(one, large)
    old = digest_of(one, large)
    new = promote(one, database, large, "UPDATE {} SET price = price + 1 WHERE price BETWEEN 1 AND 50")
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: ask(one, new, old), range(30)))
    assert {(status, headers["Content-Type"]) for status, headers, _ in answers} == {(200, DELTA)}
    assert len({body for _, _, body in answers}) == 1
    assert one.said("FS0866") == 1
    delta = answers[0][2]
    etag = answers[0][1]["ETag"]
    image = one.get(f"/v1/images/{new}")[2]
    assert delta.startswith(b"FSDELTA\n") and len(delta) < len(image) / 20
    assert bytes.fromhex(old) in delta[:112] and bytes.fromhex(new) in delta[:112]
    rest = ask(one, new, old, headers={"Range": "bytes=100-", "If-Range": etag})
    assert (rest[0], rest[2]) == (206, delta[100:])
    assert ask(one, new, old, headers={"Range": f"bytes={len(delta)}-"})[0] == 416
    assert ask(one, new, old, headers={"If-None-Match": etag})[0] == 304
    assert one.metric("datasrv_deltas") == 1
    assert one.metric("datasrv_deltas_bytes") == len(delta)
    assert [name for name in os.listdir(one.images) if name.endswith(".fsd")] == [f"{new}-{old}.fsd"]


def test_several_versions_behind_gets_one_delta(servers, database, large):  # noqa: F811
    one = servers(Group=large, KeepImages=3).start()
    first_version(one, large)
    first = digest_of(one, large)
    for place in range(3):
        last = promote(one, database, large, f"UPDATE {{}} SET label = 'x' WHERE price = {place + 1}")
    status, headers, body = ask(one, last, first)
    assert (status, headers["Content-Type"]) == (200, DELTA)
    assert len(body) < 2000
    assert re.search(rf"FS0866: delta from image {first[:12]} to {last[:12]}: 3 rows put", one.log())


def test_image_where_a_delta_is_of_no_use(servers, database, large):  # noqa: F811
    one = servers(Group=large).start()
    first_version(one, large)
    old = digest_of(one, large)
    new = promote(one, database, large, "UPDATE {} SET label = CONCAT(SHA2(sku, 512), SHA2(label, 512))")
    image = one.get(f"/v1/images/{new}")[2]
    for other in ("0" * 64, "nonsense", new, ""):  # unknown, no digest, itself
        status, headers, body = ask(one, new, other)
        assert (status, headers["Content-Type"], body == image) == (200, IMAGE, True), other
        # A piece of an image doesn't complete a piece of a delta.
        assert ask(one, new, other, headers={"Range": "bytes=100-"})[0] == 200
    database.sql(f"CALL farmsync.allow_once('{large}'); DELETE FROM shop.{large} WHERE sku NOT IN ('sku-1', 'sku-2')")
    small = promote(one, database, large, "UPDATE {} SET price = 3")
    status, headers, body = ask(one, small, new)
    assert (status, headers["Content-Type"], len(body)) == (200, IMAGE, len(one.get(f"/v1/images/{small}")[2]))
    assert "the image is served" in one.log()
    ask(one, small, new)
    assert one.said("FS0866") == 1  # it is remembered
    assert ask(one, "1" * 64, old)[0] == 404


def test_deltas_go_with_the_images_and_with_the_process(servers, database, large):  # noqa: F811
    one = servers(Group=large, KeepImages=0).start()
    first_version(one, large)
    old = digest_of(one, large)
    new = promote(one, database, large, "UPDATE {} SET label = 'a' WHERE price = 7")
    assert ask(one, new, old)[1]["Content-Type"] == DELTA
    path = os.path.join(one.images, f"{new}-{old}.fsd")
    assert os.path.exists(path)
    os.unlink(path)  # by whoever: the image is an answer, and it is made again
    assert ask(one, new, old)[1]["Content-Type"] == IMAGE
    assert ask(one, new, old)[1]["Content-Type"] == DELTA
    for price in (8, 9, 10):
        promote(one, database, large, f"UPDATE {{}} SET label = 'b' WHERE price = {price}")
    wait_until(lambda: not os.path.exists(path), 40, "the delta to go", one.log)
    assert one.metric("datasrv_deltas") == 0
    stale = os.path.join(one.images, "0" * 64 + "-" + "1" * 64 + ".fsd")
    one.end()
    with open(stale, "w", encoding="ascii") as file:
        file.write("left by an earlier process")
    one.start()
    assert not os.path.exists(stale)


class Slow:
    """Asks for an image and reads nothing of it."""

    def __init__(self, port, path):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def test_more_transfers_than_allowed_are_told_to_come_again(servers, database, large):  # noqa: F811
    database.sql(f"UPDATE shop.{large} SET label = REPEAT(label, 20)")
    one = servers(Group=large, MaxTransfers=2).start()
    first_version(one, large)
    path = f"/v1/images/{digest_of(one, large)}"
    slow = [Slow(one.port, path) for _ in range(2)]
    wait_until(lambda: one.metric("datasrv_transfers") == 2, 60, "two transfers", one.log)
    status, headers, body = one.get(path)
    assert (status, headers["Retry-After"]) == (503, "1")
    assert json.loads(body)["problem"] == "FS0868"
    assert one.get("/v1/time")[0] == 200  # only transfers are limited
    assert one.manifest(large)["version"] == 1
    assert one.metric('datasrv_answers_total{kind="busy"}') == 1
    slow[0].socket.close()
    wait_until(lambda: one.metric("datasrv_transfers") == 1, 60, "one to end", one.log)
    assert one.get(path)[0] == 200
    slow[1].socket.close()
    wait_until(lambda: one.metric("datasrv_transfers") == 0, 60, "all to end", one.log)
    assert urlopen(one.port, "HEAD", path)[0] == 200
    assert one.metric("datasrv_transfers") == 0
