"""The composition root: reads the state, decides, acts.

`Controller(resources).tick()` is the loop's heart; `decide(view)` is pure. Around it: `up`, which keeps the project's
processes running, and what people ask of it all: `status`, `why`, `roll_back`, `examine`.
"""

from everloop.control.controller import Controller
from everloop.control.decide import decide
from everloop.control.reading import read_view
from everloop.control.resources import Resources
from everloop.control.view import AlertView, ModelView, Schedule, Try, View

__all__ = [
    "AlertView",
    "Controller",
    "ModelView",
    "Resources",
    "Schedule",
    "Try",
    "View",
    "decide",
    "read_view",
]
