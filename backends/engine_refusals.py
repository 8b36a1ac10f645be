"""Reasons of an engine's errors: one line of what its driver raised."""

from __future__ import annotations

import re

MAX_REASON_CHARACTERS = 300  # characters of a reason
# What drivers add: Java's frames and Py4J's heading, Python's of an executor, SQLAlchemy's link.
NOISE = re.compile(
    r"^\s*(at [\w.$]+\(.*|An error occurred while calling .*|Traceback \(most recent call last\):"
    r"|File \".*|\(Background on this error.*|\[SQL:.*|\^+|~+\^*~*|LINE \d+:.*|== SQL.*)$"
)
SPARK = re.compile(r"\[[A-Z][A-Z0-9_.]+\][^\n]*")  # Spark's own class of an error, and its sentence
JAVA = re.compile(r"^:?\s*([a-z]\w*\.)+[A-Z]\w*(Exception|Error): ")
# The reason of a task's failure comes after this.
STAGE = re.compile(r"Lost task \S+ in stage \S+ \(TID \d+\) \([^)\n]*\): ")
FRAMES = re.compile(r"^(java|javax|org|scala|py4j)\.")  # packages of Java's errors, not of Python's
WORKER = re.compile(r"^\w+(\.\w+)*(Error|Exception): .+$", re.MULTILINE)  # of Python in an executor


class EngineError(RuntimeError):
    """An engine could not run a definition. The message says why; `sql` is the failed statement."""

    def __init__(self, message: str, sql: str | None = None) -> None:
        super().__init__(message)
        self._sql = sql

    @property
    def sql(self) -> str | None:
        """The SQL that failed, formatted; None where none was sent."""
        cause = self.__cause__
        return cause.sql if self._sql is None and isinstance(cause, EngineError) else self._sql


def reason(error: BaseException) -> str:
    r"""Returns the first line of an error that says something, cut to 300 characters.

    >>> reason(ValueError("Conversion Error: no number\n\nLINE 1: select x\n       ^"))
    'Conversion Error: no number'
    """
    text = str(error)
    if lost := [*STAGE.finditer(text)]:
        text = text[lost[-1].end() :]
    spark = SPARK.search(text)
    plain = (line for line in text.splitlines() if line.strip() and not NOISE.match(line))
    reason_text = _of_worker(text) or (spark[0] if spark else next(plain, type(error).__name__))
    sentence = JAVA.sub("", reason_text.strip())
    return (
        sentence
        if len(sentence) <= MAX_REASON_CHARACTERS
        else f"{sentence[: MAX_REASON_CHARACTERS - 3]}..."
    )


def _of_worker(text: str) -> str | None:
    """Returns what Python raised in an executor: the last such line before Java's frames."""
    if "Python worker" not in text:
        return None
    worker_lines = [m[0] for m in WORKER.finditer(text) if not FRAMES.match(m[0])]
    return worker_lines[-1] if worker_lines else None
