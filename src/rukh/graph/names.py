"""Names of entities: their words, and the rules by which two names mean the same entity."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from rukh.arguments.label_map import LABELS, normalize_label, type_of_words
from rukh.errors import MissingDependency

try:
    from rapidfuzz.distance import OSA
except ImportError:
    raise MissingDependency("rapidfuzz", "graph") from None


def _word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


MIN_SPELLING = 0.85
"""Minimum similarity of two words with one spelling mistake; research/entity_resolution sets it."""

Rule = Literal["same name", "handle", "initials", "short name", "acronym", "spelling", "alias"]
"""Why two names are one entity, from the safest to the least safe, but for ``alias``."""

TITLES = _word_set(
    "mr mrs ms miss mx dr prof professor sir dame lord lady rev reverend fr father sister brother "
    "pastor rabbi imam president chancellor minister senator sen congressman congresswoman rep "
    "representative governor gov mayor councillor judge justice captain capt colonel col general "
    "gen major sergeant sgt lieutenant lt admiral commander officer detective inspector coach ceo "
    "chairman chairwoman director secretary ambassador engineer nurse"
)
"""Words that may stand before a person's name."""
GENERIC = TITLES | _word_set(
    "i me my we us our you your he him his she her it its they them their who someone everyone"
)
"""Words that name nobody by themselves."""
LEGAL_FORMS = _word_set(
    "inc incorporated ltd limited llc llp corp corporation co company plc gmbh ag sa nv bv oy ab "
    "spa srl kg pty fc afc cf"
)
"""Words that may stand after an organization's name."""
ABBREVIATIONS = {
    "univ": "university",
    "dept": "department",
    "inst": "institute",
    "intl": "international",
    "assn": "association",
    "govt": "government",
    "natl": "national",
    "mt": "mount",
    "bros": "brothers",
}
MONTHS = {
    month[:3]: month
    for month in _word_set(
        "january february march april june july august september october november december"
    )
}
LETTERS = str.maketrans(
    {"\u0142": "l", "\u00f8": "o", "\u0111": "d", "\u00e6": "ae", "\u0153": "oe"}
)
"""Letters that Unicode does not decompose into a letter and an accent: Polish l, Danish o, ..."""
PARTICLES = _word_set("van von der den de di da del della du la le bin ibn al el ten ter")
"""Words that may stand at the start of a last name."""
GENDER = dict.fromkeys(("mr", "sir", "lord", "brother", "congressman", "chairman"), "m") | (
    dict.fromkeys(("mrs", "ms", "miss", "dame", "lady", "sister", "chairwoman"), "f")
)
"""The gender that a title tells."""
SMALL_WORDS = _word_set("of the and for in on at to a an de la le du des der die das und von")
"""Words whose initials an acronym may leave out."""
DISTINCTIVE = _word_set(
    "north south east west northern southern eastern western upper lower inner outer old new great "
    "jr sr junior senior i ii iii iv v vi vii viii ix x women men womens mens ladies girls boys "
    "youth academy reserves first second third one two three"
)
"""Words that tell apart what otherwise has the same name."""


