# SPDX-License-Identifier: Apache-2.0
"""The image's sections of doc/benchmarks.md: what was measured, and what of it was wanted.

What isn't met is printed as such, with the figure; nothing fails because of it.
"""

import json
import os
import subprocess
import sys
import tempfile

from . import bench_host, paths, setup
from .errors import FarmError
from .progress import step

IMAGE_BENCHMARK = "tests/bench/bench_image"
HERD_BENCHMARK = "tests/bench/bench_agents"
SIZES = (1000, 100000, 1000000)


def run_json(command, title, **arguments):
    """(output, figures) of a program that writes its figures to the file in place of None."""
    with tempfile.TemporaryDirectory(prefix="fsbench-") as directory, step(title):
        out = os.path.join(directory, "figures.json")
        command = [out if word is None else word for word in command]
        done = subprocess.run(command, text=True, capture_output=True, check=False, **arguments)
        if not os.path.exists(out):
            raise FarmError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        with open(out, encoding="utf-8") as file:
            return done.stdout.strip(), json.load(file)


def look_ups(quick):
    setup.build(paths.BUILD, targets=(IMAGE_BENCHMARK,), title="Building the image benchmark")
    sizes = SIZES[:1] if quick else SIZES
    return run_json([paths.built(IMAGE_BENCHMARK), "-r", "3" if quick else "11", "-j", None,
                     *map(str, sizes)], "Measuring look-ups")


def herd(quick):
    """What one datasrv bears: tests/bench/herd.py."""
    setup.build(paths.BUILD, targets=(HERD_BENCHMARK,), title="Building the simulated agents")
    environment = dict(os.environ, FARMSYNC_BUILD=paths.BUILD,
                       **({"FARMSYNC_BENCH_QUICK": "1"} if quick else {}))
    program = os.path.join(paths.REPO, "tests/bench/herd.py")
    return run_json([sys.executable, program, "--json", None],
                    "Simulating a thousand agents", env=environment)


# --- the table of what is wanted


def row(figure, measured, wanted="", met=None):
    verdict = "" if met is None else "ok" if met else "**not met**"
    return f"| {figure} | {measured} | {wanted} | {verdict} |"


def against(figures, size, store, name, least):
    """How many times faster the image is; if it isn't enough, how much memory would allow."""
    ratio, net, own, other, floor = (figures[f"{size}_{one}"] for one in (
        f"{store}_dependent", f"{store}_dependent_net", "image_dependent_ns",
        f"{store}_dependent_ns", "floor_dependent_ns"))
    rows = [row(f"random hit, {size:,} keys, dependent: times faster than {name}",
                f"{ratio:.2f} (loop taken off: {net:.2f}); {own:.1f} ns and {other:.1f} ns",
                f"≥ {least}", ratio >= least)]
    if ratio < least:
        rows.append(row(f"– what one read of a random cache line ({floor:.0f} ns; no hash, no "
                        "directory, no compare) would give", f"{other / floor:.2f}"))
    return rows


def look_up_rows(figures):
    rows = []
    for size in SIZES:
        if f"{size}_of_floor" not in figures:
            continue
        rows += against(figures, size, "tinycdb", "tinycdb", 2)
        rows += against(figures, size, "lmdb", "LMDB", 6)
        rows.append(row(f"– the same, {size:,} keys, independent: tinycdb / LMDB",
                        f"{figures[f'{size}_tinycdb_independent']:.2f} / "
                        f"{figures[f'{size}_lmdb_independent']:.2f}"))
    return rows


def million_rows(figures):
    if "1000000_of_floor" not in figures:
        return []
    floor, batch, wire = (figures[f"1000000_{name}"]
                          for name in ("of_floor", "batch_independent", "wire"))
    beyond = max(figures[f"{size}_overhead"] for size in SIZES)
    return [
        row("dependent hit at 1 M, of the floor", f"{floor:.2f}", "≤ 1.6", floor <= 1.6),
        row("16 keys in a batch at 1 M, of 16 single ones", f"{batch:.2f}", "≤ 0.5", batch <= 0.5),
        row("bytes per row beyond key and values, the most of the three", f"{beyond:.1f}", "≤ 24",
            beyond <= 24),
        row("wire bytes for 1,000 of 1 M rows changed, of the changed rows' own size, compressed",
            f"{wire:.2f}", "≤ 3", wire <= 3)]


