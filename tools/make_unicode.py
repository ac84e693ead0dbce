"""Write minigte/page/site/unicode.js: what the tokenizers library does with each character of Unicode.

    python tools/make_unicode.py

Its tables are older than those of browsers, which differ among themselves too; so they are asked of the
library, character by character, and not left to JavaScript's classes of characters and toLowerCase.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import normalizers, pre_tokenizers

SITE = Path(__file__).parent.parent / "minigte" / "page" / "site"
POINTS = [point for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
HEAD = """// What the tokenizers library does with each character, written by tools/make_unicode.py.

// Of each kind of code points the edges: from which on one is in, is out, is in again, each as the distance
// from the edge before, in base 36.
export const RANGES = {
"""


def normalizer(name: str) -> normalizers.BertNormalizer:
    """One step of BERT's normalizer."""
    steps = dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False)
    return normalizers.BertNormalizer(**{**steps, name: True})


def edges(points: Iterable[int]) -> str:
    """The points as RANGES says."""
    inside = set(points)
    found = [p for p in range(sys.maxunicode + 2) if (p in inside) != (p - 1 in inside)]
    return " ".join(base36(b - a) for a, b in zip([0, *found], found, strict=False))


def base36(number: int) -> str:
    """As JavaScript's parseInt(text, 36) reads it."""
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def runs(pairs: dict[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """(first, how many, step, to where) of points that are moved alike."""
    left = dict(pairs)
    while left:
        first = min(left)
        shift = left[first] - first
        step = max((1, 2), key=lambda step: len(list(_run(left, first, step, shift))))
        points = list(_run(left, first, step, shift))
        for point in points:
            del left[point]
        yield first, len(points), step, shift


def _run(left: dict[int, int], point: int, step: int, shift: int) -> Iterator[int]:
    while left.get(point) == point + shift:
        yield point
        point += step


def main() -> None:
    """Ask, and write."""
    clean, chinese, accents, lower = map(
        normalizer, ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    )
    split = pre_tokenizers.BertPreTokenizer()
    kinds: dict[str, list[int]] = {
        name: [] for name in ("removed", "blank", "chinese", "nonspacing", "split", "punctuation")
    }
    moved, special = {}, {}
    for point in POINTS:
        character = chr(point)
        cleaned = clean.normalize_str(character)
        if cleaned != character:
            kinds["blank" if cleaned == " " else "removed"].append(point)
        if chinese.normalize_str(character) != character:
            kinds["chinese"].append(point)
        if accents.normalize_str(character) == "":
            kinds["nonspacing"].append(point)
        words = [word for word, _ in split.pre_tokenize_str(f"a{character}b")]
        if len(words) > 1:
            kinds["split" if len(words) == 2 else "punctuation"].append(point)
        lowered = lower.normalize_str(character)
        if lowered != character:
            if len(lowered) == 1:
                moved[point] = ord(lowered)
            else:
                special[character] = lowered
    lines = [f'  {kind}:\n    "{edges(points)}",\n' for kind, points in kinds.items()]
    lines += ["};\n\n// Lower case: [a code point, how many, one in how many, how far they move].\n"]
    lines += ["export const LOWER_RUNS = [\n"]
    lines += [f"  [{first}, {count}, {step}, {shift}],\n" for first, count, step, shift in runs(moved)]
    lines += ["];\n\nexport const LOWER_LONG = {\n"]
    lines += [f"  {character!a}: {lowered!a},\n" for character, lowered in special.items()]
    lines += ["};\n"]
    (SITE / "unicode.js").write_text(HEAD + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
