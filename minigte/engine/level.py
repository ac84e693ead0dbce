"""What the engine must know of a processor: how its data is laid out, and what one instruction multiplies.

A *tile* is ``tile_rows`` x ``panel`` numbers that stay in registers while a matrix product runs over its
inner dimension. Everything that is packed, padded or blocked follows these few numbers.

Newer Intel processors have registers for matrices beside those for vectors (AMX): one instruction multiplies
16 rows by 16 columns, of bfloat16 or int8. They read the same panels.
"""

from __future__ import annotations

from typing import NamedTuple

# Of a register of AMX: rows, and bytes of each.
MATRIX_ROWS, MATRIX_BYTES = 16, 64

# Tiles whose rows are computed at a time: so many that in the feed-forward block their F-wide intermediate
# stays in the processor's second cache, and in a product their sums in the first. Any number gives the same
# bits.
BLOCK_TILES = 8


class Level(NamedTuple):
    """One level of a processor family's vector instructions."""

    vectors: str  # the name of its vector instructions, for example "avx512"
    lanes: int  # float32 values in one register
    tile_rows: int  # of a tile: its accumulators, two columns and a broadcast value fit into the registers
    steps_at_once: int  # that a tile's loop takes before it counts and jumps
    bfloat16_dot: bool  # pairs of bfloat16 are multiplied and added by one instruction
    int8_dot: bool  # and quadruples of int8
    matrices: bool  # and whole matrices of both
    float16: bool  # one instruction makes float32 of float16

    @property
    def name(self) -> str:
        """How built kernels and ``MINIGTE_CPU`` call it, for example "avx512-vnni-bf16"."""
        dots = "-vnni" * self.int8_dot + "-bf16" * self.bfloat16_dot
        return self.vectors + dots + "-amx" * self.matrices

    def rows(self, *, narrow: bool) -> int:
        """Rows that are multiplied at a time: of float32, or, ``narrow``, of a type with matrix registers."""
        return 2 * MATRIX_ROWS if narrow and self.matrices else self.tile_rows

    @property
    def block_rows(self) -> int:
        """Rows that a product multiplies by a panel before it finishes them."""
        return BLOCK_TILES * self.tile_rows

    @property
    def panel(self) -> int:
        """Columns of a tile, and of a packed weight's panel."""
        return 2 * self.lanes

    @property
    def int8_group(self) -> int:
        """How many int8 neighbours along the inner dimension lie side by side in a panel."""
        return 4 if self.int8_dot else 2

    @property
    def pad_rows(self) -> int:
        """How many rows after the last one are read, and ignored, when keys are turned into panels."""
        return self.lanes

    def padded(self, size: int) -> int:
        """``size`` rounded up to whole panels: the width of every array that a product reads or writes."""
        return -(-size // self.panel) * self.panel

    def instructions(self, dtype: str) -> str:
        """The instructions that multiply matrices of ``dtype``, for example "avx512 + vnni"."""
        if self.matrices and dtype != "float32":
            return f"{self.vectors} + amx"
        if dtype == "bfloat16":
            return (
                f"{self.vectors} + bf16"
                if self.bfloat16_dot
                else f"{self.vectors}, bfloat16 widened to float32"
            )
        if dtype == "int8":
            return f"{self.vectors} + vnni" if self.int8_dot else f"{self.vectors}, int8 widened to int16"
        return self.vectors


AMX = ("amx-tile", "amx-bf16", "amx-int8")

# What kernels that are built ahead of time may use, by LLVM's names of a processor's features: the levels of
# each family, worst first.
_AVX2 = (
    *("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "avx", "avx2"),
    *("fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"),
)
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_X86_64: tuple[tuple[str, ...], ...] = (
    (),
    _AVX2,
    (*_AVX2, "avxvnni"),
    _AVX512,
    (*_AVX512, "avx512vnni"),
    (*_AVX512, "avx512vnni", "avx512bf16"),
    (*_AVX512, "avx512vnni", "avx512bf16", *AMX),
)
FEATURES = {"x86_64": _X86_64, "aarch64": (("neon",),), "wasm32": (("simd128",),)}


def level_of(triple: str, features: frozenset[str]) -> Level:
    """The level of a processor, from LLVM's name of its family and of its features."""
    lanes = 16 if "avx512f" in features else 8 if "avx" in features else 4
    if triple.startswith(("x86_64", "i686")):
        vectors = {16: "avx512", 8: "avx2" if "avx2" in features else "avx", 4: "sse2"}[lanes]
    else:
        vectors = next((name for name in ("neon", "simd128") if name in features), "generic")
    web = triple.startswith("wasm32")
    return Level(
        vectors=vectors,
        lanes=lanes,
        # On x86-64 a browser keeps one of the 16 registers, and needs one for what multiplies before it adds.
        tile_rows=12 if features & {"avx512f", "neon"} else 5 if web else 6,
        steps_at_once=4 if web else 1,  # LLVM does better for a processor that it knows
        bfloat16_dot={"avx512f", "avx512bf16"} <= features,
        int8_dot={"avx512f", "avx512vnni"} <= features or (lanes == 8 and "avxvnni" in features),
        matrices={"avx512vnni", "avx512bf16", *AMX} <= features,
        float16=bool(features & {"avx512f", "f16c", "neon"}),
    )


def levels_of(machine: str) -> dict[str, frozenset[str]]:
    """The levels that kernels are built for on a family of processors, by name, worst first: its features."""
    return {level_of(machine, frozenset(names)).name: frozenset(names) for names in FEATURES.get(machine, ())}
