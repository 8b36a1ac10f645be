"""The protocol of live pages: requests and replies as plain values.

Any other message is refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workbench.html.markup import Markup

VERSION = 1
LARGEST = 16_384  # bytes of a request, and more than any that a page makes
MAX_TEXT_CHARACTERS = 1_000  # characters of a text in it
FIELDS = {"v", "id", "slot", "kind", "params"}
CANCEL = "cancel"
HELLO = "hello"  # a page is there, and asks whether anybody is


class RefusedError(ValueError):
    """An error for a request that is not answered, with the sentence that says why."""


@frozen
class Request:
    """A request of a page: its number, its slot, its kind and its parameters.

    A newer request of a slot replaces an older one.
    """

    id: int
    slot: str
    kind: str
    params: dict[str, Any]


@frozen
class Reply:
    """A reply: new content of parts of the page, by name, and a sentence to be read aloud.

    It also says where the focus goes.
    """

    parts: Mapping[str, Markup] = field(factory=dict)
    say: str = ""
    focus: str = ""


class PageSubject(Protocol):
    """The subject of a page.

    `answer` runs in a worker thread, one request of a slot at a time; it may raise RefusedError.
    """

    kinds: Mapping[str, Mapping[str, type]]

    def page(self) -> Markup:
        """Return the whole page as it is now."""
        ...

    def answer(self, request: Request, push: Callable[[Reply], None]) -> Reply:
        """Return the parts that a request changes; `push` shows some before the whole is done."""
        ...

    def stop(self, slot: str) -> None:
        """Cancel, from another thread, what runs for a slot in the engine, if anything does."""
        ...

    def close(self) -> None:
        """Release what it holds; no request follows."""
        ...


def parsed(content: Any, kinds: Mapping[str, Mapping[str, type]]) -> Request:
    """Parse a message as a request of one of `kinds`, which name the types of their parameters.

    Any parameter may be left out. Raises RefusedError for an unknown kind or parameter, a wrong
    type, an oversized text or message, and for another version.
    """
    if not isinstance(content, dict) or set(content) != FIELDS:
        message = f"a request has exactly the fields {', '.join(sorted(FIELDS))}"
        raise RefusedError(message)
    if content["v"] != VERSION:
        message = (
            f"this kernel speaks version {VERSION} of the page's protocol, and was asked in"
            f" {content['v']!r:.20}: run the cell again"
        )
        raise RefusedError(message)
    if _size(content) > LARGEST:
        message = f"a request has at most {LARGEST:,} bytes"
        raise RefusedError(message)
    number, slot, kind, params = content["id"], content["slot"], content["kind"], content["params"]
    if (
        type(number) is not int
        or number < 1
        or not isinstance(slot, str)
        or not slot.isidentifier()
        or not isinstance(params, dict)
    ):
        message = "a request's id is a positive number, its slot a name, and its params an object"
        raise RefusedError(message)
    if kind in (CANCEL, HELLO):
        return Request(number, slot, kind, {})
    if not isinstance(kind, str) or kind not in kinds:
        message = f"there is no request {kind!r:.40}: this page has {', '.join(sorted(kinds))}"
        raise RefusedError(message)
    return Request(
        number,
        slot,
        kind,
        {name: _parameter(kind, name, value, kinds[kind]) for name, value in params.items()},
    )


def _size(content: dict[str, Any]) -> int:
    try:
        return len(json.dumps(content))
    except (TypeError, ValueError) as error:
        message = f"a request is JSON: {error}"
        raise RefusedError(message) from None


def _parameter(kind: str, name: str, value: Any, parameter_types: Mapping[str, type]) -> Any:
    """Return the value, if the request has such a parameter of such a type. True is no number."""
    if name not in parameter_types:
        message = (
            f"{kind} has no parameter {name!r:.40}: it has"
            f" {', '.join(sorted(parameter_types)) or 'none'}"
        )
        raise RefusedError(message)
    if type(value) is not parameter_types[name]:
        message = f"{kind}'s {name} is no {type(value).__name__}"
        raise RefusedError(message)
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
        message = (
            f"{kind}'s {name} has {len(value):,} characters, and at most {MAX_TEXT_CHARACTERS:,}"
            " are taken"
        )
        raise RefusedError(message)
    return value
