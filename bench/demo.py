"""The demo's claims, over seeds: `python -m bench.demo --json [--seeds N]`.

Each seed is played with and without drift, one after the other, each in a process of its own as a user would start it.
Held: the change costs at least 0.10 of recall and at least 90 % of that comes back; the span `after` begins at least 14
days after the last promotion; no request fails and no acknowledged row is lost; without drift there is no alert and no
promotion; a demo takes at most 240 s on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

LONGEST_S = 240.0


def played(seed: int, *, drift: bool) -> dict[str, Any]:
    """One demo's JSON, and how long it took from the start of its process."""
    with tempfile.TemporaryDirectory(prefix="everloop-bench-") as scratch:
        command = [str(Path(sys.executable).with_name("everloop")), "demo", "--seed", str(seed), "--json"]
        command += ["--keep", str(Path(scratch) / "payments"), "--drift" if drift else "--no-drift"]
        began_s = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall_s = time.monotonic() - began_s
        shutil.rmtree(scratch, ignore_errors=True)
    if not done.stdout:
        return {"seed": seed, "drift": drift, "exit": done.returncode, "error": done.stderr[-2000:]}
    result: dict[str, Any] = json.loads(done.stdout)
    for long in ("arms", "story", "spans"):
        result[f"_{long}"] = result.pop(long)
    return result | {"exit": done.returncode, "wall_s": round(wall_s, 1)}


def broken(result: dict[str, Any]) -> list[str]:
    """What of the claims this demo does not keep."""
    if "error" in result:
        return [result["error"].strip().splitlines()[-1] if result["error"].strip() else "it ended without a result"]
    said = []
    if result["failures"] or result["lost"] or result["duplicates"]:
        said.append(f"{result['failures']} failures, {result['lost']} lost, {result['duplicates']} duplicates")
    if result["requests"] < 50_000 or result["rows"] < 1_000_000:
        said.append(f"only {result['requests']} requests and {result['rows']} rows")
    if result["wall_s"] > LONGEST_S:
        said.append(f"it took {result['wall_s']} s")
    return said + (_broken_with_drift(result) if result["drift"] else _broken_without(result))


def _broken_with_drift(result: dict[str, Any]) -> list[str]:
    said = []
    cost = (result["recall_before"] or 0) - (result["recall_drifted"] or 0)
    if cost < 0.10:
        said.append(f"the change cost only {cost:.3f} of recall")
    if (result["recovered"] or 0) < 0.9:
        said.append(f"only {result['recovered']} of the loss came back")
    if not result["promotions"] or (result["days_from_last_promotion_to_after"] or 0) < 14:
        said.append(f"the last promotion is {result['days_from_last_promotion_to_after']} days before `after`")
    if result["refusals"] < 1 or result["rollbacks"] < 1:
        said.append(f"{result['refusals']} refusals, {result['rollbacks']} rollbacks")
    if result["hours_to_alert"] is None or result["hours_to_alert"] < 0:
        said.append("there was no alert after the change")
    return said


def _broken_without(result: dict[str, Any]) -> list[str]:
    if result["alerts"] or result["promotions"]:
        return [f"{result['alerts']} alerts and {result['promotions']} promotions where nothing changed"]
    return []


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds, and how many kept every claim."""
    found: dict[str, Any] = {"demos": len(results), "kept": sum(not result["broken"] for result in results)}
    drifted = [result for result in results if result["drift"] and "error" not in result]
    quiet = [result for result in results if not result["drift"] and "error" not in result]
    for name in ("recall_before", "recall_drifted", "recall_after", "weekly_after", "never_after", "recovered"):
        values = [result[name] for result in drifted if result[name] is not None]
        if values:
            found[name] = {"mean": round(mean(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}
    for name in ("hours_to_alert", "hours_to_promotion"):
        values = [result[name] for result in drifted if result[name] is not None]
        if values:
            found[name] = {"median": median(values), "min": min(values), "max": max(values)}
    found["quiet_alerts"] = sum(result["alerts"] for result in quiet)
    found["quiet_promotions"] = sum(result["promotions"] for result in quiet)
    timed = [result["wall_s"] for result in results if "wall_s" in result]
    if timed:
        found["wall_s"] = {"median": median(timed), "max": max(timed)}
    return found


def main() -> int:
    """Play all, print one JSON document; 1 where a claim was not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, and nothing else")
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0 to N - 1")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", choices=("drift", "quiet"), help="one of the two kinds")
    given = parser.parse_args()
    kinds = {"drift": (True,), "quiet": (False,), None: (True, False)}[given.only]
    results = []
    for seed in range(given.first, given.first + given.seeds):
        for drift in kinds:
            result = played(seed, drift=drift)
            result["broken"] = broken(result)
            results.append(result)
            print(_line(result), file=sys.stderr, flush=True)
    document = {"bench": "demo", "summary": summary(results), "results": results}
    print(json.dumps(document) if given.json else json.dumps(document["summary"], indent=2))
    return 1 if any(result["broken"] for result in results) else 0


def _line(result: dict[str, Any]) -> str:
    kind = "drift" if result["drift"] else "quiet"
    kept = "; ".join(result["broken"]) or "kept"
    if "error" in result:
        return f"seed {result['seed']} {kind}: {kept}"
    recalls = " ".join(
        f"{name} {result[f'recall_{name}']:.3f}"
        for name in ("before", "drifted", "after")
        if result[f"recall_{name}"] is not None
    )
    return f"seed {result['seed']} {kind}: {recalls}, {result['wall_s']:.0f} s: {kept}"


if __name__ == "__main__":
    sys.exit(main())
