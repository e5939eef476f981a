# SPDX-License-Identifier: Apache-2.0
"""The image's sections of doc/benchmarks.md: what the programs of tests/bench measured, and what of it was wanted.

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
    """Runs a program that writes figures to the file after the word --json or -j; (its output, the figures)."""
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
    return run_json([sys.executable, os.path.join(paths.REPO, "tests/bench/herd.py"), "--json", None],
                    "Simulating a thousand agents", env=environment)


# --- the table of what is wanted


def row(figure, measured, wanted="", met=None):
    verdict = "" if met is None else "ok" if met else "**not met**"
    return f"| {figure} | {measured} | {wanted} | {verdict} |"


def look_up_rows(figures):
    rows = []
    for size in SIZES:
        def of(name):
            return figures.get(f"{size}_{name}")
        if of("image_dependent_ns") is None:
            continue
        for store, name, least in (("tinycdb", "tinycdb", 2), ("lmdb", "LMDB", 6)):
            faster = of(f"{store}_dependent")
            rows.append(row(f"random hit, {size:,} keys, each depending on the answer before: times faster than {name}",
                            f"{faster:.2f} (loop taken off: {of(f'{store}_dependent_net'):.2f}); {of('image_dependent_ns'):.1f} ns "
                            f"and {of(f'{store}_dependent_ns'):.1f} ns", f"≥ {least}", faster >= least))
            if faster < least:
                limit = of(f"{store}_dependent_ns") / of("floor_dependent_ns")
                rows.append(row(f"– the most that one read of a random cache line ({of('floor_dependent_ns'):.0f} ns, hash, "
                                "directory and compare not counted) would leave room for", f"{limit:.2f}"))
        rows.append(row(f"the same, {size:,} keys, independent: tinycdb / LMDB",
                        f"{of('tinycdb_independent'):.2f} / {of('lmdb_independent'):.2f}"))
    return rows


def million_rows(figures):
    if "1000000_of_floor" not in figures:
        return []
    floor, batch, wire = (figures[f"1000000_{name}"] for name in ("of_floor", "batch_independent", "wire"))
    beyond = max(figures[f"{size}_overhead"] for size in SIZES)
    return [row("dependent hit at 1 M, of the floor", f"{floor:.2f}", "≤ 1.6", floor <= 1.6),
            row("16 keys in a batch at 1 M, of 16 single ones", f"{batch:.2f}", "≤ 0.5", batch <= 0.5),
            row("bytes per row beyond key and values, the most of the three", f"{beyond:.1f}", "≤ 24", beyond <= 24),
            row("wire bytes for 1,000 of 1 M rows changed, of the changed rows' own size, compressed",
                f"{wire:.2f}", "≤ 3", wire <= 3)]


def host_rows(host, figures):
    applied = host["applied_of_build"]
    in_memory = figures.get("1000000_applied_of_build")
    return [
        row(f"image of {host['large_mb']:.0f} MB in {host['large_children']} children: sum of its PSS, of the image",
            f"{host['large_pss']:.3f} (mapped in {host['large_processes']} processes, of which each had read "
            f"{100 * host['large_touched']:.0f} % or more)", "≤ 1.05", host["large_pss"] <= 1.05),
        row(f"{host['rows']:,} rows of 100 bytes ({host['image_mb']:.0f} MB): built from SQL by a datasrv without images",
            f"{host['build_ms']:,.0f} ms; peak memory {host['build_peak_mib']:.0f} MiB, mapped files included, "
            f"{host['build_own_mib']:.0f} MiB its own afterwards"),
        row(f"delta of {host['delta_rows']:,.0f} of these rows applied, of the build from SQL",
            f"{applied:.3f}: {host['delta_applied_ms']:.0f} ms; peak memory {host['delta_peak_mib']:.0f} MiB, mapped files "
            f"included", "≤ 0.15", applied <= 0.15),
        row("– the same at 1 M rows of 64 bytes, of a build from rows in memory",
            "–" if in_memory is None else f"{in_memory:.2f}"),
        row("such a change at an agent: asked for, received, applied, published",
            f"{host['taken_ms']:.0f} ms, {host['taken_bytes']:,.0f} bytes; peak memory {host['agent_peak_mib']:.0f} MiB, mapped "
            "files included"),
        row("from the manifest with the new version until a child of httpd has it mapped",
            f"median {host['staged_to_mapped_ms']:.0f} ms, worst {host['staged_to_mapped_worst_ms']:.0f} ms"),
    ]


def herd_rows(found):
    queries = found["queries"]
    least, most = min(queries.values()), max(queries.values())
    return [
        row(f"{found['agents']:,} agents, {found['cycles']} cycles with 1 % change: staged before the activation",
            f"{found['in_time']:,} of {found['wanted']:,}", "all", found["in_time"] == found["wanted"]),
        row("– p99 from the manifest's change to staged, worst cycle; datasrv's peak memory",
            f"{found['p99_ms']:,.0f} ms; {found['peak_mib']:.0f} MiB, mapped images included"),
        row("– database queries a cycle with " + ", ".join(queries) + " agents",
            ", ".join(f"{count:.0f}" for count in queries.values()), "independent of the agents",
            most <= 1.2 * least + 5)]


def sections(quick, problems):
    """Sections for the page. What can't be measured is added to `problems`, and the rest is still there."""
    found = []
    for measure, title in ((look_ups, "look-ups"), (lambda quick: (None, bench_host.measure(quick)), "memory of a host"),
                           (herd, "a thousand agents")):
        try:
            found.append(measure(quick))
        except FarmError as error:
            problems.append(f"{title}: {error}")
            found.append((f"Could not be measured in this run: {title}.", None))
    (text, figures), (_, host), (herd_text, herd_figures) = found
    rows = []
    if figures:
        rows += [*look_up_rows(figures), *million_rows(figures)]
    if host:
        rows += host_rows(host, figures or {})
    if herd_figures:
        rows += herd_rows(herd_figures)
    return ["## What is wanted of the image\n\n| figure | measured | wanted | |\n|---|---|---|---|\n" + "\n".join(rows),
            "## Look-ups\n\n```\n" + text + "\n```\n\nProcessor time (for memcached, which is another process, all of the "
            "time). The keys are there before the loop begins; what the\nloop itself costs is the line *loop*.",
            "## A thousand agents\n\n" + herd_text]
