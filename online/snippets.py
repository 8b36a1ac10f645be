"""Lines to copy into a shell, Python or SQL, each of which runs as it stands.

The shell is bash or zsh (on Windows, those of WSL and Git); sh works too where a line has no
hidden character. Hidden characters are written as escapes. StoreError for a NUL, which no line
can carry.
"""

from __future__ import annotations

import json
import keyword
import re
import shlex
import unicodedata
from base64 import b64encode
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit
from uuid import UUID

from workbench.online.errors import StoreError
from workbench.online.legible_text import hidden, short
from workbench.online.sql_text import quote_identifier, quote_literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.online.plan import Plan

SERVICE = "http://127.0.0.1:8000"  # where `workbench serve` listens unless told otherwise
LAST_FOUR_DIGIT_CODE_POINT = 0xFFFF  # the last code point of four hexadecimal digits
MAX_URL_BYTES = 8_000  # bytes of a URL that every client and proxy takes
FETCH_PARAMETERS = frozenset(
    {"keys", "at", "context"}
)  # parameters of `fetch`, which no key can be given by
PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
MODULES: Mapping[str, tuple[type, ...]] = {
    "datetime": (date, time),
    "decimal": (Decimal,),
    "uuid": (UUID,),
}
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
SECRET = re.compile(r"(?i)\b(password|passfile|sslpassword)(\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]*)")
# Words that Postgres takes for its own where a name stands; held against pg_get_keywords().
RESERVED = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit
    boolean both case cast char character check coalesce collate collation column concurrently
    constraint create cross current_catalog current_date current_role current_schema
    current_time current_timestamp current_user dec decimal default deferrable desc distinct do
    else end except exists extract false fetch float for foreign freeze from full grant greatest
    group grouping having ilike in initially inner inout int integer intersect interval into is
    isnull join json json_array json_arrayagg json_exists json_object json_objectagg json_query
    json_scalar json_serialize json_table json_value lateral leading least left like limit
    localtime localtimestamp merge_action national natural nchar none normalize not notnull null
    nullif numeric offset on only or order out outer overlaps overlay placing position precision
    primary real references returning right row select session_user setof similar smallint some
    substring symmetric system_user table tablesample then time timestamp to trailing treat trim
    true union unique user using values varchar variadic verbose when where window with
    xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot
    xmlserialize xmltable
    """.split()
)


def _text_without_nul(value: str) -> str:
    if "\0" in value:
        message = f"{short(value)} has a NUL character, which no line can carry: leave it out"
        raise StoreError(message)
    return value


# --- Python


def python(value: Any) -> str:
    """A value as Python source; times, decimals and UUIDs use modules that `fetch_call` imports."""
    match value:
        case str():
            return '"' + "".join(_python_letter(c) for c in value) + '"'
        case float():
            return repr(value) if value - value == 0 else f'float("{value!r}")'
        case datetime() | date() | time():
            kind = next(t for t in (datetime, date, time) if isinstance(value, t))
            return f"datetime.{kind.__name__}.fromisoformat({python(value.isoformat())})"
        case Decimal():
            return f'decimal.Decimal("{value}")'
        case UUID():
            return f'uuid.UUID("{value}")'
        case dict():
            return f"{{{', '.join(f'{python(k)}: {python(v)}' for k, v in value.items())}}}"
        case list():
            return f"[{', '.join(map(python, value))}]"
        case _:
            return repr(value)


def _python_letter(letter: str) -> str:
    if letter in ESCAPES:
        return ESCAPES[letter]
    if letter.isprintable() and not hidden(letter):
        return letter
    return (
        f"\\U{ord(letter):08x}"
        if ord(letter) > LAST_FOUR_DIGIT_CODE_POINT
        else f"\\u{ord(letter):04x}"
    )


def identifier(name: str) -> bool:
    """Whether a text is a Python identifier that Python's normalisation leaves unchanged."""
    return (
        name.isidentifier()
        and not keyword.iskeyword(name)
        and unicodedata.normalize("NFKC", name) == name
    )


def arguments(given: Mapping[str, str]) -> str:
    """Keyword arguments as source, or `**` and a mapping where a name is no Python identifier.

    >>> arguments({"a": "1"}), arguments({"User ID": "_.a"})
    ('a=1', '**{"User ID": _.a}')
    """
    if all(map(identifier, given)):
        return ", ".join(f"{name}={source}" for name, source in given.items())
    return f"**{{{', '.join(f'{python(name)}: {source}' for name, source in given.items())}}}"


def member(owner: str, name: str, of: type = object) -> str:
    """A column of a table as Python source: an attribute, or an index where `of` has the attribute.

    >>> member("_", "price"), member("t", "User ID")
    ('_.price', 't["User ID"]')
    """
    plain = identifier(name) and not name.startswith("_") and not hasattr(of, name)
    return f"{owner}.{name}" if plain else f"{owner}[{python(name)}]"


def fetch_source(name: str, sources: Mapping[str, str]) -> str:
    """A call of `fetch` as Python source, for an open `store`, with the source of each key."""
    plain = all(map(identifier, sources)) and not FETCH_PARAMETERS & sources.keys()
    call_arguments = (
        arguments(sources)
        if plain
        else f"{{{', '.join(f'{python(k)}: {v}' for k, v in sources.items())}}}"
    )
    return f"fetch(store, {python(name)}, {call_arguments})"


