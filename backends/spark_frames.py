"""Spark's frames and files: types of columns, and one pattern for many paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.lake_formats import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import DataFrame


def path_pattern(files: Sequence[Path]) -> str:
    """Returns one path pattern that only these files match; they lie under one folder."""
    if len(files) == 1:
        return str(files[0])
    root = Path(os.path.commonpath(files))
    return f"{root}/{{{','.join(str(f.relative_to(root)) for f in files)}}}"


def with_nullable_fields(frame: DataFrame) -> DataFrame:
    """Returns the frame with structs whose fields may be null, as in Arrow where the struct may be.

    Otherwise toArrow() refuses them.
    """
    loose = {
        f.name: retyped(f.dataType, nullable=True)
        for f in frame.schema
        if "struct" in f.dataType.simpleString()
    }
    return (
        frame.select(
            [
                (frame[quoted(c)].cast(loose[c]).alias(c) if c in loose else frame[quoted(c)])
                for c in frame.columns
            ]
        )
        if loose
        else frame
    )


def retyped(kind: Any, *, naive: bool = False, nullable: bool = False) -> Any:
    """Returns a Spark type with timestamps without a zone, or with nullable fields of structs."""
    from pyspark.sql import types  # noqa: PLC0415 Spark is an extra

    def retype(inner: Any) -> Any:
        return retyped(inner, naive=naive, nullable=nullable)

    match kind:
        case types.TimestampType() if naive:
            return types.TimestampNTZType()
        case types.ArrayType():
            return types.ArrayType(retype(kind.elementType), nullable or kind.containsNull)
        case types.MapType():
            return types.MapType(
                retype(kind.keyType), retype(kind.valueType), nullable or kind.valueContainsNull
            )
        case types.StructType():
            return types.StructType(
                [
                    types.StructField(f.name, retype(f.dataType), nullable or f.nullable)
                    for f in kind.fields
                ]
            )
        case _:
            return kind
