"""Words for the 80 things that COCO's annotators marked: the list of protocol `chair/own-2`, and how it is read.

Every thing has its name and the words under which captions mention it. A word that means something else in some company
(`bear` in `teddy bear`, `toilet` in `toilet paper`) is settled by the longest match, `OF` and `NOT`. A change of a word
is a new number of the protocol.
"""

from __future__ import annotations

import re

TABLE = """\
person: people, man, men, woman, women, boy, girl, child, children, kid, baby, toddler, lady, guy, guys, player, \
skier, surfer, skateboarder, snowboarder, rider, cyclist, biker, pedestrian, crowd, adult, teenager, chef, batter, \
pitcher, catcher, umpire, passenger, couple, family, bride, groom, officer, policeman, worker
bicycle: bike
car: sedan, suv, taxi, cab, minivan, automobile, hatchback
motorcycle: motorbike, motor bike, motor cycle, dirt bike, moped, scooter
airplane: plane, aeroplane, aircraft, jet, airliner, jetliner
bus: minibus
train: locomotive, tram
truck: lorry, pickup, firetruck
boat: ship, sailboat, canoe, kayak, ferry, yacht, rowboat
traffic light: stoplight, traffic signal
fire hydrant: hydrant
stop sign
parking meter
bench
bird: pigeon, seagull, gull, duck, goose, geese, parrot, owl, swan, eagle, sparrow
cat: kitten, kitty
dog: puppy, puppies
horse: pony, ponies, foal
sheep: lamb, ewe
cow: cattle, bull, calf, calves, ox, oxen
elephant
bear
zebra
giraffe
backpack: rucksack, knapsack
umbrella: parasol
handbag: purse
tie: necktie, bow tie
suitcase: luggage, briefcase
frisbee
skis: ski
snowboard
sports ball: ball, baseball ball, soccer ball, tennis ball, basketball, football
kite
baseball bat: bat
baseball glove: catcher's mitt, mitt
skateboard
surfboard
tennis racket: racket, racquet, tennis racquet
bottle
wine glass: wineglass, wine glasses
cup: mug
fork
knife: knives
spoon
bowl
banana
apple
sandwich: burger, hamburger
orange
broccoli
carrot
hot dog: hotdog
pizza
donut: doughnut
cake: cupcake
chair: stool, armchair
couch: sofa, loveseat
potted plant: houseplant
bed
dining table: table, desk
toilet
tv: television, monitor
laptop: notebook computer
mouse: computer mouse
remote: remote control
keyboard
cell phone: cellphone, phone, smartphone, mobile phone
microwave
oven: stove
toaster
sink: basin
refrigerator: fridge
book
clock
vase
scissors
teddy bear: teddy, stuffed animal, stuffed bear, toy bear
hair drier: hair dryer, hairdryer, blow dryer
toothbrush
"""
"""A line per thing: its name in COCO, and further words."""

WORDS: dict[str, tuple[str, ...]] = {
    name: tuple(word.strip() for word in words.split(",") if word.strip())
    for name, _, words in (line.partition(":") for line in TABLE.splitlines())
}

NOT = (
    "toilet paper", "train station", "train track", "train tracks", "bus stop", "bus station", "car park", "boat house",
    "hot air balloon", "table tennis", "table cloth", "bird house", "dog house", "cat food", "dog food", "orange color",
    "orange colour", "bow and arrow", "person's", "fire truck driver", "sink hole", "book shelf", "clock tower face",
    "orange juice", "apple juice", "carrot cake", "bed room", "banana leaf", "phone booth", "wine bottle opener",
)  # fmt: skip
"""Phrases that hold a word of the list and mention no such thing; they are passed over."""

OF = {
    "baby": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "adult": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "passenger": ("car", "airplane", "bus", "train", "boat"),
}
"""Words that say of which kind a thing is, and are no person before these: in `baby elephant` there is no baby."""

_TOKEN = re.compile(r"[a-z]+(?:['’][a-z]+)?")


def _plural(word: str) -> str:
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else f"{word}s"


def _table() -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    for name, words in WORDS.items():
        for word in (name, *words):
            parts = tuple(word.split())
            for last in (parts[-1], _plural(parts[-1])):
                found.setdefault((*parts[:-1], last), name)
    for word, names in OF.items():
        found |= {(word, *parts): name for parts, name in found.items() if name in names}
    for phrase in NOT:
        found[tuple(phrase.split())] = ""
    return found


_PHRASES = _table()
_LONGEST = max(len(phrase) for phrase in _PHRASES)


def mentioned(text: str) -> set[str]:
    """Things of COCO's list that a caption mentions, each once; the longest phrase at a place counts.

    Args:
        text: A caption in English.
    Returns:
        Names of COCO's categories.
    """
    tokens = _TOKEN.findall(text.lower())
    found: set[str] = set()
    at = 0
    while at < len(tokens):
        for length in range(min(_LONGEST, len(tokens) - at), 0, -1):
            name = _PHRASES.get(tuple(tokens[at : at + length]))
            if name is not None:
                found.add(name)
                at += length
                break
        else:
            at += 1
    return found - {""}
