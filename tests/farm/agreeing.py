# SPDX-License-Identifier: Apache-2.0
"""Data for the tests: three datasets that must always agree, and a page that reads all three.

Each of agree.ta, agree.tb, agree.tc has a row k with the same stamp; one transaction changes all
three. The page shows the three stamps, by subrequests and by expressions, as "stamp":N; if they ever
differ within one answer, a request saw two versions.
"""

import itertools

from farmlib.errors import FarmError
from farmlib.part import http_get, wait_until
from farmlib.prober import Prober, switch_bounds

TABLES = ("ta", "tb", "tc")
PAGE = "/agree.shtml"
AGREE = '"stamp":'
stamps = itertools.count(1000)  # of the changes that nobody else numbers

SHTML = "".join(f'<!--#include virtual="/farmsync/data/{table}/k" -->\n' for table in TABLES) + \
        "".join(f'"stamp":<!--#echo var="HTTP_X_{table.upper()}" -->\n' for table in TABLES)
CONF = '<Location "/agree.shtml">\n' + "".join(
    f'    RequestHeader set X-{table} "expr=%{{farmsync:{table}/k/stamp}}"\n' for table in TABLES) + \
       "</Location>\n"


def put_page(farm, conf=""):
    """Before the servers start; `conf` are more lines for httpd."""
    for web in farm.webs:
        farm.write_file(f"{web.name}/htdocs/agree.shtml", SHTML)
        farm.write_file(f"{web.name}/conf/extra/agree.conf", CONF + conf)


def load(farm, extra_rows=0):
    """Makes the tables and the datasets."""
    farm.sql("CREATE DATABASE IF NOT EXISTS agree; GRANT SELECT ON agree.* TO farmsync@localhost",
             None)
    for table in TABLES:
        farm.sql(f"CREATE TABLE agree.{table} (k VARCHAR(32) PRIMARY KEY, stamp BIGINT NOT NULL); "
                 f"INSERT INTO agree.{table} VALUES ('k', 1)", None)
        if extra_rows:
            rows = ",".join(f"('row-{n}', {n})" for n in range(extra_rows))
            farm.sql(f"INSERT INTO agree.{table} VALUES {rows}", None)
    farm.sql("; ".join(f"CALL farmsync.add_dataset('{table}', 'agree.{table}', 'k')"
                       for table in TABLES))


def change(farm, stamp):
    """One transaction over the three tables."""
    farm.sql("START TRANSACTION; " + "; ".join(
        f"UPDATE agree.{table} SET stamp = {stamp} WHERE k = 'k'" for table in TABLES)
             + "; COMMIT", None)


def stamp_at(web, table="ta"):
    """The stamp that this server shows, or None if it has no data."""
    try:
        status, _, body = http_get(web.url + f"/farmsync/data/{table}/k/stamp")
    except OSError:
        return None
    text = body.decode().strip()
    return int(text) if status == 200 and text.isdigit() else None


def told(farm):
    """What the database says about the group, for a test that waits in vain."""
    try:
        return "\n".join(str(row) for row in farm.sql("SELECT * FROM cycle") + farm.sql(
            "SELECT at, action, version, who, rows_changed, detail FROM history ORDER BY id DESC LIMIT 12"))
    except FarmError as error:
        return str(error)


def wait_stamp(farm, stamp, webs=None, seconds=60):
    """Until every server shows this stamp in each dataset (each comes with a version of its own)."""
    for web in webs or farm.webs:
        for table in TABLES:
            wait_until(lambda: stamp_at(web, table) == stamp, seconds,
                       f"{web.name} to show stamp {stamp} in {table}", lambda: told(farm))


def flows(farm, webs=None, seconds=60):
    """A change in the database arrives on every server; returns its stamp."""
    stamp = next(stamps)
    change(farm, stamp)
    wait_stamp(farm, stamp, webs, seconds)
    return stamp


def switch(farm, log, prober, stamp):
    """Changes the data and waits until each server switched: {(server, version): bounds of its clock}."""
    version = log.look().version
    change(farm, stamp)
    wait_until(lambda: log.look().version > version, 30, "the change to be staged")
    staged = max(log.activations)
    wait_until(lambda: len([e for e in prober.switches if e["to"] == staged]) == len(farm.webs), 30,
               "all servers to switch")
    return {(server, staged): switch_bounds(web, staged) for server, web in enumerate(farm.webs)}


def up(farms, conf="", **options):
    """A farm with the data, active on every server."""
    farm = farms.create(**options)
    put_page(farm, conf)
    farm.up()
    load(farm)
    wait_stamp(farm, 1)
    return farm


def sync_row(farm):
    return dict(zip(("version", "active", "left"), map(int, farm.sql(
        "SELECT version, active_version, activation_us - now_us FROM sync_us "
        "WHERE group_name = 'default'")[0])))


class Watched:
    """Asks all the time; at the end nothing may have failed or gone back."""

    def __init__(self, webs):
        self.prober = Prober([web.url for web in webs], path="/farmsync/data/ta/k", rate=200)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.prober.stop()
        if kind is None:
            assert self.prober.errors == []
            assert self.prober.failures == 0
            assert [e for e in self.prober.switches if e["to"] <= e["from"]] == []
