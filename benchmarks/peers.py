"""What people train with instead: Transformers' Trainer with PEFT, from the notebook way to everything one can set."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from benchmarks.harness import Share, float_format, synchronise
from benchmarks.items import CLASSES, MAX_LENGTH, Items

BATCH_SIZE = 32
RANK = 8
ALPHA = 16
TARGETS = ("query", "value")


@dataclass(frozen=True)
class Flags:
    """How a Trainer contender is set up. The defaults are what notebooks do."""

    padding: Literal["fixed", "longest"] = "fixed"
    """To `MAX_LENGTH` when tokenising, or to the longest of each batch by `DataCollatorWithPadding`."""
    multiple: int | None = None
    """The collator's ``pad_to_multiple_of``."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `TrainingArguments`."""
    adapters: bool = True
    """LoRA by PEFT and the stock head; else everything is trained."""
    lora_dropout: float = 0.1
    backbone_dropout: bool = True
    attention: str | None = None
    """``attn_implementation``; none: Transformers' default."""
    frozen: Literal["fp32", "bf16"] = "fp32"
    """Format that the frozen weights are kept in."""
    input_cast: bool = True
    """PEFT's cast of an adapter's input to the adapter's format."""


# Each is the one before it with more of what can be set. `python -m benchmarks.training --search` tries the flags.
NOTEBOOK = Flags()
TUNED = Flags(padding="longest", arguments={"bf16": True, "train_sampling_strategy": "group_by_length"})
EXPERT = Flags(
    padding="longest",
    arguments=TUNED.arguments,
    lora_dropout=0.0,
    backbone_dropout=False,
    attention="eager",
    frozen="bf16",
)


def on_this_machine(flags: Flags) -> Flags:
    """The same without anything in bf16 where the machine has no instructions for it, as who uses it would say."""
    if float_format() == "bf16":
        return flags
    kept = {key: value for key, value in flags.arguments.items() if key != "bf16"}
    return replace(flags, arguments=kept, frozen="fp32")


class TrainerLearner:
    """One Trainer, which learns the same items again and again."""

    def __init__(self, backbone: str, items: Items, held_out: Items, flags: Flags, learning_rate: float) -> None:
        """Load, adapt and tokenise, none of which is timed."""
        import torch

        quieten()
        torch.manual_seed(0)
        self.flags = flags
        self.items = len(items)
        self._tokenizer = load_tokenizer(backbone)
        self._model = build_model(backbone, flags)
        self._clock = _Clock()
        self._trainer = make_trainer(
            self._model, self._tokenizer, items, flags, learning_rate=learning_rate, callbacks=[self._clock.callback()]
        )
        self._held_out = held_out

    def learn(self, batches: int | None = None) -> Share:
        """One pass over the items, or its first ``batches``; loading and collating included, set-up left out."""
        self._clock.limit = batches
        self._trainer.train()
        return Share(min(self.items, BATCH_SIZE * batches) if batches else self.items, self._clock.seconds)

    def loss(self) -> float:
        """Mean loss on the held-out items, dropout off."""
        return float(cross_entropy(self.logits(self._held_out), self._held_out.labels))

    def logits(self, items: Items) -> np.ndarray:
        """Logits of some items by the contender's own number format."""
        return model_logits(self._model, self._tokenizer, items.texts, bf16=bool(self.flags.arguments.get("bf16")))

    def describe(self) -> dict[str, Any]:
        """What it is."""
        flags = self.flags
        return {
            "padding": f"fixed {MAX_LENGTH}" if flags.padding == "fixed" else "longest of the batch",
            "pad_to_multiple_of": flags.multiple,
            "arguments": dict(flags.arguments),
            "lora_dropout": flags.lora_dropout if flags.adapters else None,
            "backbone_dropout": flags.backbone_dropout,
            "attention": self._model.config._attn_implementation,
            "frozen_weights": flags.frozen,
            "peft_input_cast": flags.input_cast,
            "trainable": sum(p.numel() for p in self._model.parameters() if p.requires_grad),
        }


