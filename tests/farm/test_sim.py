# SPDX-License-Identifier: Apache-2.0
"""farmsync-sim as somebody runs it who tries settings: what it prints, and the figures that are promised."""

import csv
import re
import subprocess

import pytest

from conftest import LONG
from farmlib import paths

MIXED = "1000,2000,3000,4000,5000,6000,7000,8000,1000,8000"  # ten servers of capacity 1 to 8


def run(*options, status=0):
    done = subprocess.run([paths.built("datasrv/farmsync-sim"), *options], text=True, capture_output=True,
                          timeout=1000, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def balances(text):
    """(worst ratio by mean, percent of bounces), of each act."""
    return [(float(ratio), float(bounces)) for ratio, bounces in
            re.findall(r"worst ratio / mean ([\d.]+) \(server \d+\), bounces ([\d.]+) %", text)]


@pytest.mark.parametrize("status", ["100", "1000"])
@pytest.mark.parametrize("door", ["round-robin", "random"])
def test_ten_servers_are_evenly_full_with_few_bounces(status, door):
    text = run("--capacity", MIXED, "--visitors", "20000", "--status", status, "--door", door)
    print(text)
    [(ratio, bounces)] = balances(text)
    assert ratio <= 1.06 and bounces <= 55


def test_one_door_deals_out_by_weight():
    [(ratio, bounces)] = balances(run("--capacity", MIXED, "--status", "1000", "--door", "weighted"))
    assert ratio <= 1.06 and bounces <= 10


@pytest.mark.parametrize("server", ["1", "8"])
def test_only_visitors_of_the_dead_one_move_and_spread_by_room(server):
    text = run("--capacity", MIXED, "--kill", server)
    had = int(re.search(r"died, which was home to (\d+)", text)[1])
    assert f"moved {had}: {had} to their alternate, 0 of servers that live" in text
    assert all(ratio <= 1.06 for ratio, _ in balances(text)), text


def test_alternates_are_in_another_rack():
    """Where one rack dies whole, everybody's alternate lives; so of two racks each stands by for the other."""
    text = run("--capacity", "4x1000", "--racks", "1,1,1,2", "--visitors", "2000")
    rows = {int(row[0]): row for row in re.findall(r"^ +(\d+) +(\d+) +(\d+) +[\d.]+ +(\d+)$", text, re.MULTILINE)}
    assert int(rows[4][3]) == sum(int(rows[number][2]) for number in (1, 2, 3))


def test_a_full_farm_serves_or_refuses():
    small = ("--capacity", "4x100", "--visitors", "1000")
    assert "refused 0" in run(*small)
    refused = int(re.search(r"refused (\d+)", run(*small, "--refuse"))[1])
    assert 1000 - 4 * 100 <= refused < 1000


def test_plot_and_csv_show_the_same_course():
    options = ("--capacity", MIXED, "--visitors", "12000", "--kill", "4", "--return")
    rows = list(csv.DictReader(run(*options, "--csv").splitlines()))
    plotted = re.findall(r"^ +(\d+)  +([\d.]+) [# ]*  +[\d.]+ % [# ]*  (\d+)$", run(*options, "--plot"), re.MULTILINE)
    assert [row["requests"] for row in rows] == [row[0] for row in plotted] and len(rows) > 60
    moved = 0
    for row, (_, imbalance, moves) in zip(rows, plotted):
        assert float(row["imbalance"]) == pytest.approx(float(imbalance), abs=0.001)
        moved += int(moves)
        assert moved == int(row["moved"])
    assert moved > 0


def test_the_same_options_give_the_same_run():
    assert run("--seed", "5", "--door", "random") == run("--seed", "5", "--door", "random")
    assert run("--seed", "5", "--door", "random") != run("--seed", "6", "--door", "random")


def test_what_cannot_be_understood_is_named():
    assert "--capacity" in run("--capacity", "0", status=2)
    assert "round-robin" in run("--door", "window", status=2)
    assert "only options" in run("more", status=2)


@pytest.mark.limit(1000)
def test_a_farm_of_500_servers_fits_on_one_core():
    """Ten million visitors with FARMSYNC_TEST_LONG=1, of which each takes four bytes; else fewer."""
    visitors = 10_000_000 if LONG else 200_000
    text = run("--capacity", f"500x{visitors * 3 // 1000}", "--visitors", str(visitors),
               "--status", str(visitors // 100), "--kill", "7")
    print(text)
    assert all(ratio <= 1.06 and bounces <= 55 for ratio, bounces in balances(text))
    memory = float(re.search(r"memory ([\d.]+) MB", text)[1])
    assert memory <= visitors * 4 / 1e6 + 20
    assert ", 0 of servers that live" in text
