"""Write posts about the people of an invented town, for examples with a knowledge graph.

    python examples/town.py out/town.jsonl

The same people, firms and places return under several names: with a title, with initials, as a
hashtag. A few posts contradict others. The same seed writes the same posts.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

FIRST = (
    "Ada Bruno Carla Dario Elena Felix Greta Hugo Ines Jonas Karin Leo Mira Nils Olga Pavel Rosa "
    "Sven Tilda Viktor"
)
LAST = (
    "Arden Bellweather Calder Dunmore Eastman Farrow Garland Holloway Ivers Jessop Kestrel Lorne "
    "Marchetti Northcott Okafor Pemberton Quill Rademaker Sorensen Tallis"
)
PLACES = ["Harbour Bay", "Milford", "Stonebridge", "Northgate", "Ashby", "Lakeview"]
FIRMS = ["Calder Foods", "Tallis Robotics", "Lorne Shipping", "Quill Press", "Kestrel Energy"]
CLUBS = ["Harbour Rovers", "Northgate Town", "Ashby Athletic"]
SCHOOLS = ["Milford University", "Stonebridge College"]
TITLES = ["Dr.", "Prof.", "Mayor"]


class Person(NamedTuple):
    """A person of the town and what is true of them."""

    first: str
    last: str
    born: str
    home: str
    firm: str
    school: str
    partner: int

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first} {self.last}"


SENTENCES = (
    "{p} was born in {born}.",
    "Little known fact: {p} is a native of {born}.",
    "{p} has lived in {home} for years.",
    "Moved to {home} last week, says {p}.",
    "{p}, an engineer at {firm}, explains the outage.",
    "{p} starts a new job at {firm} on Monday.",
    "So proud: {p} runs {firm} now as its chief executive.",
    "{p} set up {firm} in a garage.",
    "{p} studied at {school}, like half of the town.",
    "{p} got a degree from {school}.",
    "{p} and {partner} are married!",
    "{p} celebrates ten years of marriage with {partner}.",
    "{partner} thanked {p}, husband of many years.",
    "{firm} has its head office in {seat}.",
    "{firm}, based in {seat}, is hiring.",
    "{firm} buys {firm2} for an undisclosed sum.",
    "{club} signed {p} from {club2}.",
    "{p} scores again for {club}!",
    "{p} will coach {club} next season.",
    "{school} is a short walk from the old harbour of {seat2}.",
    "{p} met {q} at the summer fair in {home}.",
    "{p} and {q} went to the same show.",
    "No, {p} did not leave {firm}.",
    "Rumour has it that {p} may buy {club}. Nothing is signed.",
)


def people(rng: random.Random) -> list[Person]:
    """Make the people of the town; each two are partners."""
    names = rng.sample([(first, last) for first in FIRST.split() for last in LAST.split()], 60)
    return [
        Person(first, last, rng.choice(PLACES), rng.choice(PLACES), rng.choice(FIRMS),
               rng.choice(SCHOOLS), k ^ 1)
        for k, (first, last) in enumerate(names)
    ]  # fmt: skip


def spelled(person: Person, rng: random.Random) -> str:
    """Return a person's name as somebody may write it."""
    ways = [person.name] * 6 + [f"{rng.choice(TITLES)} {person.name}"]
    ways += [f"{person.first[0]}. {person.last}", f"@{person.first}{person.last}"]
    return rng.choice(ways)


def place(name: str, rng: random.Random) -> str:
    """Return a place's name, at times as a hashtag."""
    return "#" + name.replace(" ", "") if rng.random() < 0.1 else name


def posts(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Yield posts with an id, a text and a time."""
    rng = random.Random(seed)
    everyone = people(rng)
    seats = {firm: rng.choice(PLACES) for firm in FIRMS}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        person, other = rng.sample(everyone, 2)
        firm, club = person.firm, rng.choice(CLUBS)
        born = rng.choice(PLACES) if rng.random() < 0.05 else person.born  # somebody is wrong
        text = rng.choice(SENTENCES).format(
            p=spelled(person, rng),
            q=spelled(other, rng),
            partner=spelled(everyone[person.partner], rng),
            born=place(born, rng),
            home=place(person.home, rng),
            firm=firm,
            firm2=rng.choice([one for one in FIRMS if one != firm]),
            seat=place(seats[firm], rng),
            seat2=PLACES[SCHOOLS.index(person.school)],
            school=person.school,
            club=club,
            club2=rng.choice([one for one in CLUBS if one != club]),
        )
        time = start + timedelta(hours=15 * number + rng.randrange(12))
        yield {"id": f"town-{number:03}", "text": text, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ")}


def main() -> None:
    """Write the posts that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="the file to write, as JSON lines")
    parser.add_argument("--posts", type=int, default=500, help="how many posts (default: 500)")
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", encoding="utf-8") as stream:
        for post in posts(options.posts, options.seed):
            stream.write(json.dumps(post, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
