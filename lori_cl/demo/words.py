"""The vocabulary that the demo's base model and tasks share."""

NAMES = (
    *("Anna", "Ben", "Carl", "Dora", "Emil", "Fay", "Gus", "Hana"),
    *("Ivo", "Jane", "Lena", "Max", "Nora", "Otto", "Pia", "Tom"),
)
THINGS = (
    *("bag", "ball", "bell", "book", "bottle", "brush", "card", "clock", "coin", "cup", "flag", "glass"),
    *("key", "lamp", "letter", "map", "pen", "photo", "plate", "ring", "rope", "spoon", "stone", "watch"),
)
PLACES = (
    *("attic", "barn", "cellar", "drawer", "garage", "garden"),
    *("hall", "kitchen", "office", "school", "shed", "tower"),
)
INDOORS = ("attic", "cellar", "hall", "kitchen", "office", "school")
OUTDOORS = ("barn", "garage", "garden", "shed", "tower")
COMPARATIVES = ("older", "taller", "faster", "stronger", "younger", "richer")

KINDS_OF_THINGS = {
    "weapon": ("sword", "gun", "dagger", "spear", "cannon", "pistol", "rifle", "bow"),
    "poison": ("arsenic", "venom", "cyanide", "toxin", "hemlock", "mercury", "nightshade", "ricin"),
    "bomb": ("grenade", "rocket", "mine", "missile", "torpedo", "dynamite", "firebomb", "warhead"),
    "trick": ("scam", "fraud", "forgery", "swindle", "bluff", "hoax", "trap", "bribe"),
    "drug": ("opium", "heroin", "cocaine", "crack", "meth", "ecstasy", "speed", "weed"),
    "food": ("bread", "soup", "cake", "salad", "pizza", "cheese", "jam", "pie"),
    "toy": ("kite", "doll", "puzzle", "robot", "drum", "top", "teddy", "yoyo"),
    "plant": ("rose", "oak", "fern", "tulip", "cactus", "daisy", "pine", "lily"),
    "dress": ("coat", "shirt", "scarf", "hat", "glove", "sock", "jacket", "skirt"),
    "tool": ("saw", "drill", "shovel", "ladder", "wrench", "rake", "axe", "file"),
}
"""Things by kind. Rules may forbid the first five kinds."""

HELD_OUT = 2
"""The last things of every kind that are only in the test splits."""

HARMFUL_KINDS = ("weapon", "poison", "bomb", "trick", "drug")


def things_of(kind: str, split: str) -> tuple[str, ...]:
    """Return the things of a kind that a split may mention."""
    things = KINDS_OF_THINGS[kind]
    return things[-HELD_OUT:] if split == "test" else things[:-HELD_OUT]


def plural(thing: str) -> str:
    """Return the plural of a noun."""
    return thing + ("es" if thing.endswith(("s", "sh", "ch")) else "s")
