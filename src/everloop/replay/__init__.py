"""Playing a project on a simulated calendar: the driver (`Replay`), and the demo that is made with it.

`run_demo(DemoPlan(seed=0))` plays a company's quarter through the real endpoint, monitor and control, and measures it
from the traffic log; `Replay` plays any `Feed` against any project.
"""

from everloop.replay.audience import Audience, Lines, Nobody
from everloop.replay.client import Client, Response
from everloop.replay.demo import DemoPlan, run_demo
from everloop.replay.endpoint import EndpointProcess
from everloop.replay.feed import Feed, PaymentsFeed
from everloop.replay.live import LiveView
from everloop.replay.replay import Counts, Replay
from everloop.replay.result import ArmResult, DemoResult
from everloop.replay.screen import SCREEN_WIDTH, demo_screen
from everloop.replay.spans import Measured, Span

__all__ = [
    "SCREEN_WIDTH",
    "ArmResult",
    "Audience",
    "Client",
    "Counts",
    "DemoPlan",
    "DemoResult",
    "EndpointProcess",
    "Feed",
    "Lines",
    "LiveView",
    "Measured",
    "Nobody",
    "PaymentsFeed",
    "Replay",
    "Response",
    "Span",
    "demo_screen",
    "run_demo",
]
