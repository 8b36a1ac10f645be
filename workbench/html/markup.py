"""HTML strings for notebook outputs: everything escaped, one stylesheet, no external resource."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from workbench.online.legible_text import lines, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

INNER = re.compile(r"([^{}]+){")
CLASS = re.compile(r"\.([a-zA-Z][\w-]*)")
CLASS_ATTRIBUTE = re.compile(r'class="([^"]*)"')
BOXES = frozenset({"div", "header", "li", "summary"})
INLINE = ("</span>", "</b>", "</code>", "</a>", "</small>")
# attributes that people read, or hear; others are values
READ_ATTRIBUTES = frozenset(
    {"aria_label", "title", "aria_valuetext", "label", "placeholder", "alt"}
)
HOST = frozenset({"jp-OutputArea-child", "light", "dark"})  # of JupyterLab's page, and of marimo's


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def text(value: Any) -> Markup:
    """Return a value as HTML text, in which only line ends are invisible."""
    return value if isinstance(value, Markup) else Markup(escape(lines(str(value)), quote=False))


def join(parts: Any, between: str = "") -> Markup:
    """Join several pieces to one."""
    return Markup(between.join(text(p) for p in parts))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Write one element; `class_` is `class`, `aria_label` `aria-label`; `None` is left out.

    >>> tag("b", "a < b", class_="x")
    '<b class="x">a &lt; b</b>'
    """
    if name == "pre":
        # a region that scrolls needs the focus, to be scrolled by keys
        attributes.setdefault("tabindex", "0")
    attribute_text = "".join(f" {attribute(k, v)}" for k, v in attributes.items() if v is not None)
    content = _apart(children) if name in BOXES else join(children)
    return Markup(f"<{name}{attribute_text}>{content}</{name}>")


def _apart(children: Any) -> Markup:
    """Join pieces of HTML, with a blank between words of two inline elements.

    Without the stylesheet's gaps, as in copied text, the words would run together.
    """
    pieces: list[str] = []
    for piece in map(text, children):
        if pieces and piece.startswith("<") and pieces[-1].endswith(INLINE):
            pieces.append(" ")
        if piece:
            pieces.append(piece)
    return Markup("".join(pieces))


def attribute(name: str, value: Any) -> str:
    """Write one attribute; a value of many double quotes, such as JSON, goes into single ones.

    That is shorter.

    >>> print(attribute("data_params", '{"page": 2}'))
    data-params='{"page": 2}'
    """
    escaped_text = escape(
        visible(str(value)) if name in READ_ATTRIBUTES else str(value), quote=False
    )
    mark, entity = (
        ("'", "&#x27;") if escaped_text.count('"') > escaped_text.count("'") else ('"', "&quot;")
    )
    return f"{name.rstrip('_').replace('_', '-')}={mark}{escaped_text.replace(mark, entity)}{mark}"


def row(
    cells: Any, cell: str = "td", classes: dict[int, str] | None = None, **attributes: Any
) -> Markup:
    """Write a table row; `classes` names the class of some cells by position.

    A head that says nothing is no head.
    """
    named = classes or {}
    kinds = (
        ("td", None) if cell == "th" and c == "" else (cell, "col" if cell == "th" else None)
        for c in cells
    )
    return tag(
        "tr",
        *(
            tag(kind, c, class_=named.get(i), scope=scope)
            for i, (c, (kind, scope)) in enumerate(zip(cells, kinds, strict=True))
        ),
        **attributes,
    )


def scrolled(*children: Any, **attributes: Any) -> Markup:
    """Put what may be wider than its output into a region that scrolls and that keys reach."""
    return tag("div", *children, class_="scroll", tabindex="0", **attributes)


@cache
def _rules() -> tuple[tuple[str, tuple[frozenset[str], ...]], ...]:
    """Return the stylesheet's rules, each with the classes of each of its selectors."""
    css = files("workbench").joinpath("html", "style.css").read_text("utf-8")
    lines = (line.strip() for line in css.splitlines() if line and not line.startswith("/*"))
    return tuple((rule, _selected(rule)) for rule in _split("".join(lines)))


def _split(css: str) -> Iterator[str]:
    """Yield the stylesheet rule by rule; what is within a condition stays together."""
    start = depth = 0
    for i, letter in enumerate(css):
        depth += (letter == "{") - (letter == "}")
        if letter == "}" and not depth:
            yield css[start : i + 1]
            start = i + 1


def _selected(rule: str) -> tuple[frozenset[str], ...]:
    heads = (
        INNER.findall(rule.partition("{")[2])
        if rule.startswith("@container")
        else [rule.partition("{")[0]]
    )
    return tuple(
        frozenset(CLASS.findall(selector)) - {"fw"}
        for head in heads
        for selector in head.split(",")
    )


def stylesheet(content: str | None = None) -> Markup:
    """Return the tokens and components of every output, scoped to `.fw`.

    With a content that does not change, only those that it uses.
    """
    used = (
        None
        if content is None
        else {c for names in CLASS_ATTRIBUTE.findall(content) for c in names.split()} | HOST
    )
    return Markup(
        f"""<style>{
            "".join(
                rule
                for rule, selectors in _rules()
                if used is None or any(not classes or classes & used for classes in selectors)
            )
        }</style>"""
    )


def section(*children: Any, label: str, static: bool = False, **attributes: Any) -> Markup:
    """Draw a whole output: stylesheet and content; JupyterLab's shortcuts ignore its keys.

    One that is `static` gives way to the live one that is displayed after it, for as long as that
    is there.
    """
    content = join(children)
    style = stylesheet() if "data_slot" in attributes and not static else stylesheet(content)
    return tag(
        "section",
        style,
        content,
        class_="fw fw-page" if static else "fw",
        data_lm_suppress_shortcuts="true",
        aria_label=label,
        **attributes,
    )
