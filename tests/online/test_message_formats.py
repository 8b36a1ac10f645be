"""A format of messages is one row of a table that says all there is to say of it."""

import inspect
from dataclasses import fields
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest

from workbench.definitions.topics import Topic
from workbench.errors import DefinitionError
from workbench.online import EXTRAS
from workbench.online.messages.encoder import as_told
from workbench.online.messages.message_formats import FORMATS, SETTINGS, MessageFormat

AVRO = {
    "type": "record",
    "name": "Sale",
    "fields": [
        {"name": "user_id", "type": "string"},
        {
            "name": "amt",
            "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9}],
        },
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    ],
}
AVRO["fields"][1]["type"][1]["scale"] = 2
# One topic of each format, with what it must say: a new format needs one here too.
EXAMPLES = {
    "json": {},
    "csv": {"fields": ["user_id", "amt", "day"]},
    "avro": {"schema": AVRO},
}
SOURCE = {"user_id": "string", "amt": "decimal(9, 2)", "day": "date"}
ROWS = pa.table(
    {
        "user_id": ["5", "ü,\"\t'"],
        "amt": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
        "day": [date(2026, 12, 1), date(1969, 1, 1)],
    }
)
each_format = pytest.mark.parametrize("format_", FORMATS)


def test_all_tables_of_formats_have_the_same_keys():
    names = {f.name for f in fields(MessageFormat)}

    assert FORMATS.keys() == EXAMPLES.keys()
    assert all(names == vars(row).keys() for row in FORMATS.values())
    assert SETTINGS.keys() == {s for row in FORMATS.values() for s in row.settings}
    assert {row.requires for row in FORMATS.values()} - {None} <= EXTRAS.keys()


@each_format
def test_rows_of_every_format_come_back_as_they_were_sent(format_):
    topic = Topic("sales", format=format_, **EXAMPLES[format_]).plan

    assert ROWS == as_told(topic, SOURCE, ROWS)


@each_format
def test_every_format_is_named_where_a_topic_is_declared(format_):
    assert f'`"{format_}"`' in inspect.getdoc(Topic)


@each_format
def test_a_setting_of_another_format_is_refused(format_):
    for setting in SETTINGS.keys() - FORMATS[format_].settings:
        given = {"fields": ["a"], "schema": AVRO, "registry": True, "envelope": "debezium"}

        with pytest.raises(DefinitionError, match=f"topic t is {format_} and has .* alone take"):
            Topic(
                "t",
                format=format_,
                **EXAMPLES[format_],
                **{setting: given.get(setting, "insensitive")},
            )
