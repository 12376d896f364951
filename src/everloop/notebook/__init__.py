"""What a notebook touches: `import everloop as ev`, then `ev.check(frame, …)` and `ev.open("fraud")`."""

from everloop.notebook.check import check

__all__ = ["check"]