@dataclass(frozen=True)
class Name:
    """A name as it stands in a text, with the entity's type, such as ``PER``, or None if unknown.

    Example:
        >>> Name("Dr. Ann Lee's", "PER").words, Name("#NewYork", "LOC").words
        (('ann', 'lee'), ('new', 'york'))
    """

    text: str
    type: str | None = None

    @cached_property
    def kind(self) -> str | None:
        """The tagger's type that stands for this type, see :func:`broad_type`."""
        return broad_type(self.type)

    @cached_property
    def handle(self) -> bool:
        """Whether this is a hashtag or the name of an account, such as @AnnLee or AnnLee."""
        if self.kind == "PER" and re.fullmatch(r"(?:[A-Z][a-z]+){2,}", self.text):
            return True
        return len(self.text) > 1 and self.text[0] in "@#" and not re.search(r"\s", self.text)

    @cached_property
    def generic(self) -> bool:
        """Whether this names nobody outside of its post: a title alone, or a pronoun."""
        return self.kind in ("PER", None) and GENERIC.issuperset(self.words)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words without case, accents, punctuation, articles, titles and legal forms."""
        return _words(self.text, self.kind, self.handle)

    @cached_property
    def gender(self) -> str | None:
        """The gender that a title tells, or None."""
        title = re.match(r"\w+", self.text.casefold())
        return GENDER.get(title[0]) if title and self.kind == "PER" else None

    @property
    def letters(self) -> str:
        """The words without spaces, as in a hashtag."""
        return "".join(self.words)

    @cached_property
    def acronym(self) -> str | None:
        """The letters of a name that may be an acronym, or None."""
        text = self.text.lstrip("#@").replace(".", "")
        fits = re.fullmatch(r"[A-Z][A-Za-z]{0,4}[A-Z]", text)  # such as UoL
        return text.casefold() if fits else None


@lru_cache(maxsize=100_000)
def _words(text: str, kind: str | None, handle: bool) -> tuple[str, ...]:
    text = unicodedata.normalize("NFKC", text).strip()
    if handle and text[0] in "@#":
        text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text[1:])
    text = re.sub(r"'s$|'$", "", text.replace("\u2019", "'").casefold()).translate(LETTERS)
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    # The initials of a person stand apart; those of U.S.A. are a word.
    text = re.sub(r"\.", " " if kind == "PER" else "", text)
    text = re.sub("['`]", "", re.sub("[&+]", " and ", text))
    words = re.sub(r"[\W_]+", " ", text).split() or [text.strip() or "?"]
    if len(words) > 1 and words[0] == "the":
        del words[0]
    if kind == "PER":
        while len(words) > 1 and words[0] in TITLES:
            del words[0]
        return tuple(words)
    if kind == "TIME":
        return tuple(MONTHS.get(word, word) for word in words)
    if kind == "ORG":
        while len(words) > 1 and words[-1] in LEGAL_FORMS:
            del words[-1]
    if len(words) > 1 and words[0] == "st":
        words[0] = "saint"
    return tuple(ABBREVIATIONS.get(word, word) for word in words)


@lru_cache(maxsize=10_000)
def broad_type(type_: str | None) -> str | None:
    """Return the tagger's type that a type means, such as ``ORG`` for ``company``.

    A type of a schema's own that no known word describes is returned without case.

    Example:
        >>> [broad_type(name) for name in ("GPE", "FootballClub", "Zorb", None)]
        ['LOC', 'ORG', 'zorb', None]
    """
    if type_ is None:
        return None
    label = normalize_label(type_)
    return label if label in LABELS else type_of_words(type_) or type_.casefold()


def compatible(one: str | None, two: str | None) -> bool:
    """Whether one entity may have both of these types, as :func:`broad_type` returns them.

    Example:
        >>> compatible("PER", None), compatible("MISC", "WORK"), compatible("PER", "LOC")
        (True, True, False)
    """
    if one is None or two is None or one == two:
        return True
    return "MISC" in (one, two) and not {one, two}.isdisjoint({"EVENT", "WORK", "PRODUCT"})


def same_person_by_initials(one: Sequence[str], two: Sequence[str]) -> bool:
    """Whether a person's name is another with initials for given names, or without middle ones.

    Example:
        >>> marsh = ("julia", "r", "marsh")
        >>> [same_person_by_initials(name.split(), marsh) for name in ("j marsh", "jo marsh")]
        [True, False]
    """
    if min(len(one), len(two)) < 2 or one[-1] != two[-1] or len(one[-1]) < 2:
        return False
    short, long = sorted((list(one[:-1]), list(two[:-1])), key=len)
    if not _same_given(short[0], long[0]):
        return False
    if len(short) == len(long):
        return all(map(_same_given, short, long))
    # Only initials may be missing: Anna Maria Costa need not be Anna Costa.
    return len(short) == 1 and all(len(middle) == 1 for middle in long[1:])


def _same_given(one: str, two: str) -> bool:
    return one == two or (1 in (len(one), len(two)) and one[0] == two[0])


def is_short_name(short: Name, full: Name) -> bool:
    """Whether a name is only the first or the last name of a person.

    Example:
        >>> full = Name("Ms. Ina van der Berg", "PER")
        >>> [is_short_name(Name(text, "PER"), full) for text in ("Ina", "van der Berg", "Mr. Berg")]
        [True, True, False]
    """
    words, size = short.words, len(short.words)
    if not (short.kind == full.kind == "PER") or size >= len(full.words) or short.letters == "":
        return False
    if {short.gender, full.gender} == {"m", "f"}:
        return False
    last = words == full.words[-size:] and PARTICLES.issuperset(words[:-1])
    return len(short.letters) > 1 and (last or words == full.words[:1])


def is_acronym(short: Name, full: Name) -> bool:
    """Whether a name consists of the initials of another.

    Example:
        >>> office = Name("Office of Maritime Safety", "ORG")
        >>> [is_acronym(Name(text, "ORG"), office) for text in ("OMS", "O.O.M.S.", "OSM")]
        [True, True, False]
    """
    if short.acronym is None or short.kind == "PER" or not compatible(short.kind, full.kind):
        return False
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", full.text).casefold())
    large = [word for word in words if word not in SMALL_WORDS]
    return len(large) > 1 and short.acronym in {
        "".join(word[0] for word in some) for some in (words, large, full.words)
    }


def misspelt(one: Name, two: Name, threshold: float = MIN_SPELLING) -> bool:
    """Whether two names differ by one letter too many, missing, wrong or swapped, in one long word.

    Names of people must differ by a doubled or swapped letter: other small differences make other
    names (Peterson, Petersen). Words that start or end differently, and numbers, are different.
    """
    if one.kind != two.kind or one.kind in (None, "TIME", "NUM"):
        return False
    if len(one.words) != len(two.words):
        return False
    differing = [(a, b) for a, b in zip(one.words, two.words, strict=True) if a != b]
    if len(differing) != 1:
        return False
    ((a, b),) = differing
    if not (a.isalpha() and b.isalpha()) or (a[0], a[-1]) != (b[0], b[-1]) or {a, b} & DISTINCTIVE:
        return False
    if OSA.distance(a, b) > 1 or OSA.normalized_similarity(a, b) < threshold:
        return False
    return one.kind != "PER" or _slip(a, b)


def _slip(one: str, two: str) -> bool:
    """Whether two words differ by one doubled letter, or by two adjacent letters swapped."""
    doubled = re.sub(r"(.)\1", r"\1", one) == re.sub(r"(.)\1", r"\1", two)
    return doubled or sorted(one) == sorted(two)


def spelling_keys(name: Name) -> Iterator[tuple[object, ...]]:
    """Yield keys, of which two names share at least one if they are :func:`misspelt`.

    These are the names without one letter of one word.
    """
    if name.kind is None:
        return
    for place, word in enumerate(name.words):
        if word.isalpha():
            rest = (name.kind, *name.words[:place], None, *name.words[place + 1 :])
            # A long enough word of two that differ in length has at least four letters.
            if len(word) >= 4:
                yield from {(*rest, word[:i] + word[i + 1 :]) for i in range(1, len(word) - 1)}
                yield (*rest, word)
