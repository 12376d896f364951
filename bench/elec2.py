"""Past predictions for `everloop check`, made from a stream of the drift collection.

    python -m bench.elec2 elec2.parquet predictions.parquet

A model is fitted on the first part of the stream and never again; what it says of the rest, with the truth, is what
a team has lying about of last year. In elec2 (electricity prices of New South Wales, half-hourly from 1996-05-07) the
market changed at row 17,424, on 1997-05-05: the output holds a year around it. A stream whose concept never
changes (`sea_stream.parquet`) is the control: `everloop check` must stay quiet on it. `sea_50k.parquet`, read as
half-hourly too, changes at rows 12,500, 25,000 and 37,500: `--fitted-days 83 --days 1000` predicts across all three.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

ORIGIN = datetime(1996, 5, 7, tzinfo=UTC)
STEP = timedelta(minutes=30)
FITTED_DAYS = 200
PREDICTED_DAYS = 365
CHANGE_ROW = 17_424


def features(frame: pl.DataFrame) -> np.ndarray:
    """What the model reads. Of elec2 the price over its last week's mean, since prices themselves wander."""
    if "nswprice" in frame.columns:
        week = pl.col("nswprice").rolling_mean(7 * 48, min_samples=1).shift(1)
        frame = frame.select("day", "period", "nswdemand", over_week=pl.col("nswprice") - week)
    else:
        frame = frame.select(frame.columns[:-1])
    return frame.to_numpy().astype(np.float64)


def truth(frame: pl.DataFrame) -> np.ndarray:
    """The class as true and false."""
    values = frame[frame.columns[-1]]
    return (values == "UP").to_numpy() if values.dtype == pl.String else (values == 1).to_numpy()


def predictions(
    frame: pl.DataFrame, *, seed: int = 0, fitted_days: int = FITTED_DAYS, days: int = PREDICTED_DAYS
) -> pl.DataFrame:
    """`time, score, outcome` of the rows after the first `fitted_days`, by a model that saw only those."""
    from lightgbm import LGBMClassifier

    fitted = fitted_days * 48
    until = min(frame.height, fitted + days * 48)
    X, y = features(frame), truth(frame)
    model = LGBMClassifier(
        n_estimators=80, num_leaves=8, learning_rate=0.05, min_child_samples=100, random_state=seed, verbose=-1
    )
    model.fit(X[:fitted], y[:fitted])
    times = [ORIGIN + row * STEP for row in range(fitted, until)]
    return pl.DataFrame(
        {
            "time": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            "score": np.asarray(model.predict_proba(X[fitted:until]))[:, 1],
            "outcome": y[fitted:until],
        }
    )


def main() -> None:
    """Write the predictions and say what they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="elec2.parquet, or another stream whose last column is the class")
    parser.add_argument("out", type=Path, help="where the predictions go, Parquet or CSV")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fitted-days", type=int, default=FITTED_DAYS, help="how many days the model is fitted on")
    parser.add_argument("--days", type=int, default=PREDICTED_DAYS, help="how many days are predicted after them")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    made = predictions(pl.read_parquet(given.path), seed=given.seed, fitted_days=given.fitted_days, days=given.days)
    if given.out.suffix == ".csv":
        made.write_csv(given.out)
    else:
        made.write_parquet(given.out)
    said = {"rows": made.height, "from": str(made["time"][0]), "to": str(made["time"][-1]), "out": str(given.out)}
    if given.path.stem == "elec2":
        said["change"] = str(ORIGIN + CHANGE_ROW * STEP)
    print(json.dumps(said) if given.json else "\n".join(f"{name}: {value}" for name, value in said.items()))


if __name__ == "__main__":
    main()
