# SPDX-License-Identifier: Apache-2.0
"""scripts/farm demo: real data, changed with plain SQL, and the switch as every server showed it; a page
that isn't sent twice (demo_reuse.py); an application that is down on all servers at once (demo_avail.py);
visitors who have a home, and lose nothing when it is killed (demo_visitors.py)."""

import os
import re
import shlex
import sys
import time

from . import catalogue, cli, demo_avail, demo_reuse, demo_visitors, paths
from .clock import ActivationLog
from .errors import FarmError
from .part import http_get, wait_until
from .progress import step
from .prober import Prober, spread_us, switch_bounds, violations

SHOP = os.path.join(paths.SQL_DIR, "sample", "shop.sql")
PROBES_PER_SECOND = 500  # to each server

DATASETS = (("prices", "shop.price", "sku"), ("shipping", "shop.shipping", "country,service"),
            ("promotions", "shop.promotion", "code"),
            ("offers", "shop.offer", "sku", '{"activate_column": "starts", "expire_column": "ends"}'))
CATALOGUE = ("packages", "debian.packages", "name")

# What the demo changes, as one transaction that a person might type; {n} differs from run to run.
CHANGES = (
    "START TRANSACTION",
    "UPDATE shop.price SET price = ROUND(1.95 + MOD(price * 7 + {n}, 90), 2)",
    "UPDATE shop.shipping SET price = ROUND(1.90 + MOD(price * 3 + {n}, 9), 2)",
    "UPDATE shop.promotion SET percent = 5 + MOD(percent + {n}, 40)",
    "UPDATE debian.packages SET version = CONCAT(SUBSTRING_INDEX(version, '+demo', 1), '+demo{n}') "
    "WHERE section = 'web'",
    "COMMIT",
)


def say(text=""):
    print(text, flush=True)


def load_data(farm):
    """Loads what isn't there yet; returns the names of the datasets."""
    present = {row[0] for row in farm.sql("SELECT name FROM dataset WHERE dropped = 0")}
    missing = [one for one in DATASETS if one[0] not in present]
    with step("Loading the shop: prices, shipping, promotions, offers"):
        farm.database.run_file(SHOP)
    with step("Loading the package catalogue of this machine's Debian") as shown:
        if CATALOGUE[0] not in present:
            if catalogue.load(farm, shown):
                missing.append(CATALOGUE)
            else:
                say("apt-cache has no catalogue on this machine; the demo goes on with the shop.")
    if missing:
        with step("Adding the datasets"):
            add_datasets(farm, missing)
    return [row[0] for row in farm.sql("SELECT name FROM dataset WHERE dropped = 0 ORDER BY name")]


def add_datasets(farm, missing):
    """Held meanwhile, so that they all come with one version."""
    if farm.sql("SELECT state FROM sync WHERE group_name = 'default'") != [["held"]]:
        farm.sql("CALL hold('default')")
    try:
        for name, source, key, *options in missing:
            farm.sql(f"CALL add_dataset_with('{name}', '{source}', '{key}', "
                     + (f"'{options[0]}')" if options else "NULL)"))
    finally:
        farm.sql("CALL resume('default')")


def wait_for_data(farm, datasets):
    """Until every server answers from a version that has all the datasets."""
    with step("Waiting until every server has the first version") as shown:
        for web in farm.webs:
            for dataset in datasets:
                shown.say(f"{web.name}: {dataset}")
                wait_until(lambda: _answers(web, dataset), 120,
                           f"{web.name} to serve the dataset {dataset}; scripts/farm log "
                           f"{web.name} may say why", pace=0.1)


def _answers(web, dataset):
    try:
        return http_get(f"{web.url}/farmsync/data/{dataset}", timeout=10)[0] == 200
    except OSError:
        return False


def change(farm, datasets):
    number = int(time.time()) % 89 + 1
    statements = [statement.format(n=number) for statement in CHANGES
                  if "debian." not in statement or "packages" in datasets]
    say("\nNow both are changed with plain SQL, in one transaction:\n")
    for statement in statements:
        say(f"  mysql> {statement};")
    farm.sql(";\n".join(statements) + ";", None)


