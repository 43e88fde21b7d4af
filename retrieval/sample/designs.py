"""Designs of invented product packagings: names, colours, pictures and layouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

Box = tuple[float, float, float, float]
Card = TypeVar("Card")

_BRANDS = """
Northwind Tarnwick Ollenby Quillmoor Brindlecoast Vessaly Harrowfen Mirrelow Pindlehay Sundrake
Kestrelby Oakhollin Zephandra Lumbrel Fennimoss Calderwyn Bramblequay Tidewillow Wexmarrow
Eldergrain Nimbusk Yarrowlee Dapplewick Gorsewold
"""

# Product, motif and form.
_PRODUCTS = """
Oat-Flakes ear box; Orange-Juice citrus carton; Sardines fish tin; Ground-Coffee bean bag;
Honey flower jar; Sparkling-Water drop bottle; Cat-Treats paw pouch; Butter-Cookies cookie box;
Tomato-Soup tomato tin; Green-Tea leaf teabox; Blueberry-Jam berries jar; Sun-Lotion sun flask;
Alpine-Milk peak carton; Hot-Sauce chilli bottle; Soap-Flakes bubbles box;
Berry-Yoghurt berries tub; Lemonade citrus can; Dark-Chocolate bean bar;
Mushroom-Broth mushroom sachet; Dish-Soap bubbles flask; Potato-Crisps sun canister;
Rye-Crackers ear teabox; Herb-Salt leaf canister; Dog-Biscuits paw bag; Cream-Cheese cheese tub;
Cold-Brew cup can; Rose-Cream flower tube; Chilli-Beans chilli tin; Olive-Oil leaf bottle;
Wheat-Flour ear bag; Star-Puffs star box; Tuna-Salad fish tub; Mint-Gum leaf bar;
Room-Spray flower spray; Cocoa-Powder cup canister; Ketchup tomato flask; Tooth-Gel drop tube;
Hazel-Spread cookie jar; Ginger-Beer star can; Camomile flower sachet;
Furniture-Wax bubbles spray; Cheese-Bites cheese pouch; Dried-Apricots sun pouch;
Soy-Drink drop carton; Pasta-Shells ear pouch; Iced-Tea citrus bottle; Muesli-Bar berries bar;
Pickled-Ceps mushroom jar
"""

# Ground, second colour, accent and paper.
_PALETTES = """
1b4332 40916c f4a261 fefae0; 9d0208 d00000 ffba08 fff3e0; 023e8a 0096c7 ffd166 f1faee;
ffb703 fb8500 023047 fffdf5; f8edeb fec5bb b5179e ffffff; 2b2d42 8d99ae ef233c edf2f4;
606c38 a3b18a bc6c25 fefae0; 5a189a 9d4edd ffea00 f8f0ff; ffffff cfe8ff 0353a4 f4faff;
d4a373 e9c46a 7f4f24 faedcd; 0b0b0d 3a3a3c d4af37 f5f1e3; ff5d8f ff97b7 06d6a0 fff0f3;
00b4a6 7fe0d6 ff6b35 f7fff7; 6f1d1b 99582a ffe6a7 fff8e7; d7f171 8ac926 6a4c93 ffffff;
e8e8e4 b7b7a4 6b705c ffffff; ff6d00 ffab40 4a148c fff8e1; 264653 2a9d8f e9c46a fdf6e3;
c1121f fdf0d5 003049 fdf0d5; bde0fe a2d2ff ff7096 ffffff; 3d0066 240046 ff9e00 fbeaff;
4e342e 8d6e63 80cbc4 efebe9; f72585 7209b7 4cc9f0 ffffff; e63946 ffffff 1d3557 f1faee;
386641 f2e8cf bc4749 f2e8cf
"""

# Blobs in a 100 x 100 square, back to front: colour, centre, radii[, lobes, their depth, degrees].
MOTIFS = {
    "bean": "4a2511 36 42 30 20 0 0 -35;8a5a35 36 42 26 3 2 .1 -35;5c3317 64 62 30 20 0 0 25;"
    "a06a3f 64 62 26 3 2 .1 25",
    "berries": "2d6a2f 60 16 24 9 0 0 -25;3a0ca3 32 42 20 20;4361ee 66 40 20 20;480ca8 48 68 21 21;"
    "3f37c9 80 66 16 16;c0c8ff 27 36 5 5;c0c8ff 61 34 5 5;c0c8ff 43 61 5 5;c0c8ff 76 61 4 4",
    "bubbles": "48bfe3 38 60 32 32;d9f6ff 38 60 26 26;ffffff 28 50 7 10 0 0 30;64dfdf 72 34 20 20;"
    "e3fffd 72 34 16 16;ffffff 66 28 4 6 0 0 30;72a7ff 78 76 13 13;e5efff 78 76 10 10",
    "cheese": "e09f00 50 55 38 40 3 .22 -90;ffca3a 50 53 35 36 3 .22 -90;d99100 44 64 8 8;"
    "d99100 62 68 6 6;d99100 53 44 5 5;d99100 30 70 4 4",
    "chilli": "c1121f 42 58 40 13 1 .25 -38;ff4d4d 40 52 26 4 0 0 -38;2d6a2f 76 30 12 8 0 0 -50;"
    "2d6a2f 83 18 4 12 0 0 20",
    "citrus": "e85d04 50 50 45 45;fff1d0 50 50 39 39;ff9500 50 50 31 31 8 .2 0;fff1d0 50 50 5 5;"
    "38b000 84 16 18 8 0 0 -40",
    "cookie": "8a5a2b 50 50 44 44 11 .03 0;c98d4b 50 49 40 40 11 .03 0;4a2511 34 38 7 6;"
    "4a2511 62 32 6 7;4a2511 68 60 7 7;4a2511 44 66 6 6;4a2511 50 48 4 4;4a2511 27 58 4 4",
    "cup": "6c584c 72 54 17 17;fefae0 72 54 10 10;6c584c 45 56 32 28 4 -.14 45;3d1f0d 45 38 26 8;"
    "bfae9f 36 16 3 12 0 0 20;bfae9f 52 14 3 12 0 0 -20;a98467 50 90 44 6",
    "drop": "0077b6 50 38 26 20 3 .24 -90;0077b6 50 62 31 31;48cae4 50 64 25 25;"
    "e0fbfc 39 66 5 12 0 0 -20",
    "ear": "b08900 50 62 3 36;dda15e 50 14 7 13;e9c46a 35 30 7 14 0 0 -35;e9c46a 65 30 7 14 0 0 35;"
    "dda15e 34 48 7 14 0 0 -35;dda15e 66 48 7 14 0 0 35;e9c46a 34 66 7 14 0 0 -35;"
    "e9c46a 66 66 7 14 0 0 35",
    "fish": "1d4e89 82 50 16 20 3 .25 0;2a6f97 44 50 38 21;a9d6e5 42 57 32 11;ffffff 22 45 6 6;"
    "012a4a 22 45 3 3;1d4e89 50 34 16 6 0 0 15",
    "flower": "2d6a2f 50 82 3 16;40916c 64 84 13 5 0 0 -25;ff70a6 50 42 30 30 6 .28 0;"
    "ffc6dd 50 42 19 19 6 .28 30;ffbe0b 50 42 10 10",
    "leaf": "386641 40 54 40 17 2 .12 -50;6a994e 40 54 33 12 2 .12 -50;f2e8cf 38 56 34 1.5 0 0 -50;"
    "52796f 70 40 28 11 2 .12 -75;95c47f 70 40 22 7 2 .12 -75",
    "mushroom": "f2e3cf 50 68 14 24 4 -.1 45;9c2c13 50 40 44 27;f7e1d7 34 36 7 5;"
    "f7e1d7 56 26 6 4;f7e1d7 66 42 7 5;d9c2a7 50 54 26 5",
    "paw": "5e3a1e 50 66 26 22 3 .12 -90;5e3a1e 18 42 9 13 0 0 -20;5e3a1e 38 24 10 14 0 0 -6;"
    "5e3a1e 62 24 10 14 0 0 6;5e3a1e 82 42 9 13 0 0 20",
    "peak": "3d5a80 34 64 34 36 3 .24 -90;293f5e 66 58 34 42 3 .24 -90;ffffff 66 27 10 11 3 .2 -90;"
    "ffffff 34 40 8 9 3 .2 -90;98c1d9 50 92 48 6",
    "star": "d00000 50 52 38 38 5 .3 -90;ffba08 50 52 28 28 5 .3 -90;fff3b0 50 52 12 12 5 .3 -90",
    "sun": "f48c06 50 50 38 38 14 .18 0;ffba08 50 50 28 28;fff3b0 42 42 9 9",
    "tomato": "ae2012 50 56 40 36 5 .03 0;e63946 47 53 34 30 5 .03 0;ff9a9e 34 42 8 6 0 0 -30;"
    "2d6a2f 50 22 18 10 5 .4 -90",
}


@dataclass(frozen=True)
class Layout:
    """Where things stand on a front, as boxes in fractions of its width and height.

    Attributes:
        panels: plain areas on the pattern: shape, box and index into the palette, back to front.
        brand: the box of the brand's name.
        product: the box of the product's name.
        motif: the box of the picture.
    """

    panels: tuple[tuple[Literal["ellipse", "rectangle"], Box, int], ...]
    brand: Box
    product: Box
    motif: Box


LAYOUTS = {
    "badge": Layout(
        (("ellipse", (0.05, 0.1, 0.95, 0.66), 2), ("ellipse", (0.08, 0.12, 0.92, 0.64), 3)),
        brand=(0.28, 0.18, 0.72, 0.25),
        product=(0.17, 0.28, 0.83, 0.55),
        motif=(0.25, 0.6, 0.75, 0.97),
    ),
    "band": Layout(
        (("rectangle", (0, 0.36, 1, 0.68), 3), ("rectangle", (0, 0.66, 1, 0.68), 2)),
        brand=(0.15, 0.385, 0.85, 0.435),
        product=(0.07, 0.46, 0.93, 0.64),
        motif=(0.2, 0.02, 0.8, 0.36),
    ),
    "header": Layout(
        (("rectangle", (0, 0, 1, 0.45), 0), ("rectangle", (0, 0.44, 1, 0.47), 2)),
        brand=(0.1, 0.06, 0.75, 0.12),
        product=(0.1, 0.16, 0.9, 0.41),
        motif=(0.16, 0.5, 0.84, 0.96),
    ),
    "frame": Layout(
        (("rectangle", (0.08, 0.07, 0.92, 0.93), 2), ("rectangle", (0.11, 0.09, 0.89, 0.91), 3)),
        brand=(0.2, 0.13, 0.8, 0.19),
        product=(0.17, 0.6, 0.83, 0.86),
        motif=(0.2, 0.22, 0.8, 0.57),
    ),
    "column": Layout(
        (
            ("rectangle", (0, 0, 0.4, 1), 3),
            ("rectangle", (0.4, 0, 0.43, 1), 2),
            ("rectangle", (0.43, 0.06, 1, 0.17), 2),
        ),
        brand=(0.47, 0.08, 0.97, 0.15),
        product=(0.06, 0.05, 0.34, 0.95),
        motif=(0.45, 0.4, 0.98, 0.95),
    ),
    "footer": Layout(
        (("ellipse", (0.08, 0.03, 0.92, 0.6), 3), ("rectangle", (0, 0.62, 1, 1), 2)),
        brand=(0.2, 0.65, 0.8, 0.71),
        product=(0.07, 0.74, 0.93, 0.95),
        motif=(0.2, 0.08, 0.8, 0.55),
    ),
    "shield": Layout(
        (("rectangle", (0.15, 0, 0.85, 0.6), 2), ("ellipse", (0.15, 0.45, 0.85, 0.75), 2)),
        brand=(0.22, 0.04, 0.78, 0.1),
        product=(0.2, 0.14, 0.8, 0.38),
        motif=(0.25, 0.4, 0.75, 0.73),
    ),
}


_PATTERNS = """
rays dots waves plain stripes rings checks hills chevrons diamonds blocks tiles pinstripes
"""


@dataclass(frozen=True)
class Packaging:
    """A design: all there is to know to draw one invented product packaging.

    Attributes:
        name: brand and product, such as `Northwind-Oat-Flakes`; fit for a folder name and a label.
        form: the kind of packaging, such as `box`, `can` or `pouch`.
        stretch: how many times as wide as usual that form is.
        motif: the picture printed on it.
        palette: `#rrggbb` of the ground, the second colour, the accent and the paper.
        pattern: what covers the ground.
        repeats: how often the pattern repeats over the short side.
        angle: by how many degrees the pattern is turned.
        layout: where name and motif stand.
        weight: how bold the lettering is, in pixels of stroke at a letter height of 64.
        slant: how far the lettering leans over, as a share of its height.
        capitals: whether the product's name is set in capitals.
    """

    name: str
    form: str
    stretch: float
    motif: str
    palette: tuple[str, str, str, str]
    pattern: str
    repeats: int
    angle: int
    layout: str
    weight: int
    slant: float
    capitals: bool


def packagings(count: int = 40, *, seed: int = 0) -> tuple[Packaging, ...]:
    """Invent packagings with distinct names.

    A smaller count gives the beginning of a larger one. Colours, patterns and layouts are dealt out
    in rounds of coprime lengths, so that two packagings share hardly ever more than one of them.

    Args:
        count: how many, at most the number of brands times the number of products (1152).
        seed: not negative; another one invents others.

    Returns:
        `count` designs.

    Raises:
        ValueError: the count is below 1 or above the maximum.
    """
    brands = _BRANDS.split()
    products = [row.split() for row in _PRODUCTS.split(";")]
    palettes = [row.split() for row in _PALETTES.split(";")]
    most = len(brands) * len(products)
    if not 1 <= count <= most:
        raise ValueError(f"count must be within 1..{most}, not {count}")
    rng = np.random.default_rng(seed)

    def shuffled(cards: list[Card]) -> list[Card]:
        return [cards[place] for place in rng.permutation(len(cards))]

    brands, products, palettes = shuffled(brands), shuffled(products), shuffled(palettes)
    patterns, layouts = shuffled(_PATTERNS.split()), shuffled(list(LAYOUTS))
    invented = []
    for i in range(count):
        lap, place = divmod(i, len(products))
        product, motif, form = products[place]
        ground, second, accent, paper = (f"#{colour}" for colour in palettes[i % len(palettes)])
        invented.append(
            Packaging(
                # The lap shifts the brand, so that a product never meets the same brand twice.
                name=f"{brands[(place + lap) % len(brands)]}-{product}",
                form=form,
                stretch=float(rng.choice((0.8, 0.9, 1.0, 1.12, 1.25))),
                motif=motif,
                palette=(ground, second, accent, paper),
                pattern=patterns[i % len(patterns)],
                repeats=int(rng.integers(3, 8)),
                angle=int(rng.choice((0, 0, 45, 90, -30))),
                layout=layouts[i % len(layouts)],
                weight=int(rng.integers(4)),
                slant=float(rng.choice((0.0, 0.0, 0.2))),
                capitals=bool(rng.integers(2)),
            )
        )
    return tuple(invented)
