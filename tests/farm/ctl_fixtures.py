# SPDX-License-Identifier: Apache-2.0
"""farmsyncctl as an account sees it, and a dataset to look at. A test module takes them with

    pytest_plugins = ["sql_fixtures", "ctl_fixtures"]
"""

import json
import os
import subprocess

import pytest

from farmlib import paths

CTL = os.path.join(paths.REPO, "scripts", "farmsyncctl")
PASSWORD = "not#for\"eyes"


class Ctl:
    """farmsyncctl as an account sees it."""

    def __init__(self, *where):
        self.where = where

    def run(self, *arguments, timeout=90, **more):
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("FARM") and key != "HOME"}
        done = subprocess.run([CTL, *self.where, *arguments], text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, check=False, timeout=timeout,
                              env={**environment, "HOME": "/nonexistent"}, **more)
        assert "Traceback" not in done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done

    def ok(self, *arguments, status=0, **more):
        done = self.run(*arguments, **more)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments, status=0, **more):
        return json.loads(self.ok(*arguments, "--json", status=status, **more))

    def refused(self, *arguments, status):
        done = self.run(*arguments)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr.strip()


def option_file(path, **values):
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    path.write_text("[client]\nuser=nobody-else\n[farmsync]\n" + lines, encoding="utf-8")
    path.chmod(0o600)
    return f"--defaults-file={path}"


def make_account(server, name, *rights):
    quoted = PASSWORD.replace("'", "''")
    server.sql(f"CREATE USER IF NOT EXISTS {name}@'%'; ALTER USER {name}@'%' IDENTIFIED BY '{quoted}';"
               + "".join(f"{right};" for right in rights))


def role(name, which):
    return f"GRANT farmsync_{which} TO {name}@'%'", f"SET DEFAULT ROLE farmsync_{which} FOR {name}@'%'"


@pytest.fixture
def account(server, tmp_path):
    """farmsyncctl over TCP as an account that is made for it."""
    def make(name, *rights):
        make_account(server, name, *rights)
        return Ctl(option_file(tmp_path / f"{name}.cnf", host="127.0.0.1", port=server.port, user=name,
                               password="'" + PASSWORD + "'"))
    return make


@pytest.fixture
def ctl(account):
    return account("ctl_oper", *role("ctl_oper", "operator"))


@pytest.fixture
def root(server):
    return Ctl("--socket", server.socket, "--user", "root")


@pytest.fixture
def shop(db):
    """A dataset with two versions, the second one staged for long from now."""
    db.script("CREATE TABLE shop.price (sku VARCHAR(20) PRIMARY KEY, price DECIMAL(8,2), note TEXT);"
              "INSERT INTO shop.price VALUES ('sku-1', 1, NULL), ('sku-2', 2, 'two'), ('sku-3', 3, 'x')")
    db.run("CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    assert db.promote() == "staged"
    db.script("UPDATE shop.price SET price = 1.5, note = 'new' WHERE sku = 'sku-1';"
              "DELETE FROM shop.price WHERE sku = 'sku-3'")
    assert db.cycle() == "staged"
    db.run("UPDATE farmsync.sync SET active_version = version, epoch = epoch + 1")
    return db
