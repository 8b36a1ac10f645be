"""The tables of the store's catalog: publications, uploads, streaming, monitoring and the log.

`online/storage/migrations.py` creates them.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    UUID,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "workbench"

metadata = MetaData(schema=SCHEMA)

plans = Table(
    "plans",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("hash", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("plan", JSONB, nullable=False),
    Column("owner", Text, nullable=False, default=""),
    Column("description", Text, nullable=False, default=""),
    Column("tags", JSONB, nullable=False, default=list),
    Column("made", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("name", "version"),
    UniqueConstraint("name", "hash"),
)
published = Table(
    "published",
    metadata,
    Column("name", Text, primary_key=True),
    Column("plan", ForeignKey(plans.c.id), nullable=False),
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
# One row a group-by that is stored, by the table of its rows: what was uploaded and streamed, as
# its fetches read it.
states = Table(
    "states",
    metadata,
    Column("rows", Text, primary_key=True),
    Column("group_by", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("batch_end", BigInteger),
    Column("horizon", BigInteger),
    Column("uploaded", BigInteger),
    Column("streamed", BigInteger),
    Column("retain", BigInteger),
    # when its rows began to be kept
    Column(
        "since",
        BigInteger,
        nullable=False,
        server_default=text("(extract(epoch from clock_timestamp()) * 1000000)::int8"),
    ),
)
uploads = Table(
    "uploads",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("group_by", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("batch_end", BigInteger, nullable=False),
    Column("began", DateTime(timezone=True), nullable=False),
    Column("ended", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("staged", BigInteger, nullable=False),
    Column("inserted", BigInteger, nullable=False),
    Column("deleted", BigInteger, nullable=False),
    # what the table had then: online/storage/source_facts.py; null for uploads by earlier versions
    Column("facts", JSONB),
)
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("who", Text, nullable=False, server_default=func.current_user()),
    Column("verb", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("detail", JSONB, nullable=False, default=dict),
)
# How far the messages of each partition were applied: all offsets below `next`, which is null where
# the partition was only claimed. The updater that holds the epoch advances it in the transaction of
# the rows. Times are microseconds since 1970.
offsets = Table(
    "offsets",
    metadata,
    Column("rows", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next", BigInteger),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", Text, nullable=False, server_default=""),
    Column("topic_id", Text),  # Kafka's own, which a topic made anew under its name does not share
    Column("newest", BigInteger),  # the newest event that was applied
    Column("appended", BigInteger),  # when Kafka got the newest message that was applied
    Column("written", BigInteger),  # when it could be fetched
    Column("high", BigInteger),  # the topic's own next offset
    Column("seen", BigInteger),  # as it was then
    Column("behind", BigInteger),  # since when it was never found to be caught up
    Column("trouble", Text, nullable=False, server_default=""),  # why nothing is applied
)
# One row for each batch, partition and group-by: when its events happened, when they reached Kafka,
# and, written after the commit, when they could be fetched.
batches = Table(
    "batches",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("rows", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("next", BigInteger, nullable=False),
    Column("messages", Integer, nullable=False),
    Column("oldest", BigInteger),
    Column("newest", BigInteger),
    Column("appended", BigInteger),
    Column("visible", BigInteger),
    Column("late", Integer),  # events that lie far behind what came before them
    # how long after they happened they could be fetched: buckets of online/streaming/lag_buckets.py
    Column("lags", JSONB),
    Column("delays", JSONB),  # how long after they happened Kafka got them
    Index("batches_by_rows", "rows", "id"),
)
# One row for each canary: when it was sent, and when the store had it; that is null while the
# canary is under way or where it was lost.
canaries = Table(
    "canaries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("seen", BigInteger),
    Column("every", BigInteger, nullable=False),  # microseconds until the next
    Index("canaries_by_topic", "topic", "id"),
)
# What a monitor found: one row for each rule and subject at each pass; the newest row is current.
findings = Table(
    "findings",
    metadata,
    Column("name", Text, primary_key=True),  # what was published, and monitored
    Column("rule", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("evaluated", DateTime(timezone=True), primary_key=True),
    Column("status", Text, nullable=False),
    Column("severity", Double, nullable=False),
    Column("value", Double),
    Column("sentence", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("kept", JSONB, nullable=False),  # what the next pass needs of it
    Index("findings_by_time", "name", "evaluated"),
)
# Outcomes of data-quality checks at each upload, including those of refused uploads.
checks = Table(
    "checks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("group_by", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("of", Text, nullable=False),  # row, table, feature
    Column("blocks", Boolean, nullable=False),
    Column("batch_end", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),  # of which it was asked
    Column("failing", BigInteger, nullable=False),
    Column("over", BigInteger, nullable=False),  # how many more than may
    Column("status", Text, nullable=False),  # ok, error, missing
    Column("detail", Text, nullable=False, server_default=""),
    Index("checks_by_name", "group_by", "name", "id"),
)
# Messages that could not become rows, kept until they are applied again; they outlive what is
# published.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("rows", Text, nullable=False),
    Column("group_by", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("payload", LargeBinary),
    Column("key", LargeBinary),  # and its headers: where columns come from them
    Column("headers", JSONB),
    Column("appended", BigInteger),
    Column("reason", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("replayed", DateTime(timezone=True)),
    Index("dead_letters_by_rows", "rows", "id"),
)
# Why nothing of a partition is applied to a group-by; the row goes when something is applied again.
topic_troubles = Table(
    "topic_troubles",
    metadata,
    Column("rows", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    # -1 for the whole topic
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("sentence", Text, nullable=False),
    # microseconds since 1970; a trouble that is reported again keeps its first time
    Column("since", BigInteger, nullable=False),
)
# Messages of a partition for a group-by, counted by the hour in which they were applied, in the
# transaction of their rows.
topic_counts = Table(
    "topic_counts",
    metadata,
    Column("rows", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("hour", BigInteger, primary_key=True),  # its begin, in microseconds since 1970
    Column("messages", BigInteger, nullable=False),  # all that came
    # those that could be read and have a key and a time
    Column("events", BigInteger, nullable=False),
    Column("tombstones", BigInteger, nullable=False),  # those without a value
    # those that say that a row was deleted, which no event does
    Column("deletes", BigInteger, nullable=False),
    Column("dead", BigInteger, nullable=False),  # those that became dead letters
    Column("keyless", BigInteger, nullable=False),  # of these, those without a key or a time
    Column("old", BigInteger, nullable=False),  # events of a time that is hardly meant
    Column("ahead", BigInteger, nullable=False),  # events of a time that is far in the future
    # how many events have no value, by column that is read
    Column("nulls", JSONB, nullable=False),
)
# One row for each answer that was logged; a request for several keys has several. Values are JSON,
# and the plan says their types.
served = Table(
    "served",
    metadata,
    Column("request", UUID, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("plan", Integer, nullable=False),
    Column("hash", Text, nullable=False),
    Column("at", BigInteger, nullable=False),  # as of when, in microseconds since 1970
    Column("served", DateTime(timezone=True), nullable=False),
    Column("took", Integer, nullable=False),  # microseconds, of the whole request
    Column("client", Text, nullable=False),
    Column("share", Double, nullable=False),  # of keys that were sampled then
    # why it was logged: "key" by the key's hash, "error" whatever the hash
    Column("reason", Text, nullable=False),
    Column("keys", JSONB, nullable=False),
    Column("context", JSONB, nullable=False),
    Column("features", JSONB, nullable=False),
    Column("errors", JSONB, nullable=False),
    # by part: status, newest, batch_end, written; times in microseconds
    Column("parts", JSONB, nullable=False),
    Index("served_by_time", "name", "at"),
)
# What a monitor holds answers against, and what it measured of them.
edges = Table(
    "edges",
    metadata,
    Column("id", Text, primary_key=True),
    Column("feature", Text, nullable=False),
    Column("edges", JSON, nullable=False),
)
tiles = Table(
    "tiles",
    metadata,
    Column("object", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("feature", Text, primary_key=True),
    Column("edges", Text, primary_key=True),
    Column("start", DateTime(timezone=True), primary_key=True),
    Column("length", Interval, primary_key=True),
    Column("tile", JSON, nullable=False),
)
frozen = Table(
    "frozen",
    metadata,
    Column("object", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("edges", JSON, nullable=False),
    Column("skipped", JSON, nullable=False),
)
versions = Table(
    "migrations",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("applied", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # whether a client that does not know it can no longer read the catalog
    Column("breaking", Boolean, nullable=False, server_default=text("false")),
)