def mib(value):
    return f"peak memory {value:.0f} MiB, mapped files included"


def host_rows(host, figures):
    pss, applied = host["large_pss"], host["applied_of_build"]
    in_memory = figures.get("1000000_applied_of_build")
    return [
        row(f"image of {host['large_mb']:.0f} MB in {host['large_children']} children: sum of its "
            "PSS, of the image",
            f"{pss:.3f} (mapped in {host['large_processes']} processes, each of which had read "
            f"{100 * host['large_touched']:.0f} % or more)", "≤ 1.05", pss <= 1.05),
        row("– of the image in huge pages, in the process that has the least",
            f"{100 * host['large_huge']:.0f} %"),
        row(f"{host['rows']:,} rows of 100 bytes ({host['image_mb']:.0f} MB): built from SQL by a "
            "datasrv without images",
            f"{host['build_ms']:,.0f} ms; {mib(host['build_peak_mib'])}, "
            f"{host['build_own_mib']:.0f} MiB its own afterwards"),
        row(f"delta of {host['delta_rows']:,.0f} of these rows applied, of that build from SQL",
            f"{applied:.3f}: {host['delta_applied_ms']:.0f} ms; {mib(host['delta_peak_mib'])}",
            "≤ 0.15", applied <= 0.15),
        row("– at 1 M rows of 64 bytes, of a build from rows in memory",
            "–" if in_memory is None else f"{in_memory:.2f}"),
        row("such a change at an agent: asked for, received, applied, published",
            f"{host['taken_ms']:.0f} ms, {host['taken_bytes']:,.0f} bytes; "
            f"{mib(host['agent_peak_mib'])}"),
        row("from the manifest with the new version until a child of httpd has it mapped",
            f"median {host['staged_to_mapped_ms']:.0f} ms, worst "
            f"{host['staged_to_mapped_worst_ms']:.0f} ms"),
    ]


def herd_rows(found):
    queries, in_time, wanted = found["queries"], found["in_time"], found["wanted"]
    counts = list(queries.values())  # the last are those with most agents
    return [
        row(f"{found['agents']:,} agents, {found['cycles']} cycles with 1 % change: staged before "
            "the activation", f"{in_time:,} of {wanted:,}", "all", in_time == wanted),
        row("– p99 from the manifest's change to staged, worst cycle; datasrv's memory",
            f"{found['p99_ms']:,.0f} ms; {mib(found['peak_mib'])}"),
        row("– database queries a cycle with " + ", ".join(queries) + " agents",
            ", ".join(f"{count:.0f}" for count in counts), "independent of the agents",
            counts[-1] <= 1.2 * min(counts) + 5)]


def host(quick):
    return "", bench_host.measure(quick)


def sections(quick, problems):
    """What can't be measured is added to `problems`; the rest is still there."""
    texts, rows, figures = {}, [], {}
    for measure in (look_ups, host, herd):
        name = measure.__name__
        try:
            texts[name], figures[name] = measure(quick)
        except FarmError as error:
            problems.append(f"{name}: {error}")
            texts[name], figures[name] = "Could not be measured in this run.", {}
    if figures["look_ups"]:
        rows += [*look_up_rows(figures["look_ups"]), *million_rows(figures["look_ups"])]
    if figures["host"]:
        rows += host_rows(figures["host"], figures["look_ups"])
    if figures["herd"]:
        rows += herd_rows(figures["herd"])
    head = "| figure | measured | wanted | |\n|---|---|---|---|\n"
    return ["## What is wanted of the image\n\n" + head + "\n".join(rows) + "\n\nDependent: each "
            "key depends on the answer before, so that nothing overlaps.",
            "## Look-ups\n\n```\n" + texts["look_ups"] + "\n```\n\nProcessor time (all of the "
            "time for memcached, which is another process). All keys are made before the\nloop "
            "begins; what the loop itself costs is the line *loop*.",
            "## A thousand agents\n\n" + texts["herd"]]
