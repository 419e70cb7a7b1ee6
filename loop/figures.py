"""How figures are written for people: shares, durations, sizes, tables that read well as text."""

from collections.abc import Sequence
from datetime import UTC, datetime

from loop.values import Json

BLOCKS = "▁▂▃▄▅▆▇█"
SIZES = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def percent(share: float) -> str:
    """A share with one decimal.

    >>> percent(0.978)
    '97.8%'
    """
    return f"{share:.1%}"


def at_most(share: float) -> str:
    """An upper bound of a share.

    >>> at_most(0.0645)
    '≤ 6.5%'
    """
    return f"≤ {percent(share)}"


def duration(seconds: float) -> str:
    """A stretch of time in its two largest units.

    >>> [duration(s) for s in (0.4, 75, 3600, 90_000)]
    ['0.4 s', '1 min 15 s', '1 h 0 min', '1 d 1 h']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    left, parts = round(seconds), list[str]()
    for length, unit in UNITS:
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def size(count: int) -> str:
    """A number of bytes in decimal units, as disks and downloads are sold.

    >>> [size(n) for n in (512, 1_234_567, 2_400_000_000)]
    ['512 B', '1.2 MB', '2.4 GB']
    """
    unit, length = next((pair for pair in SIZES if count >= pair[1]), ("B", 1))
    return f"{count / length:.1f} {unit}" if length > 1 else f"{count} B"


def moment(at: datetime) -> str:
    """A moment in UTC, to the minute.

    >>> moment(datetime(2026, 11, 3, 9, 5, 59, tzinfo=UTC))
    '2026-11-03 09:05 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "label"), counted(0, "label")
    ('1 label', '0 labels')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def figure(value: Json) -> str:
    """Any measured value: three significant digits, thousands apart.

    >>> figure(41.523), figure(0.1204), figure(1234567), figure("cpu")
    ('41.5', '0.12', '1,234,567', 'cpu')
    """
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """A curve in one line of text; longer ones are thinned out, up to the last value.

    >>> sparkline([3.0, 2.0, 1.0, 1.0])
    '█▅▁▁'
    """
    if not values:
        return ""
    shown = values[:: -max(1, -(-len(values) // width))][::-1]
    low, span = min(shown), (max(shown) - min(shown)) or 1.0
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1))] for value in shown)


def code(text: str) -> str:
    """Text that Markdown must not read, a model's words for one.

    >>> code("a `b`|c")
    "`a 'b'|c`"
    """
    return f"`{text.replace('`', chr(39))}`" if text else ""


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A Markdown table whose columns line up as plain text, too; figures stand on the right.

    >>> print(table(("cause", "n"), [("clock_unsynced", "12"), ("a|b", "3")]))
    | cause          |  n |
    | -------------- | -: |
    | clock_unsynced | 12 |
    | a\|b           |  3 |
    """
    cells = [[_cell(text) for text in row] for row in (heading, *rows)]
    widths = [max(2, *map(len, column)) for column in zip(*cells, strict=True)]
    right = [_of_figures(column[1:]) for column in zip(*cells, strict=True)]
    ruler = [
        "-" * (width - 1) + ":" if side else "-" * width
        for width, side in zip(widths, right, strict=True)
    ]
    return "\n".join(_line(row, widths, right) for row in (cells[0], ruler, *cells[1:]))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _of_figures(column: Sequence[str]) -> bool:
    """Whether most of the filled cells begin as a number does."""
    filled = [text for text in column if text not in ("", "-")]
    return sum(text.lstrip("≤≥ -")[:1].isdigit() for text in filled) > len(filled) / 2


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = (
        text.rjust(width) if side else text.ljust(width)
        for text, width, side in zip(row, widths, right, strict=True)
    )
    return f"| {' | '.join(cells)} |"
