"""Measure minigte and its peers side by side in one run: ``python bench/run.py``.

Every peer is a process of its own. All stay loaded while the rounds go on, but only one computes: the others
are stopped by the kernel, so that no spinning thread pool disturbs the one that is measured. In every round
each peer does each workload once, in turn, and the turn moves on by one a round; whatever the machine does
over the minutes, it does to all of them, and every ratio comes from one run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from multiprocessing import Pipe
from pathlib import Path

import convert
import machine
import numpy as np
import report
from messages import Done, Failed, Job, Work
from peers import PEERS, Files, Peer
from texts import Corpus, Workload, load

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minigte-bench"
THREADS = 2
PATIENCE = 600  # seconds without an answer after which a worker is given up
SWEEP_ROUNDS = 2
# A peer whose documents take longer than this is measured in SLOW_ROUNDS rounds only: it is not in the
# running, and would cost more time than all others together.
SLOW_SECONDS = 20
SLOW_ROUNDS = 2
# What is tried before the rounds, on a part of each workload that has this many texts.
BATCH_SIZES = {"sentences": (8, 32, 128), "documents": (1, 2, 4, 16), "queries": (1,), "mix": (1, 4, 16, 64)}
TUNING_TEXTS = {"sentences": 256, "documents": 16, "queries": 32, "mix": 64}
UNTUNED_BATCH = 8
LONG_TEXT = 64  # tokens; in the sweep, longer texts get the batch size of documents, others of sentences
SWEEP_BATCHES = 2 * THREADS  # at least, of each length: some peers give each thread a batch of its own


class WorkerError(Exception):
    """A worker could not do what it was asked."""


class Worker:
    """One peer with one setting in its own process, stopped except while it works."""

    def __init__(self, job: Job, caches: Path | None = None) -> None:
        """Start it and wait for its first vector; ``caches`` replaces the user's cache folder."""
        self.connection, theirs = Pipe()
        threads = str(THREADS)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads) | {"HF_HUB_OFFLINE": "1"}
        if caches:
            environment |= {"XDG_CACHE_HOME": str(caches), "NUMBA_CACHE_DIR": str(caches / "numba")}
        self.log = CACHE / "logs" / f"{job.key} {job.setting}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / "bench" / "worker.py"), str(theirs.fileno())]
        start = time.perf_counter()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        theirs.close()
        try:
            self.connection.send(job)
            self._answer()
        except BaseException:
            self.close()
            raise
        self.start_seconds = time.perf_counter() - start
        self.process.send_signal(signal.SIGSTOP)

    def encode(self, texts: list[str], batch_size: int, *, single: bool = False) -> Done:
        """Wake it, let it encode, stop it again."""
        self.process.send_signal(signal.SIGCONT)
        self.connection.send(Work(texts, batch_size, single))
        done = self._answer()
        self.process.send_signal(signal.SIGSTOP)
        return done

    def close(self) -> None:
        """End the process, stopped or not."""
        self.process.kill()
        self.process.wait()
        self.connection.close()

    def _answer(self) -> Done:
        if not self.connection.poll(PATIENCE):
            raise WorkerError(f"no answer in {PATIENCE} seconds")
        try:
            answer: Done | Failed = self.connection.recv()
        except EOFError:
            last = self.log.read_text().strip().rpartition("\n")[2]
            raise WorkerError(f"died with status {self.process.wait()}: {last}") from None
        if isinstance(answer, Failed):
            raise WorkerError(answer.message)
        return answer


@dataclass(frozen=True)
class Choice:
    """How a workload's texts are encoded; batch size 0 stands for a peer that chooses its own."""

    setting: str
    batch_size: int


@dataclass(frozen=True)
class Trial(Choice):
    """What one choice reached before the rounds."""

    tokens_per_second: float


@dataclass(frozen=True)
class Unit:
    """One peer, one workload, one round."""

    round: int
    texts: int
    tokens: int
    seconds: float
    peak_rss: int  # bytes, the most its process has had so far
    others: float  # the share of the machine that other processes used meanwhile


