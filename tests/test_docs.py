"""The docs run: every Python block of the Markdown pages, and every doctest of the package."""

import doctest
import importlib
import io
import linecache
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import adamas

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    p for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")), ROOT / "CONTRIBUTING.md") if p.exists()
]
#: What may stand after a fence; only Python is run.
LANGUAGES = {"python", "text", "sh", "toml"}


@dataclass(frozen=True)
class Block:
    """What stands between two fences; ``line`` is the number of its first line."""

    language: str
    line: int
    text: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    opened: tuple[str, int] | None = None
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not line.startswith("```"):
            if opened:
                inside.append(line)
        elif opened is None:
            opened, inside = (line[3:].strip(), number + 1), []
        else:
            assert not line[3:].strip(), f"line {number}: the fence of line {opened[1] - 1} was not closed"
            found.append(Block(*opened, "".join(inside)))
            opened = None
    assert opened is None, f"the fence of line {opened[1] - 1} is not closed"
    return found


def run(name: str, text: str) -> ModuleType:
    """Run the Python blocks of a page, one after the other, in one module; those with ``>>>`` as doctests."""
    module = ModuleType(re.sub(r"\W", "_", name))
    sys.modules[module.__name__] = module
    python = [block for block in blocks(text) if block.language == "python"]
    # Tracebacks show the page's lines, and rules find their source, through linecache: the page with its
    # prose left blank, so that the numbers of the lines stay.
    lines = ["\n"] * (text.count("\n") + 1)
    for block in python:
        inside = block.text.splitlines(keepends=True)
        lines[block.line - 1 : block.line - 1 + len(inside)] = inside
    for block in python:
        _keep(name, lines)  # once a block: doctest and others may empty the cache
        if block.text.lstrip().startswith(">>>"):
            _doctest(name, block, vars(module))
        else:
            code = compile("\n" * (block.line - 1) + block.text, name, "exec", dont_inherit=True)
            exec(code, vars(module))
    return module


def _keep(name: str, lines: list[str]) -> None:
    linecache.cache[name] = (sum(map(len, lines)), None, lines, name)


def _doctest(name: str, block: Block, space: dict[str, object]) -> None:
    test = doctest.DocTestParser().get_doctest(block.text, space, name, name, block.line - 1)
    test.globs = space  # not a copy: the next block goes on from here
    for i, example in enumerate(test.examples):
        _keep(f"<doctest {name}[{i}]>", example.source.splitlines(keepends=True))
    _passes(test, clear_globs=False)


def _passes(test: doctest.DocTest, clear_globs: bool = True) -> None:
    report = io.StringIO()
    failed, _ = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF | doctest.ELLIPSIS).run(
        test, out=report.write, clear_globs=clear_globs
    )
    if failed:
        pytest.fail(report.getvalue(), pytrace=False)


def modules() -> list[str]:
    """Every module of the package but `__main__`, whose import starts the program; nothing is imported."""
    package = Path(adamas.__file__).parent
    parts = [path.relative_to(package.parent).with_suffix("").parts for path in package.rglob("*.py")]
    names = (".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts if p[-1] != "__main__")
    return sorted(names)


@pytest.fixture(autouse=True)
def _same_rules() -> Iterator[None]:
    """Rules that an example registers are gone after it."""
    registry = sys.modules["adamas.registry"]._REGISTRY
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what an example writes, it writes there
    name = str(page.relative_to(ROOT))
    if re.search(r"^(import|from) (torch|adamas\.torch)\b", page.read_text(), re.M):
        pytest.importorskip("torch")
    run(name, page.read_text())


@pytest.mark.parametrize("name", modules())
def test_doctests(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] == "adamas":
            raise
        pytest.skip(f"{name} needs {missing.name}")
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        _passes(test)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_page_is_whole(page: Path) -> None:
    """Fences say what they hold, so that none is left out of the run by a slip; links lead somewhere."""
    text = page.read_text()
    for block in blocks(text):
        assert block.language in LANGUAGES, f"line {block.line}: a fence says {block.language!r}, not {LANGUAGES}"
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_changelog_names_the_version() -> None:
    versions = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == adamas.__version__


def table(text: str, header: str) -> dict[str, list[str]]:
    """The rows of the table whose first column is called ``header``, by their first cell."""
    lines = text[text.index(f"| {header} |") :].split("\n\n")[0].splitlines()[2:]
    # A bar inside a cell is written \|
    rows = [[c.strip().replace(r"\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0].strip("`"): row[1:] for row in rows}


def _defined(name: str) -> list[adamas.Rule]:
    """The rules of a module of adamas.rules: the library's own, whatever other tests have registered."""
    if not name.startswith("adamas.rules."):
        return []
    return [thing for thing in vars(importlib.import_module(name)).values() if isinstance(thing, adamas.Rule)]


def test_table_of_rules_is_true() -> None:
    """docs/rules.md names every rule, with its states, and the defaults that the rules have."""
    from adamas.registry import OPTIONS

    page = (ROOT / "docs" / "rules.md").read_text()
    rows, options = table(page, "rule"), table(page, "option")
    shared = {"weight_decay", "decoupled"}  # what a rule may set anew, and then says so in its row
    known = adamas.rules()
    library = [r.name for name in modules() for r in _defined(name) if known[r.name] is r]
    assert len(set(library)) >= 15
    for name in library:
        rule = known[name]
        assert name in rows, f"docs/rules.md has no row for {name}"
        _, states, defaults = rows[name]
        told = eval(f"dict({defaults.strip('`')})", {})
        own = {k: v for k, v in rule.defaults.items() if k not in OPTIONS or (k in shared and v != OPTIONS[k])}
        assert told == own, name
        assert tuple(re.findall(r"`(\w+)`", states)) == rule.states(), name
    assert set(rows) == set(library)
    assert {k: eval(v[0].strip("`")) for k, v in options.items()} == dict(OPTIONS)


# -- the runner itself -----------------------------------------------------------------------------------

RULE = """prose

```python
import adamas

@adamas.rule
def told(g, *, lr=1e-3):
    return lr * g
```

```python
>>> told.name
'told'
>>> @adamas.rule
... def shown(g, *, lr=1e-3):
...     return lr * g
>>> x = shown.name
```

```python
assert x == "shown"
```
"""


def test_blocks_share_names_and_rules_have_a_source() -> None:
    assert run("page.md", RULE).x == "shown"


def test_a_failing_block_says_where() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run("page.md", "prose\n\n```python\n1 / 0\n```\n")
    assert (caught.traceback[-1].lineno, str(caught.traceback[-1].statement)) == (3, "1 / 0")


def test_a_failing_doctest_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"page.md.*line 4"):
        run("page.md", "prose\n\n```python\n>>> 1 + 1\n3\n```\n")


@pytest.mark.parametrize("text", ["```python\n1\n", "```python\n```python\n```\n"])
def test_an_open_fence_is_refused(text: str) -> None:
    with pytest.raises(AssertionError, match="not closed"):
        blocks(text)
