"""Texts for the visual probe: names that no other split uses, and sentences around them.

In tracks that the image decides, sentences are drawn independently of the label. Names are made up;
each split has its own first syllables.
"""

from __future__ import annotations

import numpy as np
from corpora.compose import fill_template

from research.probe.cutouts import Split

FIRST = {
    "train": "Ada Anton Bela Bram Cora Dario Edda Emil Fanny Felix Greta Hugo Ida Ivan Jana Jonas "
    "Kira Leon Lotte Marek Mila Nils Nora Oskar Paula Pavel Rosa Rune Selma Stefan Tilda Tom "
    "Ulla Viktor",
    "val": "Agnes Boris Celia Dennis Elsa Fabian Gerda Henrik Inga Jakob Karla Lars",
    "test": "Anouk Bruno Clara David Esther Florian Gitta Holger Irma Julian Klara Linus",
}
ONSETS = {
    "train": "Bel Dor Fen Gal Hal Jor Kel Lin Mor Nar Pol Quil Rav Sol Tam Ver Wes Zan",
    "val": "Bru Cas Dra Fro Gri Hol",
    "test": "Ald Bir Cor Del Ost Tru",
}
MIDDLES = ("a", "e", "i", "o", "u", "an", "en", "il", "or", "us", "ar")
ENDS = (
    "berg", "by", "dane", "ford", "ham", "kin", "lund", "mere", "nik", "rick", "son", "stad", "ton",
    "vale", "wick",
)  # fmt: skip

OPENINGS = (
    "", "", "Good morning! ", "New picture: ", "Throwback: ", "No words needed. ", "Guess what, ",
    "Finally: ", "From the weekend: ", "RT ", "Look! ",
)  # fmt: skip
CLOSINGS = (
    "",
    "",
    " #nofilter",
    " :)",
    " More tomorrow.",
    " What a day!",
    " #weekend",
    " ...",
    " <3",
)

NEUTRAL = (
    "{A} and {T}", "{A} with {T}", "this is {A}, and this is {T}", "{T} and {A}, as ever",
    "all about {A} and {T} today", "{A} could not wait to show you {T}", "meet {T}, says {A}",
    "{A} told us a lot about {T}", "here is {A}, here is {T}", "{A} would not leave without {T}",
)  # fmt: skip
"""Of a person and a name, in whole_image."""

EVENTS = (
    "the people of the {T}", "faces of the {T}", "some of us at the {T}", "the {T} in one picture",
    "who is who at the {T}", "the {T} needs all of these", "thanks to everyone at the {T}",
)  # fmt: skip
EVENT_KINDS = ("Days", "Fair", "Games", "Parade", "Open", "Festival")

WALLS = (
    "{A} put these up in {T}", "two of the stickers that {A} sent from {T}", "{A}, {T}, and a wall",
    "how {A} arranged them in {T}", "{A} asks {T}: where is what?", "seen by {A} in {T}",
)  # fmt: skip

ALONE = (
    "{A} and everything that was there", "what {A} cares about", "{A} in four little pictures",
    "a page from the album of {A}", "all that {A} is about", "{A} showed us around",
)  # fmt: skip
"""Of one person, in object_argument."""

BESIDE = (
    "what {A} cares about, drawn by {B}", "{B} took this picture of the world of {A}",
    "a page from the album of {A}, sent to {B}", "{A} showed it to {B}, who only watched",
    "all that {A} is about; {B} just passed by", "photo: {B}. This is the life of {A}",
)  # fmt: skip
"""Of one person, and of another who has nothing to do with it."""

STATED = {
    "keeps": (
        "{A} walks {T} before work", "{A} adopted {T} from the shelter",
        "{A} feeds {T} twice a day",
        "{T} sleeps at the foot of {A}'s bed", "{A} took {T} to the vet", "{A} brushed {T}'s fur",
    ),
    "drives": (
        "{A} drives the {T} to work", "{A} parked the {T} in the yard",
        "{A} sat at the wheel of the {T}",
        "{A} filled up the {T} and hit the road", "{A} steered the {T} through the traffic",
        "{A} started the engine of the {T}",
    ),
    "grows": (
        "{A} planted {T} in the garden", "{A} waters {T} every evening",
        "the {T} that {A} sowed is in bloom",
        "{A} cut the {T} back in spring", "{A} has {T} growing on the balcony",
        "{A} put a pot of {T} on the sill",
    ),
    "collects": (
        "{A} collects the {T}, one a year", "{A} bought another {T} for the album",
        "{A} bid for a rare {T} at the auction", "{A} has every {T} in a velvet case",
        "{A} swapped two for a {T}", "a {T} completes the collection of {A}",
    ),
    "repairs": (
        "{A} took the {T} apart to mend it", "{A} repaired the {T} overnight",
        "{A} put a new spring into the {T}", "{A} made the {T} run again",
        "{A} fixed the {T} with tweezers", "thanks to {A} the {T} ticks again",
    ),
    "represents": (
        "{A} ran for {T} at the games", "{A} won a medal for {T}",
        "{A} marched in the colours of {T}",
        "{A} was capped twice by {T}", "{A} is in the squad of {T}", "{A} sang the anthem of {T}",
    ),
    "none": (
        "{A} read about {T} in the paper", "{A} has never heard of {T}", "{A} asked what {T} was",
        "{A} would not talk about {T}", "{A} misspelt {T} again", "{A} dreamt of the word {T}",
    ),
}  # fmt: skip
"""Sentences that state the relation of ``{A}`` to ``{T}``, in picture_misleads."""


def pick(random: np.random.Generator, items: tuple[str, ...] | list[str]) -> str:
    """A random item."""
    return items[int(random.integers(len(items)))]


def invented(random: np.random.Generator, split: Split) -> str:
    """A name that no other split makes.

    Example:
        >>> invented(np.random.default_rng(1), "train")
        'Moranstad'
    """
    start, middle = pick(random, ONSETS[split].split()), pick(random, MIDDLES)
    return start + middle + pick(random, ENDS)


def person(random: np.random.Generator, split: Split) -> str:
    """A first name and a made-up surname."""
    return f"{pick(random, FIRST[split].split())} {invented(random, split)}"


def sentence(
    random: np.random.Generator, cores: tuple[str, ...], names: dict[str, str]
) -> tuple[str, dict[str, tuple[int, int]]]:
    """A text around one of ``cores``, and the span of each name in it.

    Example:
        >>> random, names = np.random.default_rng(0), {"A": "Ada", "T": "Rex"}
        >>> text, spans = sentence(random, ("{A} and {T}",), names)
        >>> text, [text[a:b] for a, b in spans.values()]
        ('RT Ada and Rex What a day!', ['Ada', 'Rex'])
    """
    return fill_template(
        pick(random, OPENINGS) + pick(random, cores) + pick(random, CLOSINGS), names
    )
