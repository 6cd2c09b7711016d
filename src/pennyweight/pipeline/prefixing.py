"""What the frozen layers make of a run's texts: computed once, kept in the cache, agreed on by all processes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from pennyweight.cache import Cache
from pennyweight.console import Speaker
from pennyweight.errors import Interrupted, RunError
from pennyweight.model.prefix import Prefix, open_prefix
from pennyweight.pipeline.workbench import Workbench
from pennyweight.signals import stop_requests
from pennyweight.training.agreeing import agreed


def keep_prefix(bench: Workbench, cache: Cache, speaker: Speaker) -> None:
    """Give a workbench the output of its frozen layers, from the cache or computed into it, where that pays.

    With the backbone's dropout on, or told not to, every batch is computed from its tokens. Of several processes the
    first computes, and all have the output or none has.

    Raises:
        Interrupted: SIGINT or SIGTERM came; what was computed is in the cache.
    """
    recipe, frozen = bench.recipe, bench.network.frozen_layers
    if not frozen or recipe.backbone.dropout or not recipe.training.prefix_cache:
        return
    what = f"computing {frozen} frozen layers once"
    with stop_requests() as requested:
        with bench.accelerator.main_process_first(), speaker.bar(what, len(bench.table.unrolled())) as bar:

            def progress(done: int) -> None:
                bar.update(done, "")
                if requested:
                    raise Interrupted(what)

            prefix = None
            with contextlib.suppress(Interrupted):  # the others wait: all stop together, below
                prefix = _open_prefix(bench, cache, speaker, progress)
        if agreed(bench.accelerator, bool(requested)):
            raise Interrupted(f"stopped while {what}; what is done is kept: the same command with --resume goes on")
    if agreed(bench.accelerator, prefix is not None) == bench.accelerator.num_processes:
        bench.prefix = prefix
    elif cache.limit or cache.trouble:
        _say_lost(speaker, cache.trouble or f"the cache {cache.folder} does not hold all of it for all processes")


def _open_prefix(bench: Workbench, cache: Cache, speaker: Speaker, progress: Callable[[int], None]) -> Prefix | None:
    """The prefix of all collected items; that some of it was lost later is said once."""
    said = threading.Event()

    def lost(error: RunError) -> None:
        if not said.is_set():
            said.set()
            _say_lost(speaker, str(error))

    return open_prefix(
        bench.network,
        bench.files,
        bench.table.unrolled(),
        pad_id=bench.tokenizer.pad_token_id,
        cache=cache,
        progress=progress,
        lost=lost,
    )


def _say_lost(speaker: Speaker, why: str) -> None:
    speaker.say(f"{why}; for these texts the frozen layers are computed again in every epoch")
