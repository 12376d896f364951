"""The same training through everloop: snapshot, check, split, fit, evaluate, package, gate, register, release."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from everloop.quick_start import quick_start

quick_start()  # as the command `everloop` begins

from everloop.models import FitProcess  # noqa: E402

fitting = FitProcess.ahead()  # as `everloop train` begins it, beside the libraries that it loads itself

from everloop.clock import SystemClock  # noqa: E402
from everloop.ledger import Ledger  # noqa: E402
from everloop.production import PipelineResources, start_training, training_workflow  # noqa: E402
from everloop.project import Project  # noqa: E402
from everloop.workflows import Engine  # noqa: E402

folder = Path(sys.argv[1])
project, clock = Project.open(folder, environment={}), SystemClock()
assert project.state.is_dir()
resources = PipelineResources.of(project, fitting=fitting)
with (
    fitting,
    Ledger.open(project, clock=clock) as ledger,
    Engine.open(
        project.paths, ledger=ledger, clock=clock, workflows=[training_workflow()], resources=resources
    ) as engine,
):
    model = project.model()
    asked = start_training(engine, resources, ledger, model=model, as_of=clock.now(), actor="bench")
    result = engine.wait(asked.run_id)
    steps = {fact.payload["step"]: fact.payload["seconds"] for fact in ledger.facts(kind="run.step")}
metrics = {name: value["point"] for name, value in result.state.get("metrics", {}).items()}
told = {"status": result.status, "sentence": result.sentence, "steps": steps, "metrics": metrics}
(folder / "result.json").write_text(json.dumps(told | {"modules": sorted(sys.modules)}))
