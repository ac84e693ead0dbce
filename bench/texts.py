"""The real texts the benchmark runs on, cut into the units of work that one round measures.

Nothing here is timed. Every peer gets the same texts, in the same order, in the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent

SENTENCES = 1000
DOCUMENTS = 256
# One round measures a fifth of the documents: every fifth one in order of length, so that each part
# has the length distribution of the whole, and five rounds cover all of them.
DOCUMENT_PARTS = 5
MIX = {"sentences": 192, "documents": 16, "queries": 48}
CALIBRATION = 150  # sentences, and as many documents, that no workload contains
SWEEP_LENGTHS = (8, 16, 32, 64, 128, 256, 512)
SWEEP_TOKENS = 4096
SEED = 20240229


@dataclass(frozen=True)
class Workload:
    """Texts that are measured together.

    ``parts[r % len(parts)]`` holds the indices into ``Corpus.texts`` that round r encodes; ``single`` says
    that they are encoded one call a text, for the latency, rather than all in one call.
    """

    name: str
    parts: list[list[int]]
    single: bool = False

    def part(self, round_number: int) -> list[int]:
        """The texts of one round."""
        return self.parts[round_number % len(self.parts)]


@dataclass(frozen=True)
class Corpus:
    """All measured texts with their token counts, and the workloads over them."""

    texts: list[str]
    tokens: list[int]  # real tokens of each text with [CLS] and [SEP], at most 512, no padding
    workloads: list[Workload]
    sweep: dict[int, list[str]]  # tokens a text -> texts of exactly so many tokens
    calibration: list[str]

    def of(self, indices: Sequence[int]) -> list[str]:
        """The texts at these indices."""
        return [self.texts[i] for i in indices]

    def count(self, indices: Sequence[int]) -> int:
        """How many real tokens these texts have."""
        return sum(self.tokens[i] for i in indices)

    def workload(self, name: str) -> Workload:
        """The workload of this name."""
        return next(w for w in self.workloads if w.name == name)


def load_tokenizer(model_dir: Path) -> Tokenizer:
    """The model's own tokenizer, cut where sentence-transformers cuts for it, without padding."""
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    config = json.loads((model_dir / "config.json").read_text())
    tokenizer.no_padding()
    settings = model_dir / "sentence_bert_config.json"
    limit = json.loads(settings.read_text()).get("max_seq_length") if settings.exists() else None
    tokenizer.enable_truncation(limit or config["max_position_embeddings"])
    return tokenizer


def read_sentences(data_dir: Path) -> list[str]:
    """Every sentence of STSBenchmark's test split, once."""
    pairs = (data_dir / "STSBenchmark" / "test.tsv").read_text().splitlines()
    return list(dict.fromkeys(s for line in pairs for s in line.split("\t")[1:3]))


def read_documents(data_dir: Path) -> list[str]:
    """Every document of NFCorpus, title and text."""
    rows = _rows(data_dir / "NFCorpus" / "corpus.jsonl")
    return [f"{row['title']} {row['text']}".strip() for row in rows]


def read_queries(data_dir: Path) -> list[str]:
    """Every query of NFCorpus."""
    return [row["text"] for row in _rows(data_dir / "NFCorpus" / "queries.jsonl")]


def load(data_dir: Path, model_dir: Path, *, quick: bool = False) -> Corpus:
    """Read STSBenchmark and NFCorpus from ``data_dir``; ``quick`` takes a small part of each workload."""
    tokenizer = load_tokenizer(model_dir)
    chance = random.Random(SEED)

    sentences, documents = read_sentences(data_dir), read_documents(data_dir)
    judged = {
        line.split("\t")[0]
        for line in (data_dir / "NFCorpus" / "qrels" / "test.tsv").read_text().splitlines()[1:]
    }
    queries = [row["text"] for row in _rows(data_dir / "NFCorpus" / "queries.jsonl") if row["_id"] in judged]

    chance.shuffle(documents)
    calibration = sentences[-CALIBRATION:] + documents[-CALIBRATION:]
    sentences, documents = sentences[:SENTENCES], documents[:DOCUMENTS]
    sweep = _sweep(tokenizer, documents)

    texts = sentences + documents + queries
    tokens = [len(e) for e in tokenizer.encode_batch(texts)]
    first_document, first_query = len(sentences), len(sentences) + len(documents)
    everything = {
        "sentences": list(range(first_document)),
        "documents": sorted(range(first_document, first_query), key=lambda i: tokens[i]),
        "queries": list(range(first_query, len(texts))),
    }
    mix = [i for name, count in MIX.items() for i in chance.sample(everything[name], count)]
    chance.shuffle(mix)
    parts = {name: [indices] for name, indices in everything.items()}
    parts["documents"] = [everything["documents"][p::DOCUMENT_PARTS] for p in range(DOCUMENT_PARTS)]
    parts["mix"] = [mix]
    if quick:
        parts = {name: [part[0][:: len(part[0]) // 12 or 1]] for name, part in parts.items()}
        sweep = {length: some[:1] for length, some in sweep.items()}
    for part in (p for several in parts.values() for p in several):
        chance.shuffle(part)  # no peer gets its texts already sorted
    workloads = [Workload(name, several, single=name == "queries") for name, several in parts.items()]
    return Corpus(texts, tokens, workloads, sweep, calibration)


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _sweep(tokenizer: Tokenizer, documents: list[str]) -> dict[int, list[str]]:
    """Real documents cut to exactly so many tokens, at most SWEEP_TOKENS tokens for every length.

    Lengths that the model does not read are left out. No text is there twice: a program may compute equal
    texts once.

    A cut text keeps its length only if its tokens, read as text, become the same number of tokens again;
    texts that do not are passed over.
    """
    bodies = [e.ids[1:-1] for e in tokenizer.encode_batch(documents)]
    sweep: dict[int, list[str]] = {}
    limit = tokenizer.truncation["max_length"]
    for length in (length for length in SWEEP_LENGTHS if length <= limit):
        cut = [tokenizer.decode(ids[: length - 2]) for ids in bodies if len(ids) >= length - 2]
        cut = list(dict.fromkeys(cut))
        exact = [t for t, e in zip(cut, tokenizer.encode_batch(cut), strict=True) if len(e) == length]
        wanted = SWEEP_TOKENS // length
        if len(exact) < min(wanted, 4):
            raise ValueError(f"too few documents make texts of {length} tokens: {len(exact)}")
        sweep[length] = exact[:wanted]
    return sweep


def read_arguments(description: str | None) -> argparse.Namespace:
    """The command line of a script that measures with these texts: ``data``, ``model``, ``json``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = ROOT.parent / "shared"
    model = os.environ.get("MINIGTE_MODEL", shared / "models" / "gte-small")
    parser.add_argument("--data", type=Path, default=shared / "data" / "mteb", help="MTEB folder")
    parser.add_argument("--model", type=Path, default=Path(model), help="model folder (MINIGTE_MODEL)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there")
    return parser.parse_args()
