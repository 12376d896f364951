from __future__ import annotations

import subprocess
import sys

import pytest

import everloop.tasks
from everloop.errors import NotFound
from everloop.project import METRICS
from everloop.tasks import get_task


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_metrics_are_those_that_a_model_yaml_may_name(task: str) -> None:
    named = {name: (it.maximise, it.of_decisions) for name, it in METRICS.items() if it.task == task}
    assert {name: (it.maximise, it.of_decisions) for name, it in get_task(task).metrics.items()} == named
    assert set(get_task(task).shown) <= named.keys()


def test_an_unknown_task_names_those_there_are() -> None:
    with pytest.raises(NotFound, match="there are classification, regression"):
        get_task("ranking")


def test_the_door_is_light() -> None:
    assert all(hasattr(everloop.tasks, name) for name in everloop.tasks.__all__)
    code = "import sys, everloop.tasks; sys.exit(any(heavy in sys.modules for heavy in ('scipy', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
