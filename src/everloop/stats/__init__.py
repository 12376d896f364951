"""Numbers and what they allow to be said: verdicts, intervals, distances, sequences that may be peeked at, budgets.

Pure functions over arrays, and frozen records whose state is plain JSON. No other room may answer "is it worse?".

- an answer: `Verdict`; a number with its range: `Interval` (`wilson`, `bootstrap`, `bootstrap_cells`, `mean_interval`)
- live against reference counts: `psi`, `ks`, `total_variation`
- two models on the same rows, looked at whenever: `BoundedSequence`, `SignSequence`, and `above_zero` of counts
- rows that a comparison needs: judged once `two_rates`, `two_means`, `paired_rate_rows`, `paired_mean_rows`; looked at
  whenever `stopping_two_means`, `stopping_signs`, `stopping_gains`
- one window against quiet ones: `calibrate`; many checks at once: `holm`
- parts of the rows where losses are higher: `excess_p`, `loss_difference`
- a rate that may drop: `binomial_drop_p`, `RateDetector`; how many false alarms there may be: `OnlineBudget`
"""

from everloop.stats.betting import above_zero
from everloop.stats.budget import OnlineBudget
from everloop.stats.distance import ks, psi, total_variation
from everloop.stats.excess import excess_p, loss_difference
from everloop.stats.interval import (
    Interval,
    bootstrap,
    bootstrap_cells,
    effective_n,
    from_replicates,
    mean_interval,
    wilson,
)
from everloop.stats.multiplicity import holm
from everloop.stats.rate import RateDetector, binomial_drop_p, overdispersion
from everloop.stats.sample_size import (
    Discordance,
    Sides,
    discordance,
    paired_mean_rows,
    paired_rate_rows,
    two_means,
    two_rates,
)
from everloop.stats.sequence import BoundedSequence, SignSequence, Standing
from everloop.stats.stopping import Stopping, stopping_gains, stopping_signs, stopping_two_means
from everloop.stats.verdict import Json, Outcome, Verdict, jsonable
from everloop.stats.window_calibration import Calibration, calibrate

__all__ = [
    "BoundedSequence",
    "Calibration",
    "Discordance",
    "Interval",
    "Json",
    "OnlineBudget",
    "Outcome",
    "RateDetector",
    "Sides",
    "SignSequence",
    "Standing",
    "Stopping",
    "Verdict",
    "above_zero",
    "binomial_drop_p",
    "bootstrap",
    "bootstrap_cells",
    "calibrate",
    "discordance",
    "effective_n",
    "excess_p",
    "from_replicates",
    "holm",
    "jsonable",
    "ks",
    "loss_difference",
    "mean_interval",
    "overdispersion",
    "paired_mean_rows",
    "paired_rate_rows",
    "psi",
    "stopping_gains",
    "stopping_signs",
    "stopping_two_means",
    "total_variation",
    "two_means",
    "two_rates",
    "wilson",
]
