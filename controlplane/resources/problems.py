"""What is wrong with a document, as a value: where it stands, what it is, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is not in force as it was written."""

    file: str
    line: int
    """Counted from 1; 0 where it concerns the file as a whole."""
    field: str
    """Path of the field, such as `spec.endpoints[0].ip.port`; empty for the whole document."""
    message: str
    advice: str = ""
    object: str = ""
    """`Kind namespace/name` where it is known."""

    @property
    def words(self) -> str:
        """What and what to do, for whoever knows which document: `field: message (advice)`."""
        text = f"{self.field}: {self.message}" if self.field else self.message
        return f"{text} ({self.advice})" if self.advice else text

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (where, self.object, self.words) if part)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "x"?`, or the words there are when none is near."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if not near:  # a difference of case or of separators alone
        plain = {_plain(one): one for one in words}
        near = [plain[_plain(word)]] if _plain(word) in plain else []
    if near:
        return f'did you mean "{near[0]}"?'
    if not words:
        return "there are none: declare it"
    shown = ", ".join(words[:12]) + (", ..." if len(words) > 12 else "")
    return f"there are: {shown}"


def near_name(key: str, known: Iterable[str]) -> str:
    """The same for `namespace/name`: names are compared within the namespace."""
    namespace, _, name = key.partition("/")
    here = [one.partition("/")[2] for one in known if one.startswith(f"{namespace}/")]
    return did_you_mean(name, here)


def _plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")
