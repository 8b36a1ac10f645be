"""Forms of numbers and times that a table keeps as text, and the Ibis that reads each."""

from __future__ import annotations

from attrs import evolve, frozen

from workbench.overview.column_facts import ISO, ISO_DAY
from workbench.portable.text_rewrites import CLOCK, ZONE

MAX_TEXT_CHARACTERS = 60  # characters of a text that has a form
TO_NUMBER, TO_TIME = '.try_cast("float64")', '.cast("timestamp")'
# Numbers have no leading zeros, as codes do.
WHOLE_NUMBER = "(?:0|[1-9][0-9]{0,199})"
EXPONENT = "(?:(?:0|[1-9][0-9]{0,7})[.]?[0-9]{0,40}|[.][0-9]{1,40})[eE][+-]?[0-2]?[0-9]{1,2}"
POINT = f"{WHOLE_NUMBER}(?:[.][0-9]{{0,200}})?|[.][0-9]{{1,40}}|{EXPONENT}"
THOUSANDS = "[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:[.][0-9]{1,200})?"
DOTTED = "[1-9][0-9]{0,2}(?:[.][0-9]{3})+"
COMMA = f"(?:{DOTTED}|{WHOLE_NUMBER}),[0-9]{{1,200}}|{DOTTED}|{WHOLE_NUMBER}"
# Texts in which a comma, or a point, can only be read in one way.
COMMA_ALONE = (
    f"^ *[+-]?(?:(?:{DOTTED}|0),[0-9]+|[0-9]+,(?:[0-9]{{1,2}}|[0-9]{{4,}})|[0-9]{{4,}},[0-9]+) *"
)
POINT_ALONE = (
    f"^ *[+-]?(?:{WHOLE_NUMBER}?[.](?:[0-9]{{1,2}}|[0-9]{{4,}})"
    "|0[.][0-9]+|[1-9][0-9]{3,}[.][0-9]+"
    "|[1-9][0-9]{0,2}(?:,[0-9]{3})+[.][0-9]+) *"
)
MONTH, DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
NO_MONTH = "(?:1[3-9]|2[0-9]|3[01])"
YEAR = "[0-9]{4}"
CLOCKED = CLOCK.removesuffix("?")  # with a clock
OFFSET = f"{ISO_DAY}{CLOCKED} ?[+-][0-9]{{2}}"
LOOSE_DAY, LOOSE = "[0-9]{1,2}(?:st|nd|rd|th)?", "(?:,? [0-9]{1,2}:.*)?"
NAMED = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*[.]?"
WEEKDAY = "(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )"
NO_LINE = (
    "no line of Ibis reads them alike on every engine: have what makes the table make dates or ISO"
    " texts of them, as pandas.read_csv(..., parse_dates=[...]) does"
)
NO_BLANK = '.replace(" +", "+").replace(" -", "-")'


@frozen
class TextForm:
    """A form of number or time in text.

    `pattern` matches it up to the text's end; `then` is the Ibis that reads it, appended to a
    column. `start` is what all texts of the form begin with; texts that begin otherwise are left
    out. `against` is what no text of a column of the form is, as it shows that the others mean
    something else; `proof` is what one of them has to be, where two forms read the same texts.
    """

    said: str
    pattern: str
    then: str
    against: str = ""
    start: str = ""
    proof: str = ""

    @property
    def is_time(self) -> bool:
        """Whether the form is of a time, and not of a number."""
        return not self.then.endswith(TO_NUMBER)


def _numbers(label: str, forms: str, code: str, against: str) -> TextForm:
    return TextForm(label, f"^ *[+-]?(?:{forms}) *", code + TO_NUMBER, against)


def _turned(
    label: str, first: str, second: str, mark: str, months: int, signs: tuple[str, str] = ("", "")
) -> TextForm:
    """Return the form of a day that ends with its year; `months` is where the month is.

    A clock may follow the day.
    """
    line = (
        f'.pipe(lambda t: t.substr(6, 4) + "-" + t.substr({months}, 2) + "-" +'
        f" t.substr({3 - months}, 2) + t.substr(10, 16)){TO_TIME}"
    )
    return TextForm(
        label,
        f"^{first}{mark}{second}{mark}{YEAR}{CLOCK}",
        line,
        signs[0],
        f"^[0-9]{{2}}{mark}[0-9]{{2}}{mark}",
        signs[1],
    )


DAY_FIRST, MONTH_FIRST = f"^{NO_MONTH}/", f"^[0-9]{{2}}/{NO_MONTH}/"
FORMS = (
    _numbers(
        "numbers, a comma between thousands",
        f"{POINT}|{THOUSANDS}",
        '.replace(",", "")',
        COMMA_ALONE,
    ),
    _numbers(
        "numbers with a decimal comma", COMMA, '.replace(".", "").replace(",", ".")', POINT_ALONE
    ),
    TextForm("ISO days or times", ISO, TO_TIME, start="^[0-9]{4}-"),
    TextForm(
        "ISO times in UTC",
        f"{ISO_DAY}{CLOCKED} (?:UTC|GMT)",
        f'.replace(" UTC", "Z").replace(" GMT", "Z"){TO_TIME}',
        start="^[0-9]{4}-",
    ),
    TextForm(
        "ISO times with an offset",
        f"{ISO_DAY}{CLOCKED} {ZONE}",
        NO_BLANK + TO_TIME,
        start="^[0-9]{4}-",
    ),
    TextForm(
        "ISO times with an offset",
        f"{OFFSET}[0-5][0-9]",
        f'{NO_BLANK}.pipe(lambda t: t.replace(t.right(5), t.right(5).left(3) + ":" +'
        f" t.right(2))){TO_TIME}",
        start="^[0-9]{4}-",
    ),
    TextForm(
        "ISO times with an offset",
        OFFSET,
        f'{NO_BLANK}.pipe(lambda t: t + ":00"){TO_TIME}',
        start="^[0-9]{4}-",
    ),
    TextForm(
        "days or times with slashes, the year first",
        f"^{YEAR}/{MONTH}/{DAY}{CLOCK}",
        f'.replace("/", "-"){TO_TIME}',
        start="^[0-9]{4}/",
    ),
    _turned(
        "days or times with slashes, the month first", MONTH, DAY, "/", 0, (DAY_FIRST, MONTH_FIRST)
    ),
    _turned(
        "days or times with slashes, the day first", DAY, MONTH, "/", 3, (MONTH_FIRST, DAY_FIRST)
    ),
    _turned("days or times with dots, the day first", DAY, MONTH, "[.]", 3),
    # These have no Ibis: what reads them alike on every engine is longer than a line.
    TextForm(
        "days or times with slashes", f"^[0-9]{{1,2}}/[0-9]{{1,2}}/(?:[0-9]{{2}}){{1,2}}{LOOSE}", ""
    ),
    TextForm(
        "days or times with the month's name",
        f"^{WEEKDAY}?{NAMED}[ -]{LOOSE_DAY},?[ -]{YEAR}{LOOSE}",
        "",
    ),
    TextForm(
        "days or times with the month's name",
        f"^{WEEKDAY}?{LOOSE_DAY}[ -]{NAMED},?[ -]{YEAR}{LOOSE}",
        "",
    ),
)


PLAIN = evolve(FORMS[0], said="numbers", then=TO_NUMBER)  # of which none has a comma
# Pairs of forms that read one text differently: all rows, not only the first ones, show which of
# the two is meant.
TWINS = {
    a: b
    for one, other in ((FORMS[0], FORMS[1]), (FORMS[8], FORMS[9]))
    for a, b in ((one, other), (other, one))
}