@dataclass
class Result:
    """Everything measured of one peer; its fields are the JSON."""

    name: str
    precision: str
    error: str | None = None
    versions: dict[str, str] = field(default_factory=dict)  # of what one installs
    install_bytes: int = 0
    conversion_seconds: dict[str, float] = field(default_factory=dict)
    cold_start: float | None = None  # seconds from process start to the first vector
    warm_starts: list[float] = field(default_factory=list)
    tuning: dict[str, list[Trial]] = field(default_factory=dict)  # by workload, as all that follow
    chosen: dict[str, Choice] = field(default_factory=dict)
    units: dict[str, list[Unit]] = field(default_factory=dict)
    latencies_us: list[list[int]] = field(default_factory=list)  # of the queries, one list a round
    cosine: dict[str, dict[str, float]] = field(default_factory=dict)  # mean and min to the reference
    sweep: dict[int, list[float]] = field(default_factory=dict)  # tokens a text -> tokens/s, one a round


class Contender:
    """One peer in this run: its result so far and its workers."""

    def __init__(self, peer: Peer, corpus: Corpus, reference: np.ndarray) -> None:
        self.peer = peer
        self.corpus = corpus
        self.reference = reference  # (texts, D), what the vectors should be
        self.result = Result(peer.name, peer.precision)
        self.workers: dict[str, Worker] = {}
        self.cosines: dict[str, list[np.ndarray]] = {}

    @property
    def first_text(self) -> str:
        """What the first vector of a process is made of."""
        return self.corpus.texts[self.corpus.workload("queries").parts[0][0]]

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Whatever fails inside ends this peer's part in the run, and only that."""
        try:
            yield
        except (WorkerError, ImportError, OSError, RuntimeError) as error:
            self.result.error = " ".join(str(error).split())
            say(f"{self.peer.key} is out: {self.result.error}")
            self.close()

    def prepare(self, source: convert.Sources, folder: Path) -> None:
        """Convert the model to what the peer reads, and look up what is installed."""
        installed = machine.closure(self.peer.distributions)
        self.installed = [path for one in installed.values() for path in machine.files(one)]
        self.result.versions = {name: installed[name].version for name in self.peer.distributions}
        self.result.install_bytes = sum(path.stat().st_size for path in self.installed)
        made = {kind: convert.ensure(kind, source, folder) for kind in self.peer.converted}
        self.result.conversion_seconds = {kind: seconds for kind, (_, seconds) in made.items()}
        converted = {kind: path for kind, (path, _) in made.items()}
        self.files = Files(Path(source.model_dir), Path(source.onnx), converted)

    def start(self, setting: str, caches: Path | None = None) -> Worker:
        """A new worker for this setting."""
        return Worker(Job(self.peer.key, setting, self.files, THREADS, self.first_text), caches)

    def cold_start(self) -> None:
        """Start once with its files out of the page cache and an empty folder for compiled kernels."""
        folders = [self.files.model_dir, *self.files.converted.values()]
        models = [path for folder in folders for path in folder.iterdir() if path.is_file()]
        machine.forget([*self.installed, *models, self.files.onnx])
        with tempfile.TemporaryDirectory() as caches:
            worker = self.start(self.peer.settings[0], Path(caches))
            self.result.cold_start = worker.start_seconds
            worker.close()

    def tune(self) -> None:
        """Find the fastest setting and batch size for each workload.

        Each setting has a process of its own, which ends afterwards and takes the memory of the tried
        batch sizes with it.
        """
        for setting in self.peer.settings:
            worker = self.start(setting)
            try:
                self.result.warm_starts.append(worker.start_seconds)
                for name, sizes in BATCH_SIZES.items():
                    workload = self.corpus.workload(name)
                    indices = workload.parts[0][: TUNING_TEXTS[name]]
                    for size in sizes if self.peer.batches else (0,):
                        done = worker.encode(self.corpus.of(indices), size, single=workload.single)
                        speed = round(self.corpus.count(indices) / sum(done.seconds), 1)
                        trials = self.result.tuning.setdefault(name, [])
                        trials.append(Trial(setting, size, speed))
            finally:
                worker.close()

    def take_choices(self, path: Path) -> None:
        """Settle on what another run found best."""
        chosen = json.loads(path.read_text())["peers"].get(self.peer.key, {}).get("chosen")
        if not chosen:
            raise WorkerError(f"{path} has no choices for it: measure without --tuned")
        self.result.chosen = {name: Choice(**choice) for name, choice in chosen.items()}

    def choose(self) -> None:
        """Settle on the best of what was tried, where nothing is settled, and start the workers."""
        for workload in self.corpus.workloads:
            size = 1 if workload.single else UNTUNED_BATCH
            choice = Choice(self.peer.settings[0], size if self.peer.batches else 0)
            if trials := self.result.tuning.get(workload.name):
                best = max(trials, key=lambda trial: trial.tokens_per_second)
                choice = Choice(best.setting, best.batch_size)
            self.result.chosen.setdefault(workload.name, choice)
        for setting in dict.fromkeys(choice.setting for choice in self.result.chosen.values()):
            self.workers[setting] = self.start(setting)
            self.result.warm_starts.append(self.workers[setting].start_seconds)

    def measure(self, workload: Workload, round_number: int) -> None:
        """One unit: this workload's texts of this round."""
        indices = workload.part(round_number)
        others = machine.Others()
        chosen = self.result.chosen[workload.name]
        worker = self.workers[chosen.setting]
        done = worker.encode(self.corpus.of(indices), chosen.batch_size, single=workload.single)
        seconds = sum(done.seconds)
        tokens = self.corpus.count(indices)
        self.result.units.setdefault(workload.name, []).append(
            Unit(
                round_number,
                len(indices),
                tokens,
                round(seconds, 4),
                done.peak_rss,
                round(others.share(done.cpu_seconds), 3),
            )
        )
        if workload.single:
            self.result.latencies_us.append([round(1e6 * s) for s in done.seconds])
        vectors = done.vectors.astype(np.float64)
        cosine = (vectors * self.reference[indices]).sum(1) / np.linalg.norm(vectors, axis=1)
        seen = self.cosines.setdefault(workload.name, [])
        seen.append(cosine)
        every = np.concatenate(seen)
        self.result.cosine[workload.name] = {"mean": float(every.mean()), "min": float(every.min())}
        say(f"  {self.peer.key}: {workload.name} {tokens / seconds:,.0f} tokens/s")

    def measure_length(self, length: int) -> None:
        """One point of the sweep: texts of exactly this many tokens."""
        texts = self.corpus.sweep[length]
        chosen = self.result.chosen["documents" if length > LONG_TEXT else "sentences"]
        batch_size = min(chosen.batch_size, max(1, len(texts) // SWEEP_BATCHES))
        done = self.workers[chosen.setting].encode(texts, batch_size)
        speed = length * len(texts) / done.seconds[0]
        self.result.sweep.setdefault(length, []).append(round(speed, 1))

    def slow(self) -> bool:
        """Whether it is too slow to be measured in every round."""
        return any(unit.seconds > SLOW_SECONDS for unit in self.result.units.get("documents", []))

    def close(self) -> None:
        """End its workers."""
        while self.workers:
            self.workers.popitem()[1].close()


def say(message: str) -> None:
    """Progress, on stderr."""
    print(message, file=sys.stderr, flush=True)


def readable(document: object) -> str:
    """JSON that a person can scroll through: innermost lists and objects on one line each."""
    text = json.dumps(document, indent=1)
    return re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda inner: " ".join(inner[0].split()), text) + "\n"


def measure(
    contenders: list[Contender], corpus: Corpus, rounds: int, *, tune: bool, sweep: bool
) -> Iterator[int]:
    """Take every contender through the run; yields after each round."""
    for step in (Contender.cold_start, *((Contender.tune,) if tune else ()), Contender.choose):
        for contender in contenders:
            if not contender.result.error:
                with contender.trying():
                    say(f"{step.__name__}: {contender.peer.key}")
                    step(contender)
    for number in range(rounds):
        first = number % len(contenders)
        turn = contenders[first:] + contenders[:first]
        for workload in corpus.workloads:
            say(f"round {number + 1} of {rounds}, {workload.name}")
            for contender in turn:
                if contender.result.error or (number >= SLOW_ROUNDS and contender.slow()):
                    continue
                with contender.trying():
                    contender.measure(workload, number)
        if sweep and number < SWEEP_ROUNDS:
            for length in corpus.sweep:
                say(f"round {number + 1} of {rounds}, texts of {length} tokens")
                for contender in turn:
                    if not contender.result.error:
                        with contender.trying():
                            contender.measure_length(length)
        yield number


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    environment = os.environ.get
    shared = ROOT.parent / "shared"
    model = environment("MINIGTE_MODEL") or shared / "models" / "gte-small"
    onnx = environment("MINIGTE_BENCH_ONNX") or CACHE / "model.onnx"
    parser = argparse.ArgumentParser(description="Measure minigte and its peers side by side.")
    parser.add_argument("--quick", action="store_true", help="one round, few texts, few peers, no tuning")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="peers whose name contains one of these")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (5; quick: 1)")
    parser.add_argument("--tuned", type=Path, help="take the settings of this run, of a model as large")
    parser.add_argument("--no-sweep", action="store_true", help="leave out what only the chart shows")
    parser.add_argument("--data", type=Path, default=shared / "data" / "mteb", help="MTEB folder")
    parser.add_argument("--model", type=Path, default=Path(model), help="model folder (MINIGTE_MODEL)")
    parser.add_argument("--onnx", type=Path, default=Path(onnx), help="its ONNX export (MINIGTE_BENCH_ONNX)")
    parser.add_argument("--out", type=Path, help="where the JSON goes (bench/results; quick: build)")
    options = parser.parse_args(arguments)
    for path in (options.data, options.model, options.onnx):
        if not path.exists():
            parser.error(f"{path} does not exist")
    return options


