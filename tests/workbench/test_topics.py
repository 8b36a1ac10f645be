"""What a topic's declaration refuses, in the cell, and what it means."""

from __future__ import annotations

import ibis
import pytest

from workbench import DefinitionError, EventSource, GroupBy, Topic, days, trailing
from workbench.definitions.canonical import canonical, fingerprint
from workbench.online.plan import Plan, TopicPlan
from workbench.serving.online_plans import plan_of

TABLE = ibis.table({"ts": "timestamp", "user": "string", "n": "int64"}, name="events")
ODD = ibis.table({"ts": "timestamp", "m": "map<int64, int64>", "b": "binary"}, name="odd")
AVRO = {
    "type": "record",
    "name": "e",
    "fields": [
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "n", "type": "string"},
    ],
}

REFUSED = [
    ({"format": "jsn"}, "topic t has the format 'jsn', which is unknown: did you mean 'json'"),
    ({"time": "ns"}, "topic t has time='ns', which is unknown"),
    ({"format": "csv"}, "topic t is CSV without fields"),
    ({"format": "csv", "fields": ["a", "a"]}, "topic t names a field twice"),
    ({"format": "avro"}, "topic t is Avro without a schema"),
    ({"fields": ["a"]}, "topic t is json and has fields, which csv alone takes"),
    ({"registry": True}, "topic t is json and has a registry"),
    ({"format": "avro", "schema": "{"}, "the schema of a topic is no JSON"),
    ({"format": "avro", "schema": {"type": "rec"}}, "the schema of topic t is no Avro schema"),
    ({"format": "avro", "schema": '"long"'}, "the schema of topic t is no record"),
]


@pytest.mark.parametrize(("given", "sentence"), REFUSED)
def test_a_topic_that_cannot_be_read_is_refused(given, sentence):
    with pytest.raises(DefinitionError, match=sentence):
        Topic("t", **given)


def test_a_topic_that_lacks_a_column_of_the_table_is_refused_with_its_name():
    with pytest.raises(DefinitionError, match="topic t has no field for user, n of events"):
        EventSource(
            TABLE.filter(TABLE.n > 0), time="ts", topic=Topic("t", format="csv", fields=["ts"])
        )
    with pytest.raises(
        DefinitionError, match="the schema of topic t has no field for user of events"
    ):
        EventSource(TABLE, time="ts", topic=Topic("t", format="avro", schema=AVRO))
    with pytest.raises(DefinitionError, match="has n as string, and events as int64"):
        EventSource(
            ibis.table({"ts": "timestamp", "n": "int64"}, name="events"),
            time="ts",
            topic=Topic("t", format="avro", schema=AVRO),
        )


def test_a_type_that_a_format_cannot_carry_is_refused():
    with pytest.raises(
        DefinitionError,
        match=r"topic t is json, which cannot carry m \(map<int64, int64>\), b \(binary\) of odd",
    ):
        EventSource(ODD, time="ts", topic="t")


def made(topic):
    return GroupBy(
        name="g",
        source=EventSource(TABLE, time="ts", topic=topic),
        keys=["user"],
        aggregations=trailing(days(3), TABLE.n.sum()),
    )


def test_a_plain_name_is_a_topic_with_defaults_and_hashes_as_it_always_did():
    assert made("t") == made(Topic("t"))
    assert '"topic":"t"' in canonical(made(Topic("t")))


def test_what_a_message_is_belongs_to_what_is_published_and_to_no_backfill():
    other = made(Topic("t", format="csv", fields=["ts", "user", "n"]))

    assert fingerprint(made("t")) != fingerprint(other)
    assert fingerprint(made("t"), serving=False) == fingerprint(other, serving=False)


def test_a_plan_keeps_the_topic_through_json():
    plan = plan_of(made(Topic("t", format="csv", fields=["ts", "user", "n"], time="s")))

    assert plan == Plan.loads(plan.dumps())
    assert TopicPlan("t", "csv", ("ts", "user", "n"), None, "s") == plan.group_bys[0].topic
