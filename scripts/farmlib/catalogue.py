# SPDX-License-Identifier: Apache-2.0
"""Real data of some size for the demo: the package catalogue of the machine's own Debian."""

import shutil
import subprocess

SCHEMA = """
CREATE DATABASE IF NOT EXISTS debian CHARACTER SET utf8mb4;
CREATE TABLE IF NOT EXISTS debian.packages (
    name        VARCHAR(128) NOT NULL PRIMARY KEY,
    version     VARCHAR(128) NOT NULL,
    section     VARCHAR(64)  NOT NULL,
    size        BIGINT UNSIGNED NOT NULL COMMENT 'bytes of the .deb',
    description TEXT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
GRANT SELECT ON debian.* TO farmsync@localhost;
"""
ROWS_AT_ONCE = 500


def parse(lines):
    """Records of `apt-cache dumpavail`: (name, version, section, size, description), each name once."""
    seen, record, field = set(), {}, None
    for line in [*lines, "\n"]:
        line = line.rstrip("\n")
        if not line:
            name = record.get("Package")
            if name and name not in seen and len(name) <= 128:
                seen.add(name)
                size = record.get("Size", "")
                yield (name, record.get("Version", "")[:128], record.get("Section", "")[:64],
                       int(size) if size.isdigit() else 0, record.get("Description", ""))
            record, field = {}, None
        elif line[0] in " \t":
            if field == "Description":
                record[field] += "\n" + ("" if line.strip() == "." else line[1:])
        else:
            field, _, value = line.partition(":")
            field = "Description" if field.startswith("Description-en") else field
            if field == "Description" and field in record:
                continue
            record[field] = value.strip()


def quote(value):
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def read():
    """The catalogue of this machine; empty if it isn't Debian's kind."""
    if not shutil.which("apt-cache"):
        return []
    answer = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=False)
    return list(parse(answer.stdout.decode(errors="replace").splitlines()))


def load(farm, shown):
    """Fills debian.packages; returns the number of rows. `shown.say` tells how far it is."""
    farm.sql(SCHEMA, None)
    rows = read()
    for start in range(0, len(rows), ROWS_AT_ONCE * 20):
        statements = ["START TRANSACTION;"]
        for at in range(start, min(start + ROWS_AT_ONCE * 20, len(rows)), ROWS_AT_ONCE):
            values = ",\n".join("(" + ",".join(map(quote, row)) + ")"
                                for row in rows[at:at + ROWS_AT_ONCE])
            statements.append("INSERT INTO debian.packages (name, version, section, size, "
                              f"description) VALUES {values} ON DUPLICATE KEY UPDATE "
                              "version=VALUES(version), section=VALUES(section), "
                              "size=VALUES(size), description=VALUES(description);")
        farm.sql("\n".join([*statements, "COMMIT;"]), None)
        shown.say(f"{min(start + ROWS_AT_ONCE * 20, len(rows))} of {len(rows)} rows")
    return len(rows)
