from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import polars as pl

from everloop.data import EVENT_TIME, SCORE, Baseline
from everloop.serving.score_edges import score_edges


def test_shares_are_counted_by_twentieths_and_numbers_by_the_versions_own_baseline(place):
    number = place.version()
    bundle = place.store.load(place.ledger.version("fraud", number).bundle)
    assert score_edges(bundle) == tuple(round(0.05 * step, 2) for step in range(1, 21))

    times = [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(400)]
    minutes = np.random.default_rng(0).gamma(4.0, 5.0, 400)
    frame = pl.DataFrame({EVENT_TIME: times, SCORE: minutes}).with_columns(pl.col(EVENT_TIME).dt.cast_time_unit("us"))
    numeric = msgspec.structs.replace(bundle.manifest, task="regression")
    known = replace(bundle, manifest=numeric, baseline_json=Baseline.build(frame, window=timedelta(days=1)).to_json())
    edges = score_edges(known)
    assert list(edges) == sorted(set(edges))
    counts = np.bincount(np.searchsorted(edges, minutes), minlength=len(edges) + 1)[1:-1]
    assert counts.min() >= 10, "each bin has its part of the baseline's scores"
    assert counts.max() <= 40
    assert score_edges(replace(known, baseline_json=bundle.baseline_json))[:3] == (0.01, 0.02, 0.05)
