# SPDX-License-Identifier: Apache-2.0
"""farmsyncctl on a real farm, as scripts/farm env offers it: an act is seen by a web server; doctor looks
at the web host, too."""

import json
import os
import shlex
import subprocess

import pytest

from farmlib import cli
from farmlib.part import wait_until

FARM = dict(servers=1, datasrv=1, interval=600)


def ctl_any(farm, *arguments):
    command = dict(cli.assignments(farm))["FARM_CTL"]
    return subprocess.run([*shlex.split(command), *arguments], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, check=False, timeout=90)


def ctl(farm, *arguments, status=0):
    done = ctl_any(farm, *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shop(farm):
    farm.sql("CREATE DATABASE shop; CREATE TABLE shop.price (sku VARCHAR(20) PRIMARY KEY, price INT);"
             "INSERT INTO shop.price VALUES ('a', 1), ('b', 2);"
             "CALL farmsync.add_dataset('prices', 'shop.price', 'sku')", None)
    wait_until(lambda: farm.webs[0].version() == 1, 60, "the first version to be served")
    # What is changed before that is in the next version already.
    wait_until(lambda: farm.sql("SELECT activation_time > UTC_TIMESTAMP(6) FROM sync")[0][0] == "1", 60,
               "the promotion that follows")
    return farm


def test_an_act_is_seen_by_the_web_server(shop):
    shop.sql("UPDATE shop.price SET price = 5 WHERE sku = 'a'", None)
    assert "price: 1 → 5" in ctl(shop, "diff")
    assert "1 row changed" in ctl(shop, "dry-run")
    ctl(shop, "activate", "--comment", "test of an act")
    wait_until(lambda: shop.webs[0].version() == 2, 60, "the act to be seen")
    wait_until(lambda: ctl_any(shop, "status").returncode == 0, 60, "the servers to have said so")
    assert json.loads(ctl(shop, "status", "--json"))["groups"][0]["in_force"] == 2
    said = ctl_any(shop, "watch").stdout
    assert "web1" in said and "ds1" in said and "test of an act" in ctl(shop, "history")


def test_status_tells_of_a_server_that_died(shop):
    wait_until(lambda: "trouble" not in ctl_any(shop, "status").stdout, 60, "all to be well")
    shop.datasrv(1).kill()
    try:
        wait_until(lambda: "ds1 (" in ctl_any(shop, "status").stdout.split("trouble:")[-1]
                   and ctl_any(shop, "status").returncode == 1, 60, "the silence to be told")
        assert "see whether httpd (or datasrv) runs" in ctl_any(shop, "doctor", "--seconds", "0").stdout
    finally:
        shop.datasrv(1).start()
    wait_until(lambda: ctl_any(shop, "status").returncode == 0, 60, "all to be well again")


def doctor(farm, *more):
    web = farm.webs[0]
    done = ctl_any(farm, "doctor", "--json", "--seconds", "0", "--datasrv", farm.datasrvs[0].url, "--web", web.url,
                   "--apachectl", shlex.join(web.httpd()), *more)
    return {(one["check"], one["level"]): one for one in json.loads(done.stdout)["findings"]}


def test_doctor_looks_at_a_farm_and_its_web_host(shop):
    wait_until(lambda: not any(level == "error" for _, level in doctor(shop)), 60, "a farm without errors")
    found = doctor(shop)
    for check in ("datasrv-http", "web-http", "httpd-module", "state-directory", "file", "server-name", "account"):
        assert (check, "ok") in found, check
    secret = os.path.join(shop.directory, "etc", "farm.key")
    mode = os.stat(secret).st_mode
    os.chmod(secret, 0o644)
    try:
        assert "chmod" in doctor(shop)[("httpd-configuration", "error")]["text"]
    finally:
        os.chmod(secret, mode)


def test_doctor_finds_what_is_wrong_with_the_httpd(shop):
    web = shop.webs[0]
    conf = os.path.join(web.directory, "conf", "extra", "broken.conf")
    with open(conf, "w", encoding="utf-8") as file:
        file.write("FarmSyncNonsense on\n")
    try:
        assert "FarmSyncNonsense" in doctor(shop)[("httpd-configuration", "error")]["text"]
    finally:
        os.unlink(conf)
    plain = os.path.join(web.directory, "plain.conf")
    with open(plain, "w", encoding="utf-8") as file:
        modules = [line for line in web.configuration().splitlines()
                   if line.startswith("LoadModule") and "farmsync" not in line]
        file.write(f'ServerRoot "{web.directory}"\nServerName x\nListen 127.0.0.1:{web.port}\n'
                   "ErrorLog logs/plain.log\n" + "\n".join(modules) + "\n")
    command = shlex.join([web.httpd()[0], "-f", plain])
    assert "LoadModule farmsync_module" in doctor(shop, "--apachectl", command)[("httpd-module", "error")]["remedy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_doctor_finds_files_of_another_user(shop):
    secret = os.path.join(shop.directory, "etc", "farm.key")
    owner = os.stat(secret)
    os.chown(secret, 0, 0)  # root, who runs configtest, can read it; httpd's user can't
    try:
        assert "chgrp" in doctor(shop)[("file", "error")]["remedy"]
    finally:
        os.chown(secret, owner.st_uid, owner.st_gid)
    state = os.path.join(shop.webs[0].directory, "run", "farmsync")
    owner = os.stat(state)
    os.chown(state, 0, 0)
    try:
        assert "chown" in doctor(shop)[("state-directory", "error")]["remedy"]
    finally:
        os.chown(state, owner.st_uid, owner.st_gid)