def selected(only: list[str] | None, *, quick: bool) -> list[Peer]:
    """The peers of this run."""
    if only:
        return [peer for peer in PEERS if any(name.lower() in peer.key.lower() for name in only)]
    return [peer for peer in PEERS if peer.quick or not quick]


def main(arguments: list[str] | None = None) -> None:
    """Run, and write the JSON after every round."""
    options = parse(arguments)
    # a stopped worker would outlive a run that is terminated without its clean-up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    started = datetime.now(timezone.utc)
    rounds = options.rounds or (1 if options.quick else 5)
    folder = ROOT / "build" if options.quick else ROOT / "bench" / "results"
    out = options.out or folder / f"{started:%Y-%m-%d-%H%M}.json"
    model, onnx, data = (str(path.resolve()) for path in (options.model, options.onnx, options.data))
    source = convert.Sources(model, onnx, data, str(CACHE))

    load_average, busy = os.getloadavg(), machine.busy()
    if busy > machine.QUIET:
        say(f"WARNING: this machine is not quiet: {busy:.0%} of its time goes to others; measure when it is")
    corpus = load(options.data, options.model, quick=options.quick)
    kept = CACHE / convert.fingerprint(source)
    say(f"converted models and reference vectors: {kept}")
    reference = np.load(convert.ensure("reference", source, kept)[0] / "vectors.npy")

    contenders = [Contender(peer, corpus, reference) for peer in selected(options.only, quick=options.quick)]
    for contender in contenders:
        with contender.trying():
            contender.prepare(source, kept)
            if options.tuned:
                contender.take_choices(options.tuned)
    ready = [contender for contender in contenders if not contender.result.error]
    if not ready:
        raise SystemExit("no peer is ready to run")
    document = {
        "started": started.isoformat(timespec="seconds"),
        "quick": options.quick,
        "threads": THREADS,
        "machine": machine.facts(),
        "load_average": load_average,
        "busy_before": busy,
        "workloads": {
            w.name: {
                "texts": sum(map(len, w.parts)),
                "tokens": sum(map(corpus.count, w.parts)),
                "parts": len(w.parts),
            }
            for w in corpus.workloads
        },
    }
    tune = not (options.quick or options.tuned)
    try:
        for number in measure(ready, corpus, rounds, tune=tune, sweep=not options.no_sweep):
            document["rounds"] = number + 1
            document["minutes"] = round((datetime.now(timezone.utc) - started).total_seconds() / 60, 1)
            document["peers"] = {c.peer.key: asdict(c.result) for c in contenders}
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(readable(document))
    finally:
        for contender in contenders:
            contender.close()
    say(f"written: {out}")
    print(report.tables(json.loads(out.read_text())))


if __name__ == "__main__":
    main()
