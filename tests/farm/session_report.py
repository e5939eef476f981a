# SPDX-License-Identifier: Apache-2.0
"""Tables of what the loss harness found, as Markdown."""

COUNTS = ("lost", "within_flush", "lost_sessions", "forked", "resurrected", "invented", "stale",
          "strange_ids", "updates", "sessions")


def summed(results):
    """{(fault, mode): counts over all seeds}, in the order of the faults' first seeds."""
    found = {}
    for result in results:
        for mode, counts in result["modes"].items():
            entry = found.setdefault((result["fault"], mode), dict.fromkeys(COUNTS, 0) | {
                "runs": 0, "silence": [], "oldest": 0})
            for what in COUNTS:
                entry[what] += counts[what]
            entry["runs"] += 1
            entry["silence"].append(result["silence_s"])
            entry["oldest"] = max(entry["oldest"], counts["oldest_lost_ms"])
    return found


def table(results):
    lines = ["| fault | acknowledged by | runs | sessions | updates | lost | of the last flush interval "
             "(oldest) | sessions lost | forked | resurrected | "
             "taken for unknown | stale answers | longest without answer |",
             "|---|---|" + "---:|" * 11]
    for (fault, mode), one in sorted(summed(results).items()):
        within = f"{one['within_flush']} ({one['oldest']} ms)" if one["within_flush"] else "0"
        lines.append(f"| {fault} | {mode[3:]} | {one['runs']} | {one['sessions']} | "
                     f"{one['updates']:,} | {one['lost']} | {within} | {one['lost_sessions']} | "
                     f"{one['forked']} | {one['resurrected']} | {one['strange_ids']} | {one['stale']} | "
                     f"{max(one['silence']):.1f} s |")
    failed = [result for result in results if "error" in result]
    if failed:
        lines.append(f"\n{len(failed)} runs failed: seeds "
                     + ", ".join(str(one["seed"]) for one in failed))
    return "\n".join(lines)