def countdown(farm, log, before):
    """Shows the time that is left until a version newer than `before` is in force."""
    terminal = sys.stdout.isatty()
    said = None
    say()
    deadline = time.monotonic() + 2.5 * max(1, log.look().interval_us / 1e6) + 60
    while time.monotonic() < deadline:
        sync = log.look()
        left = (sync.activation_us - sync.now_us) / 1e6
        if sync.state == "failed":
            raise FarmError("the promotion was refused: " + (farm.sql(
                "SELECT reason FROM sync WHERE group_name = 'default'")[0][0] or ""))
        if sync.active > before or (sync.version > before and left <= 0):
            break
        if sync.version > before:
            text = f"version {sync.version} is staged on the servers and becomes active in {left:.1f} s"
        elif left > 0:
            text = f"the change is committed; the next promotion, which stages it, is in {left:.1f} s"
        else:
            text = "the change is being staged: differences found, images built, agents told"
        if terminal:
            sys.stdout.write(f"\r\033[K{text}")
            sys.stdout.flush()
            time.sleep(0.1)
        else:
            moment = (sync.version > before, max(-1, int(left) if left < 3 else int(left) // 5 * 5))
            if moment != said:
                said = moment
                say(text)
            time.sleep(0.2)
    else:
        raise FarmError("no new version became active; scripts/farm status shows the state")
    if terminal:
        sys.stdout.write("\r\033[K")
    version = max(log.activations)
    say(f"version {version} is active.")
    return version


def _ms(us):
    return f"{us / 1000:+.2f} ms"


def show_switch(farm, prober, log, version):
    seen = [one for one in prober.seen(log) if one.version == version]
    bounds = {(one.server, version): switch_bounds(farm.webs[one.server], version) for one in seen}
    say(f"\nThe switch to version {version}, as one prober saw it on one clock, relative to the "
        f"activation\n({PROBES_PER_SECOND} requests a second to each server):\n")
    rows = []
    for one in sorted(seen):
        name = farm.webs[one.server].name
        rows.append([name, _ms(one.last_old_sent), _ms(one.first_new_sent),
                     _ms(one.first_new_received),
                     f"{max(bounds[one.server, version]) / 1000:.2f} ms"])
    say(cli.table(rows, ["server", "last old: asked", "first new: asked", "received",
                         "bound of its clock"]))
    bad = violations(seen, bounds, log.offset().bound_us)
    say(f"\nFirst new answers of all servers lie within "
        f"{spread_us(seen, version) / 1000:.2f} ms; {prober.answers} answers, "
        f"{prober.failures} failed requests.")
    missing = len(farm.webs) - len(seen)
    if bad or missing or prober.failures:
        for sentence in bad:
            say("NOT AS PROMISED: " + sentence)
        if missing:
            say(f"NOT AS PROMISED: {missing} servers did not switch")
        raise FarmError("the switch was not as promised; scripts/farm log web1 may say why")
    say("No old answer to a request that was sent after the activation, no new one before it "
        "(within the bounds).")


def shop_lines(web):
    """The shop's page as text, one line an item."""
    text = http_get(web.url + "/shop.shtml", timeout=10)[2].decode(errors="replace")
    text = re.sub(r"(?s)<(style|head)\b.*?</\1>", "", text)
    lines = (re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", line)).strip()
             for line in text.splitlines())
    return [line for line in lines if line]


def demo(options):
    began = time.monotonic()
    farm = cli.bring_up(options)
    with farm.lock():
        datasets = load_data(farm)
    wait_for_data(farm, datasets)
    rows = {name: http_count(farm, name) for name in datasets}
    say(f"\n{len(farm.webs)} web servers and {len(farm.datasrvs)} data servers hold "
        + ", ".join(f"{name} ({count} rows)" for name, count in rows.items()) + ".")
    say(f"The page {farm.webs[0].url}/shop.shtml now:\n")
    for line in shop_lines(farm.webs[0]):
        say("  " + line)
    browser = demo_reuse.first_visit(farm)
    log = ActivationLog(farm.database)
    prober = Prober([web.url for web in farm.webs], rate=PROBES_PER_SECOND)
    try:
        before = log.look().version
        change(farm, datasets)
        version = countdown(farm, log, before)
        wait_until(lambda: len([event for event in prober.switches if event["to"] == version])
                   >= len(farm.webs), 30, "every server to have switched")
        time.sleep(0.2)  # a little of the new version, for the picture
    finally:
        prober.stop()
        log.stop()
    show_switch(farm, prober, log, version)
    say(f"\nThe page on {farm.webs[-1].name} now:\n")
    for line in shop_lines(farm.webs[-1]):
        say("  " + line)
    with farm.lock():
        demo_reuse.show(farm, browser)
        demo_avail.show(farm)
        demo_visitors.show(farm)
    cli.print_urls(farm)
    say("\nChange something yourself: scripts/farm sql" + cli.dir_option(farm) + " "
        + shlex.quote("UPDATE shop.price SET price = price + 1"))
    say(f"The demo took {time.monotonic() - began:.0f} s.")


def http_count(farm, dataset):
    """Rows of a dataset's newest image."""
    rows = farm.sql("SELECT row_count FROM image WHERE dataset = '" + dataset.replace("'", "''")
                    + "' ORDER BY version DESC LIMIT 1")
    return int(rows[0][0]) if rows else 0
