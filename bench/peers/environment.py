"""Environments of their own for peers, each made once outside the repository, and a run in one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any, Final

__all__ = ["BENTOML", "CACHE", "FLAML", "MLFLOW", "peer_python", "ran"]

CACHE: Final = Path.home() / ".cache" / "everloop-bench"
FLAML: Final = ("flaml[automl]==2.7.0",)
_XGBOOST: Final = "xgboost-cpu==3.2.0"
MLFLOW: Final = ("mlflow==3.17.2", _XGBOOST)
BENTOML: Final = ("bentoml==1.4.40", _XGBOOST)
_ROOT: Final = Path(__file__).resolve().parents[2]


def peer_python(packages: tuple[str, ...], cache: Path) -> Path:
    """The interpreter of an environment with these packages, named by the first; made where it is not there yet.

    packages: as pip takes them. cache: the folder that all of them are below.
    Raises subprocess.CalledProcessError where pip cannot.
    """
    folder = cache / re.sub(r"[^\w.]+", "-", packages[0])
    python, done = folder / "bin" / "python", folder / ".installed"
    if not done.exists():
        print(f"installing {' '.join(packages)} into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
            check=True,
            stdout=sys.stderr,
        )
        done.touch()
    return python


def ran(script: str, request: dict[str, Any], folder: Path, *, python: Path | None = None) -> dict[str, Any]:
    """Run `bench/peers/SCRIPT.py` on `folder`, alone, and give back its result.json; python: ours where None.

    The script finds request.json there. Raises RuntimeError with the end of what it said where it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "request.json").write_text(json.dumps(request))
    command = [str(sys.executable if python is None else python)]
    command += ["-m", f"bench.peers.{script}"] if python is None else [str(Path(__file__).with_name(f"{script}.py"))]
    began_s = time.monotonic()
    done = subprocess.run([*command, str(folder)], cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{script} ended with {done.returncode}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result | {"process_s": round(time.monotonic() - began_s, 1)}
