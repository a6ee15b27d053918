"""A line per optimizer at the end of the run: how much of torch's database it went through."""

from collections import defaultdict
from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    runs: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for how in ("passed", "failed", "skipped"):
        for report in terminalreporter.getreports(how):
            # A run on several processes hands on the properties of a report and nothing else; a module's has none.
            properties = getattr(report, "user_properties", ())
            for name, kind, which in (value for key, value in properties if key == "peer"):
                runs[name].append((how, kind, which))
    if runs:
        terminalreporter.section("torch's database over the classes of adamas.torch")
    for name, own in sorted(runs.items()):
        inputs = [which for _, kind, which in own if kind == "input"]
        failed, skipped = (sum(how == each for how, *_ in own) for each in ("failed", "skipped"))
        terminalreporter.line(
            f"{name}: {len(set(inputs))} inputs × flags × kinds of parameters = {len(inputs)} runs, "
            f"{sum(kind == 'error' for _, kind, _ in own)} error inputs; {failed} failed, {skipped} skipped"
        )
