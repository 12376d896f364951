"""The ledger's tables: the chain, the state it implies, and what is neither (the lock, heartbeats)."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

__all__ = ["LOG_SCHEMA", "STATE_SCHEMA", "STATE_TABLES", "fact", "heartbeat", "log_metadata", "meta", "state_metadata"]

LOG_SCHEMA: Final = 1  # the chain's own layout
STATE_SCHEMA: Final = 2  # raise it when a state table or its meaning changes: the state is then replayed

log_metadata = sa.MetaData()
state_metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    log_metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

fact = sa.Table(
    "fact",
    log_metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("cause", sa.BigInteger),
    sa.Column("schema", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("run", sa.Text),
    sa.Column("step", sa.Text),
    sa.Column("n", sa.BigInteger),
    sa.UniqueConstraint("run", "step", "n", name="fact_once"),
    sa.Index("fact_by_kind", "kind", "seq"),
    sa.Index("fact_by_subject", "subject", "seq"),
)

# Not state: a heartbeat is no change that anyone must answer for, and there are many.
heartbeat = sa.Table(
    "heartbeat",
    log_metadata,
    sa.Column("lease", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
)

version = sa.Table(
    "version",
    state_metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("bundle", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("spec_hash", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
)

routing = sa.Table(
    "routing",
    state_metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("champion", sa.Integer),
    sa.Column("previous", sa.Integer),
    sa.Column("challengers", sa.LargeBinary, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

rollout = sa.Table(
    "rollout",
    state_metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("started_us", sa.BigInteger, nullable=False),
    sa.Column("moved_us", sa.BigInteger, nullable=False),
    sa.Column("ended_us", sa.BigInteger),
    sa.Column("sentence", sa.Text, nullable=False),
    sa.Column("last_seq", sa.BigInteger, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.Index("rollout_by_model", "model", "seq"),
)

alert = sa.Table(
    "alert",
    state_metadata,
    sa.Column("alert", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("opened_us", sa.BigInteger, nullable=False),
    sa.Column("closed_us", sa.BigInteger),
    sa.Column("closed_reason", sa.Text),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("investigation", sa.BigInteger),
    sa.Column("proposal", sa.Text),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.Index("alert_by_model", "model", "status"),
)

approval = sa.Table(
    "approval",
    state_metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("spec_hash", sa.Text, primary_key=True),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("approver", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

run = sa.Table(
    "run",
    state_metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("workflow", sa.Text, nullable=False),
    sa.Column("model", sa.Text),
    sa.Column("spec", sa.Text),
    sa.Column("trigger", sa.Text),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("fold", sa.Text, nullable=False),
    sa.Column("slot", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("step", sa.Text),
    sa.Column("queued_us", sa.BigInteger),
    sa.Column("started_us", sa.BigInteger, nullable=False),
    sa.Column("ended_us", sa.BigInteger),
    sa.Column("sentence", sa.Text),
    sa.Column("evidence_path", sa.Text),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("last_seq", sa.BigInteger, nullable=False),
    sa.Column("inputs", sa.LargeBinary, nullable=False),
    sa.Index("run_by_model", "model", "seq"),
    sa.Index("run_by_status", "status", "seq"),
)

# The last pause of a model's schedule: what model.yaml says is not state.
schedule = sa.Table(
    "schedule",
    state_metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("paused_by", sa.Text, nullable=False),
    sa.Column("paused_us", sa.BigInteger, nullable=False),
    sa.Column("resumed_by", sa.Text),
    sa.Column("resumed_us", sa.BigInteger),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

lease = sa.Table(
    "lease",
    state_metadata,
    sa.Column("lease", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

STATE_TABLES: Final = tuple(state_metadata.sorted_tables)
