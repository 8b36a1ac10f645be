"""Whole numbers in answers over HTTP: one type each, whatever stands beside them."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from workbench.online.http import json_codec

# What makes orjson refuse, or not, to write what is beside the number.
NEIGHBOURS = [{}, {"d": Decimal("1.5")}, {"m": {Decimal("1.5"): 1}}, {"m": {b"a": 1}}, {"n": 2**70}]
NUMBERS = [0, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("beside", NEIGHBOURS, ids=repr)
def test_a_number_of_64_bits_is_a_number_whatever_stands_beside_it(number, beside):
    answer = json.loads(json_codec.dumps({"x": number, "xs": [number], **beside}))

    assert (number, [number]) == (answer["x"], answer["xs"])


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 2**70])
@pytest.mark.parametrize("beside", NEIGHBOURS, ids=repr)
def test_a_larger_number_is_text_whatever_stands_beside_it(number, beside):
    assert str(number) == json.loads(json_codec.dumps({"x": number, **beside}))["x"]