def fetch_call(name: str, keys: Mapping[str, Any]) -> str:
    """A fetch of one key as Python source, with the imports that it needs."""
    needs = [
        f"import {module}; "
        for module, types in MODULES.items()
        if any(isinstance(v, types) for v in keys.values())
    ]
    return "".join(needs) + fetch_source(name, {k: python(v) for k, v in keys.items()})


def variable(name: str) -> str:
    """The definition's name if it is a Python identifier, else `definition`."""
    return name if identifier(name) else "definition"


# --- SQL


def sql_name(name: str) -> str:
    """A name as Postgres SQL, quoted where it must be."""
    if PLAIN.fullmatch(name) and name not in RESERVED:
        return name
    if not any(map(hidden, name)):
        return quote_identifier(name)
    return (
        'U&"'
        + "".join(
            f"\\+{ord(c):06x}" if hidden(c) else {'"': '""', "\\": "\\\\"}.get(c, c)
            for c in _text_without_nul(name)
        )
        + '"'
    )


def sql(value: Any) -> str:
    """A value as a Postgres literal that does not depend on `standard_conforming_strings`."""
    if value is None:
        return "null"
    if isinstance(value, bool | int) or (isinstance(value, float) and value - value == 0):
        return json.dumps(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"E'\\\\x{bytes(value).hex()}'"
    text = _text_without_nul(
        value
        if isinstance(value, str)
        else value.isoformat()
        if isinstance(value, date | time)
        else str(value)
    )
    if "\\" not in text and not any(map(hidden, text)):
        return quote_literal(text)
    return (
        "E'"
        + "".join(
            {"'": "''", "\\": "\\\\", "\n": "\\n"}.get(c)
            or (f"\\U{ord(c):08X}" if hidden(c) else c)
            for c in text
        )
        + "'"
    )


def sql_call(name: str, keys: Mapping[str, Any]) -> str:
    """A fetch of one key as a call of the served name's SQL function."""
    call_arguments = ", ".join(f"{sql_name(k)} => {sql(v)}" for k, v in keys.items())
    return f"select * from features.{sql_name(name)}({call_arguments})"


# --- URLs and the shell


def encoded(value: Any) -> str:
    """A key or context value as text in a URL's query.

    `workbench.online.http.json_codec` reads it back.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return (
        format(value, "f")
        if isinstance(value, Decimal)
        else value.isoformat()
        if isinstance(value, date | time)
        else _text_without_nul(str(value))
    )


def jsonable(value: Any) -> Any:
    """A key or context value as a JSON value."""
    return value if value is None or isinstance(value, bool | int | float) else encoded(value)


def route(plan: Plan) -> str:
    """The URL path of a served name."""
    return f"/v1/{'joins' if plan.kind == 'join' else 'group-bys'}/{quote(plan.name, safe='')}"


def word(text: str) -> str:
    """A text as one quoted word of a shell line, whatever characters it has."""
    if not any(map(hidden, _text_without_nul(text))):
        return shlex.quote(text)
    return (
        "$'"
        + "".join(
            (
                "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogateescape"))
                if hidden(c)
                else {"'": "\\'", "\\": "\\\\"}.get(c, c)
            )
            for c in text
        )
        + "'"
    )


def shell(*words: str) -> str:
    """A shell line of these words, each quoted."""
    return " ".join(map(word, words))


def command(verb: str, *positional: str, **options: str) -> str:
    """A `workbench` command line; `--` keeps words that begin with `-` from being read as options.

    >>> command("rollback", "my join", version="2")
    "workbench rollback --version=2 'my join'"
    """
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    apart = ["--"] if any(p.startswith("-") for p in positional) else []
    return shell("workbench", verb, *flags, *apart, *positional)


def curl(
    plan: Plan, keys: Mapping[str, Any], *, base: str = SERVICE, token: str | None = None
) -> str:
    """A `curl` line that fetches one key; it is a POST where a query cannot carry the key.

    `token` is the name of the shell variable that holds the reader's token.
    """
    query = urlencode({k: encoded(v) for k, v in keys.items()}, quote_via=quote, safe="")
    url = f"{base}{route(plan)}"
    if "at" not in keys and len(url) + len(query) < MAX_URL_BYTES:
        return _curl([f"{url}?{query}"], token)
    return posted(
        plan, {"keys": [{k: jsonable(v) for k, v in keys.items()}]}, base=base, token=token
    )


def posted(plan: Plan, body: Any, *, base: str = SERVICE, token: str | None = None) -> str:
    """A `curl` line that posts a JSON body to a served name's path."""
    return _curl(
        [
            "-H",
            "Content-Type: application/json",
            "--data-raw",
            json.dumps(body),
            f"{base}{route(plan)}",
        ],
        token,
    )


def _curl(words: list[str], token: str | None) -> str:
    bearer = f' -H "Authorization: Bearer ${token}"' if token else ""
    return f"curl{bearer} {shell(*words)}"


def masked(url: str) -> str:
    """A store's or a warehouse's URL without its password."""
    try:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
        netloc = f"{user.partition(':')[0]}:***@{host}" if ":" in user else f"{user}{at}{host}"
        url = urlunsplit(parts._replace(netloc=netloc)) if parts.scheme and parts.netloc else url
    except ValueError:  # no URL that Python reads
        url = re.sub(r"//[^/]*@", "//***@", url)
    return SECRET.sub(r"\1\2***", url)


WRITERS: Mapping[str, Callable[[Plan, Mapping[str, Any]], str]] = {
    "Python": lambda plan, keys: fetch_call(plan.name, keys),
    "SQL": lambda plan, keys: sql_call(plan.name, keys),
    "HTTP": curl,
}
