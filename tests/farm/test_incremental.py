# SPDX-License-Identifier: Apache-2.0
"""
The next image made from an earlier one and the rows that changed has the bytes of a full build: on a
real server, with random changes, keys that only the collation calls the same, versions skipped and
pruned, and earlier images that are damaged.
"""

import os
import random
import re
import shutil
import subprocess

import pytest

from farmlib import paths
from test_source import single  # noqa: F401  (single is a fixture)

VERSIONS = 50


def run(source, *arguments):
    """Output, and how many images were made from an earlier one."""
    done = subprocess.run([paths.built("tests/tools/fs_promote"), *arguments], text=True,
                          capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.rstrip("\n").split("\t"), re.findall(r"FS03(?:80|82): [^\n]*", done.stderr)


def promote(source, group, directory):
    source.make_due(group)
    answer, said = run(source, "once", source.options["datasrv", 0], group, "ds1", directory)
    assert answer[1] == "staged", answer
    return said


def build(source, group, version, directory):
    answer, said = run(source, "build", source.options["agent", 0], group, group, str(version), directory)
    return answer[0], said


def full(source, group, version):
    directory = source.directory("full")
    shutil.rmtree(directory)
    os.makedirs(directory)
    digest, said = build(source, group, version, directory)
    assert said == []
    return digest


def recorded(source, group, version):
    return source.sql(f"SELECT digest FROM farmsync.image WHERE group_name = '{group}'"
                      f" AND version = {version}")


def change(chance, name):
    """SQL of a few random changes."""
    word = lambda: "".join(chance.choice("abAB\u00e4\u00c4 ") for _ in range(chance.randint(1, 3))) + "."
    lines = []
    for _ in range(chance.randint(1, 12)):
        kind = chance.randrange(6)
        place = chance.randint(-2, 30)
        if kind < 2:
            lines.append(f"REPLACE INTO shop.{name} VALUES ('{word()}', {place}, '{chance.random()}')")
        elif kind == 2:
            lines.append(f"DELETE FROM shop.{name} WHERE n = {place}")
        elif kind == 3:
            lines.append(f"UPDATE shop.{name} SET v = NULL WHERE n = {place}")
        elif kind == 4:  # another key to the image, the same to the collation
            lines.append(f"UPDATE IGNORE shop.{name} SET k = SWAPCASE(k) WHERE n = {place}".replace(
                "SWAPCASE(k)", "IF(BINARY k = BINARY UPPER(k), LOWER(k), UPPER(k))"))
        else:
            lines.append(f"UPDATE IGNORE shop.{name} SET n = n + 1 WHERE n = {place}")
    lines.append(f"REPLACE INTO shop.{name} VALUES ('always', 0, '{chance.random()}')")
    return ";".join(lines)


def make(source, name):
    source.group(name)
    source.sql(f"""CREATE TABLE shop.{name} (k VARCHAR(20) COLLATE utf8mb4_general_ci, n INT,
                                             v TEXT, PRIMARY KEY (k, n));
        INSERT INTO shop.{name} SELECT CONCAT('k', seq % 7), seq, seq FROM shop.seq_1_to_60;
        CALL farmsync.add_dataset_with('{name}', 'shop.{name}', 'n, k', '{{"group":"{name}"}}')""")


@pytest.mark.limit(300)
def test_fifty_versions_are_what_full_builds_give(single):  # noqa: F811
    chance = random.Random(4)
    make(single, "steps")
    each, some = single.directory("each"), single.directory("some")
    assert promote(single, "steps", each) == []
    assert build(single, "steps", 1, some)[0] == recorded(single, "steps", 1)
    for version in range(2, VERSIONS + 1):
        single.sql(change(chance, "steps"))
        said = promote(single, "steps", each)
        assert len(said) == 1 and f"from that of version {version - 1}:" in said[0], said
        assert recorded(single, "steps", version) == full(single, "steps", version)
        if version % 7 == 0:  # from one several versions before
            digest, said = build(single, "steps", version, some)
            assert len(said) == 1 and "FS0382" in said[0], said
            assert digest == recorded(single, "steps", version)


def test_damaged_and_pruned_versions_are_not_built_upon(single):  # noqa: F811
    make(single, "worn")
    each, late = single.directory("worn"), single.directory("late")
    promote(single, "worn", each)
    build(single, "worn", 1, late)
    path = os.path.join(each, recorded(single, "worn", 1) + ".fsi")
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    single.sql("DELETE FROM shop.worn WHERE n % 3 = 0")
    assert promote(single, "worn", each) == []
    assert recorded(single, "worn", 2) == full(single, "worn", 2)
    # Rows that ended with version 2 are gone with version 1: an old image must not bring them back.
    single.sql("CALL farmsync.set_keep_versions('worn', 2)")
    for _ in range(3):
        single.sql("UPDATE shop.worn SET v = CONCAT(v, 'x') WHERE n = 1")
        promote(single, "worn", each)
        single.sql("CALL farmsync.prune('worn', 1000)")
    digest, said = build(single, "worn", 5, late)
    assert (digest, said) == (recorded(single, "worn", 5), [])


def test_update_that_misses_what_is_recorded_is_done_whole(single):  # noqa: F811
    make(single, "hand")
    each, other = single.directory("hand"), single.directory("other-hand")
    promote(single, "hand", each)
    single.sql("UPDATE shop.hand SET v = 'new' WHERE n = 5")
    promote(single, "hand", each)
    # An image of version 1 that says what the rows of version 1 don't.
    single.sql("UPDATE farmsync.data_hand SET v = 'other' WHERE n = 9")
    wrong = full(single, "hand", 1)
    single.sql("UPDATE farmsync.data_hand SET v = '9' WHERE n = 9;"
               f"UPDATE farmsync.image SET digest = '{wrong}' WHERE group_name = 'hand' AND version = 1")
    path = os.path.join(single.dir, "full", wrong + ".fsi")
    single.sql(f"UPDATE farmsync.image SET bytes = {os.path.getsize(path)}"
               " WHERE group_name = 'hand' AND version = 1")
    shutil.copy(path, other)
    digest, said = build(single, "hand", 2, other)
    assert len(said) == 1 and said[0].startswith("FS0380"), said
    assert digest == recorded(single, "hand", 2) == full(single, "hand", 2)
