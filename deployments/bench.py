"""`make bench`: what is measured on this machine, written into docs/benchmarks.md.

Absolutes are reported, since machines differ; only a ratio to a baseline of the same run can fail.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from deployments import bench_cycle, bench_intake, bench_scan
from deployments.bench_result import Result

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BENCHES: dict[str, Callable[[Console], Result]] = {
    "scan": bench_scan.measure,
    "intake": bench_intake.measure,
    "cycle": bench_cycle.measure,
}


def main() -> None:
    """Run the benches that are asked for, or all; end with 1 where a ratio is not kept."""
    parser = argparse.ArgumentParser(prog="python -m deployments.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHES))
    console, names = Console(), parser.parse_args().names or list(BENCHES)
    if unknown := set(names) - set(BENCHES):
        parser.error(f"expected some of {', '.join(BENCHES)}; got {', '.join(sorted(unknown))}")
    failures = [failure for name in names for failure in run(name, console)]
    sys.exit(bool(failures))


def run(name: str, console: Console) -> tuple[str, ...]:
    """Run one, write its part of the page, and say what was measured and what failed."""
    console.rule(name)
    result = BENCHES[name](console)
    PAGE.write_text(with_block(PAGE.read_text(), name, result.text))
    console.print(result.text, markup=False)
    for failure in result.failures:
        console.print(f"FAILED: {failure}", markup=False)
    return result.failures


def with_block(page: str, name: str, text: str) -> str:
    """The page with the text of one bench between its marks.

    Raises:
        ValueError: The page has no such marks.
    """
    begin, end = f"<!-- {name}: written by `make bench` -->\n", f"<!-- /{name} -->"
    head, _, rest = page.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"{PAGE}: expected the marks {begin.strip()} and {end}")
    return f"{head}{begin}{text}\n{end}{tail}"


if __name__ == "__main__":
    main()
