# SPDX-License-Identifier: Apache-2.0
"""farmsync's own database: complete, of this release, and this account may use it."""

from .. import RELEASE, facts
from ..errors import CtlError, NotInstalled, Refused
from ..scratch import PREFIX
from . import error, ok, skipped, warning

# What the commands call; an installation that lacks some is of an earlier release.
PROCEDURES = ("activate_at", "activate_now", "add_dataset", "allow_once", "approve", "dry_run",
              "hold", "pin", "reject", "request_approval", "resume", "roll_back", "show_difference",
              "show_pending", "unpin")
ROLE = ("GRANT farmsync_operator TO account; SET DEFAULT ROLE farmsync_operator FOR account "
        "(MySQL: TO account)")
INSTALL = "run install.sql of this release: cd sql && mysql < install.sql"


def check(patient):
    if patient.db is None:
        yield skipped("schema", "no database was reached")
        return
    try:
        patient.farm = facts.Farm(patient.db, patient.group)
    except NotInstalled as failure:
        yield error("schema", str(failure), INSTALL)
        return
    except Refused as failure:
        yield error("account", f"this account may not read farmsync: {failure}", ROLE)
        return
    except CtlError as failure:
        yield error("schema", str(failure), INSTALL)
        return
    yield from account(patient.db)
    yield from engines(patient.db)
    yield from left_over(patient.db)


def account(db):
    """Only what an account may call is listed for it, so that a missing role shows here."""
    user = db.value("SELECT CURRENT_USER()")
    seen = {row["name"].lower() for row in db.rows(
        "SELECT routine_name AS name FROM information_schema.routines WHERE routine_schema = "
        "'farmsync'")}
    missing = [name for name in PROCEDURES if name not in seen]
    if "hold" in missing:
        yield warning("account", f"{user} can look, but act on nothing", ROLE)
    elif missing:
        yield error("schema", "the installation lacks " + ", ".join(missing)
                    + f", which farmsyncctl {RELEASE} uses", INSTALL)
    else:
        yield ok("account", f"{user} may look and act")
        yield ok("schema", f"the installation has all that farmsyncctl {RELEASE} uses")


def engines(db):
    rows = db.rows("SELECT table_name AS name, engine AS engine FROM information_schema.tables "
                   "WHERE table_schema = 'farmsync' AND table_type = 'BASE TABLE' AND engine <> "
                   "'InnoDB'")
    if rows:
        yield error("engine", "tables of farmsync are not in InnoDB: "
                    + ", ".join(f"{row['name']} ({row['engine']})" for row in rows),
                    "ALTER TABLE ... ENGINE = InnoDB: promotions need transactions")
    else:
        yield ok("engine", "all tables of farmsync are in InnoDB")


def left_over(db):
    rows = db.rows("SELECT schema_name AS name FROM information_schema.schemata WHERE "
                   "LEFT(schema_name, %s) = %s", len(PREFIX), PREFIX)
    for row in rows:
        yield warning("scratch", f"{row['name']} was left by a check-db that was killed, or one "
                                 "runs now",
                      f"DROP DATABASE `{row['name']}`")
