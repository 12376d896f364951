"""Outside systems: one file or folder per system, found by entry point, never imported by a room."""

__all__: list[str] = []
