"""HTML from strings: what is not `Html` already is escaped, so nothing that comes from a user becomes markup."""

from collections.abc import Iterable
from html import escape
from typing import Any

_VOID = {"br", "hr", "img", "meta", "link"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def markup(*parts: Any) -> Html:
    """All parts in a row; those that are no `Html` escaped, None left out.

    >>> markup("a < b ", Html("<br>"), None, 3)
    'a &lt; b <br>3'
    """
    return Html("".join(part if isinstance(part, Html) else escape(str(part)) for part in parts if part is not None))


def element(tag: str, *content: Any, **attributes: Any) -> Html:
    """An element; `_` in an attribute's name is -, one behind it is dropped; True stands alone, None is left out.

    >>> element("p", "a < b", element("br"), class_="x", data_k='"', hidden=True, id=None)
    '<p class="x" data-k="&quot;" hidden>a &lt; b<br></p>'
    """
    given = [(k.rstrip("_").replace("_", "-"), v) for k, v in attributes.items() if v is not None]
    told = "".join(f" {k}" if v is True else f' {k}="{escape(str(v))}"' for k, v in given)
    return Html(f"<{tag}{told}>" + ("" if tag in _VOID else f"{markup(*content)}</{tag}>"))


def table(caption: Any, heads: Iterable[Any], rows: Iterable[Iterable[Any]], *, words: bool = False) -> Html:
    """A table that scrolls sideways where it has no room; the first cell of a row is its head.

    Args:
        words: its cells are words, which begin in one line; numbers end in one.
    """
    head = element("thead", element("tr", *(element("th", h, scope="col") for h in heads)))
    body = [
        element("tr", *(element("td", c) if i else element("th", c, scope="row") for i, c in enumerate(row)))
        for row in rows
    ]
    grid = element("table", element("caption", caption), head, element("tbody", *body))
    return element(
        "div", grid, class_="scroll words" if words else "scroll", tabindex=0, role="region", aria_label=caption
    )


def copied(code: str, label: str) -> Html:
    """A listing with a button that copies it."""
    button = element("button", "Copy", type="button", class_="copy")
    status = element("span", class_="status", role="status")
    listing = element("pre", element("code", code), tabindex=0, aria_label=label)
    return element("div", element("div", button, status, class_="bar"), listing, class_="code")
