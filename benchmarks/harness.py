"""What every measurement shares: contenders that take turns, medians with spread, and a word on the machine.

A machine's speed drifts by the minute, so single times say little. Contenders therefore take turns, round after round,
and what is reported of two of them is the median over the rounds of the ratio within a round.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import pennyweight
from pennyweight.environment import git_state, versions
from pennyweight.files import write_json

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs")
"""What is trained on the way."""
SOURCE = Path(pennyweight.__file__).parent


def runs_of(name: str) -> Path:
    """Where a measurement keeps what it trains: for each state of Pennyweight's code a folder of its own."""
    return RUNS / name / code_digest()[:10]


@functools.cache
def code_digest() -> str:
    """SHA-256 of Pennyweight's own files, in hex, as this process found them."""
    digest = hashlib.sha256()
    for path in sorted(path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{path.relative_to(SOURCE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Share:
    """What a contender did in one turn."""

    work: float
    """Examples, or FLOPs where a turn is a matrix product."""
    seconds: float


Contender = Callable[[], Share]
"""Takes one turn."""


@dataclass(frozen=True)
class Measured:
    """What contenders did, turn by turn."""

    shares: Mapping[str, tuple[Share, ...]]

    def rates(self, name: str) -> list[float]:
        """Work per second in each round."""
        return [share.work / share.seconds for share in self.shares[name]]

    def spread(self, name: str) -> dict[str, float]:
        """Median and quartiles of work per second, and the number of rounds."""
        return spread(self.rates(name))

    def ratio(self, name: str, other: str) -> dict[str, float]:
        """How many times as fast as ``other`` it was: median and quartiles over the rounds."""
        return spread([mine / its for mine, its in zip(self.rates(name), self.rates(other), strict=True)])


def alternate(contenders: Mapping[str, Contender], rounds: int, *, say: Callable[[str], None] = print) -> Measured:
    """Let contenders take turns.

    Who begins rotates from round to round, so that none always follows the same one.

    Args:
        contenders: by name; warmed up.
        rounds: turns of each.
        say: where a line about each round goes.
    """
    names = list(contenders)
    shares: dict[str, list[Share]] = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            shares[name].append(contenders[name]())
        rates = ", ".join(f"{name} {_short(share[-1].work / share[-1].seconds)}" for name, share in shares.items())
        say(f"round {number + 1} of {rounds}: {rates}")
    return Measured({name: tuple(done) for name, done in shares.items()})


def spread(values: list[float]) -> dict[str, float]:
    """``{"median", "low", "high", "n"}``: low and high are the quartiles, or the extremes of fewer than three."""
    low, high = min(values), max(values)
    if len(values) >= 3:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": statistics.median(values), "low": low, "high": high, "n": len(values)}


def timed(work: Callable[[], float]) -> Share:
    """Time a function that returns how much work it did."""
    synchronise()
    begun = time.perf_counter()
    done = work()
    synchronise()
    return Share(done, time.perf_counter() - begun)


def synchronise() -> None:
    """Wait until the accelerator, where there is one, has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Apart:
    """An object that lives in a process of its own, so that contenders share no global state; called from here.

    Between calls its process sleeps. Contenders are run as users would run them: no variable is set that would make
    one faster.
    """

    def __init__(self, factory: Callable[..., Any], **arguments: Any) -> None:
        """Start the process and make ``factory(**arguments)`` in it; both must be importable and picklable."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # No daemon: those may not start the workers of a loader. It ends by itself when this end of the pipe is gone.
        self._process = context.Process(target=_serve, args=(theirs, factory, arguments))
        self._process.start()
        theirs.close()
        self._answer()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method there and wait for what it returns; RuntimeError, with its traceback, where it fails."""
        self._pipe.send((method, arguments))
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=30)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _answer(self) -> Any:
        try:
            fine, value = self._pipe.recv()
        except EOFError:
            self._process.join(timeout=30)
            raise RuntimeError(f"a contender's process ended with code {self._process.exitcode}") from None
        if not fine:
            raise RuntimeError(f"a contender failed:\n{value}")
        return value


@contextlib.contextmanager
def apart(factories: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]]) -> Iterator[dict[str, Apart]]:
    """Several objects, each in a process of its own, started one after another; all are ended at the end."""
    with contextlib.ExitStack() as stack:
        made: dict[str, Apart] = {}
        for name, (factory, arguments) in factories.items():
            tell(f"starting {name}")
            made[name] = Apart(factory, **arguments)
            stack.callback(made[name].close)
        yield made


def _serve(pipe: Connection, factory: Callable[..., Any], arguments: dict[str, Any]) -> None:
    os.dup2(2, 1)  # stdout belongs to the measurement's JSON
    try:
        thing = factory(**arguments)
        pipe.send((True, None))
        while True:
            method, given = pipe.recv()
            pipe.send((True, getattr(thing, method)(*given)))
    except EOFError:
        return
    except Exception:  # whatever it is, it is told to the one who asked
        pipe.send((False, traceback.format_exc()))


def surroundings(packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """Machine, versions, those of further ``packages`` too where they are installed, and git state."""
    further = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            further[name] = metadata.version(name)
    return {"machine": machine(), "versions": versions() | further, "git": git_state()}


def machine() -> dict[str, Any]:
    """Processor, cores, memory, what the processor is good at, and the GPU where there is one."""
    import torch

    abilities = {name: value for name, value in torch.cpu.get_capabilities().items() if isinstance(value, bool)}
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "capabilities": sorted(name for name, has in abilities.items() if has),
        "system": platform.platform(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads_set_by_environment": {
            name: os.environ[name] for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY") if name in os.environ
        },
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def float_format() -> Literal["bf16", "fp32"]:
    """What networks compute in where speed counts: fp32 on a machine without instructions for bf16."""
    from pennyweight.model.device import best_device, fast_bf16

    return "bf16" if fast_bf16(best_device()) else "fp32"


def kept_as(name: str) -> str:
    """The name of a result that depends on `float_format`: one of a CPU in fp32 stands beside that of one in bf16."""
    import torch

    return name if torch.cuda.is_available() or float_format() == "bf16" else f"{name}_fp32"


def backbone_folder(backbone: str) -> str:
    """Where the backbone's files are, for those who do not know our aliases."""
    from pennyweight.model.backbone import find_backbone

    return str(find_backbone(backbone).folder)


def layers_of(backbone: str) -> int:
    """Number of its layers."""
    from pennyweight.budget.backbones import read_config

    return int(read_config(backbone)["num_hidden_layers"])


def keep(name: str, content: Mapping[str, Any]) -> None:
    """Write a result; what was measured on a GPU goes into the CPU's file as its ``gpu``, and the reverse stays."""
    path = RESULTS / f"{name}.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if content["machine"]["gpu"]:
        write_json(path, {**old, "gpu": content})
    else:
        write_json(path, {**content, "gpu": old.get("gpu", "not measured")})


def data_folder() -> Path:
    """The folder of data sets; ends the program where PENNYWEIGHT_DATA does not name it."""
    data = os.environ.get("PENNYWEIGHT_DATA")
    if not data:
        sys.exit("benchmarks: PENNYWEIGHT_DATA must name the folder of data sets")
    if not Path(data, "agnews").is_dir():
        sys.exit(f"benchmarks: there is no folder agnews in PENNYWEIGHT_DATA={data}")
    return Path(data).resolve()


@contextlib.contextmanager
def empty_cache() -> Iterator[None]:
    """Pennyweight's cache is empty and apart from the user's meanwhile, here and in processes that are started."""
    before = os.environ.get("PENNYWEIGHT_CACHE")
    with tempfile.TemporaryDirectory(prefix="pennyweight-benchmark-") as folder:
        os.environ["PENNYWEIGHT_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("PENNYWEIGHT_CACHE")
            if before is not None:
                os.environ["PENNYWEIGHT_CACHE"] = before


def tell(line: str) -> None:
    """A line of progress on stderr; stdout is for results."""
    print(line, file=sys.stderr, flush=True)


def _short(rate: float) -> str:
    return f"{rate / 1e9:.0f}G" if rate > 1e7 else f"{rate:.1f}"