class _Clock:
    """Times an epoch from its first batch being there to its last step done; ends it early where told to.

    What a loader's workers take to start is not counted, then; users may keep them over epochs.
    """

    def __init__(self) -> None:
        self.limit: int | None = None
        self.seconds = 0.0

    def callback(self) -> Any:
        """As Trainer takes it."""
        from transformers import TrainerCallback

        clock = self

        class Callback(TrainerCallback):  # type: ignore[misc]
            def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                self.begun: float | None = None

            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if self.begun is None:
                    synchronise()
                    self.begun = time.perf_counter()

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if clock.limit is not None and state.global_step >= clock.limit:
                    control.should_training_stop = True

            def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                assert self.begun is not None
                synchronise()
                clock.seconds = time.perf_counter() - self.begun

        return Callback()


def quieten() -> None:
    """Transformers' warnings and bars off: each contender's process would print the same ones."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_tokenizer(backbone: str) -> Any:
    """The backbone's tokenizer, as notebooks load it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(backbone)


def build_model(backbone: str, flags: Flags) -> Any:
    """The stock classification model, with LoRA where asked for: adapters and classifier learn, in fp32."""
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(backbone, num_labels=CLASSES)
    if not flags.backbone_dropout:
        for key, value in config.to_dict().items():
            if "dropout" in key and isinstance(value, float):
                setattr(config, key, 0.0)
    chosen = {"attn_implementation": flags.attention} if flags.attention else {}
    dtype = torch.bfloat16 if flags.frozen == "bf16" else torch.float32
    model = AutoModelForSequenceClassification.from_pretrained(backbone, config=config, dtype=dtype, **chosen)
    if not flags.adapters:
        return model
    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=flags.lora_dropout,
        target_modules=list(TARGETS),
    )
    model = get_peft_model(model, lora)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if not flags.input_cast:
        for module in model.modules():
            if hasattr(module, "cast_input_dtype_enabled"):
                module.cast_input_dtype_enabled = False
    return model


def make_trainer(
    model: Any,
    tokenizer: Any,
    items: Items,
    flags: Flags,
    *,
    learning_rate: float,
    epochs: float = 1,
    callbacks: list[Any] | None = None,
) -> Any:
    """A Trainer over tokenised items: AdamW, linear decay, logging, saving and evaluation off."""
    import torch
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments, default_data_collator

    fixed = flags.padding == "fixed"
    encoded = tokenizer(
        list(items.texts), truncation=True, max_length=MAX_LENGTH, padding="max_length" if fixed else False
    )
    arguments: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(prefix="pennyweight-benchmark-"),
        "per_device_train_batch_size": BATCH_SIZE,
        "num_train_epochs": epochs,
        "learning_rate": learning_rate,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": torch.cuda.is_available() and float_format() == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        **flags.arguments,
    }
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=Dataset.from_dict({**encoded, "labels": list(items.labels)}),
        processing_class=tokenizer,
        data_collator=default_data_collator
        if fixed
        else DataCollatorWithPadding(tokenizer, pad_to_multiple_of=flags.multiple),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # it would print to stdout, which belongs to the result
    return trainer


def model_logits(model: Any, tokenizer: Any, texts: Sequence[str], *, bf16: bool) -> np.ndarray:
    """Logits of texts by a Transformers model, [texts, classes]: sorted by length, dropout off, padded by batch."""
    import torch

    device = next(model.parameters()).device
    bf16 = bf16 or (device.type == "cuda" and float_format() == "bf16")
    logits = np.zeros((len(texts), CLASSES), dtype=np.float32)
    was_training = model.training
    model.eval()
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for indices in sorted_batches(texts):
            batch = tokenizer(
                [texts[i] for i in indices], truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt"
            ).to(device)
            logits[indices] = model(**batch).logits.float().cpu().numpy()
    model.train(was_training)
    return logits


def sorted_batches(texts: Sequence[str], size: int = 64) -> Iterator[list[int]]:
    """Indices in batches of texts of similar length."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def cross_entropy(logits: np.ndarray, labels: tuple[int, ...]) -> float:
    """Mean negative log-likelihood, in nats."""
    import torch

    return float(torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.tensor(labels)))
