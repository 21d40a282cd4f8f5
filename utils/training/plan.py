"""The plan of a training, computed before it starts: its work, memory by part, and time."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from utils.runtime.device import pick_device, precision
from utils.training.measure import BatchNeeds, Needs, measure
from utils.training.settings import TrainerSettings
from utils.training.task import Task

GIB = 2**30
PRECISIONS = {"off": "float32", "bf16": "bf16 and float32", "fp16": "fp16 and float32"}
# reserved GPU memory: GiB for CUDA and its libraries, fraction for fragmentation
CONTEXT_GIB, GAPS = 1.0, 0.05
LARGEST_BATCH = 4096  # accepted by the options


@dataclass(frozen=True)
class Names:
    """A program's names of the options that a plan recommends."""

    batch_size: str
    accumulate: str
    amp: str
    recompute: str

    @property
    def out_of_memory(self) -> str:
        """The remedy for running out of memory."""
        return (
            f"find what fits with --plan --plan_memory=GIB; lower {self.batch_size} and raise {self.accumulate} by "
            f"the same factor, or give {self.amp}=bf16 or {self.recompute}"
        )


@dataclass(frozen=True)
class Length:
    """Training images and optimiser steps, None if unknown. world_size: number of processes, one per device."""

    images: int | None
    steps: int | None
    steps_per_epoch: float | None
    world_size: int = 1


@dataclass(frozen=True)
class Memory:
    """Bytes on one device by part, and their peak."""

    weights: int
    gradients: int
    optimizer: int
    saved: int
    workspace: int
    peak: int


def planned_device(name: str) -> torch.device:
    """Like pick_device, but a device given by name may be missing here, because the training will run elsewhere."""
    return pick_device(name) if name == "auto" else torch.device(name)


def planned_precision(amp: str, device: torch.device) -> str:
    """Like precision. A GPU that is not present here is assumed to support bf16, like all since 2020."""
    is_elsewhere = device.type == "cuda" and not torch.cuda.is_available()
    return "bf16" if amp == "auto" and is_elsewhere else precision(amp, device)


def _shown(value: float) -> str:
    """Format a number with three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Plan:
    """The requirements of training `task` with `settings` on each device."""

    def __init__(self, task: Task, settings: TrainerSettings, length: Length, device: torch.device) -> None:
        self.task, self.settings, self.length = task, settings, length
        self.sampling, self.machine, self.device = settings.sampling, settings.machine, device
        self.amp = planned_precision(self.machine.amp, device)
        self._measured: dict[bool, Needs] = {}  # with activation checkpointing or without
        self.needs = self.needs_of(self.sampling.batch_size, recompute=self.machine.recompute)
        self.memory = self.memory_of(self.needs)

    def needs_of(self, batch_size: int, *, recompute: bool) -> BatchNeeds:
        """Return the needs of a batch of any size, with or without activation checkpointing."""
        if recompute not in self._measured:
            self._measured[recompute] = measure(self.task, amp=self.amp, recompute=recompute)
        return self._measured[recompute].at(batch_size * len(self.sampling.variants))

    def memory_of(self, needs: BatchNeeds, *, accumulate: int | None = None) -> Memory:
        """Return the memory of a training whose batches have these needs."""
        optimiser = self.settings.optimiser
        moments = 2 if optimiser.name == "adamw" else int(optimiser.momentum > 0)
        state = moments * needs.gradients + (needs.weights if optimiser.average else 0)
        # with accumulation, earlier gradients are alive during the next batch; else they grow as activations are freed
        waiting = needs.gradients if (accumulate or self.sampling.accumulate) > 1 else 0
        alive = max(needs.alive + waiting + needs.batch, 2 * needs.gradients)
        return Memory(
            needs.weights, needs.gradients, state, needs.saved, needs.workspace, needs.weights + state + alive
        )

    @property
    def flop_forward(self) -> int:
        """Forward pass of an optimiser step on one device."""
        return self.needs.flop_forward * self.sampling.accumulate

    @property
    def flop_step(self) -> int:
        """Forward and backward pass of an optimiser step on one device."""
        return self.needs.flop * self.sampling.accumulate

    @property
    def flop_run(self) -> int | None:
        """The whole run on one device."""
        return None if self.length.steps is None else self.flop_step * self.length.steps

    def headline(self) -> list[str]:
        """Return two lines: the work and the memory."""
        needs, sampling, length = self.needs, self.sampling, self.length
        images = f"{sampling.batch_size} images"
        if sampling.accumulate > 1:
            images = f"{sampling.accumulate} x {images}"
        steps, run = "", ""
        if length.steps is not None and self.flop_run is not None:
            epoch = f" ({length.steps_per_epoch:,.6g} per epoch)" if length.steps_per_epoch else ""
            steps, run = f"{length.steps:,} steps{epoch} of ", f", {_shown(self.flop_run / 1e12)} for the run"
        work = (
            f"plan: {needs.parameters:,} parameters, {needs.trainable:,} trainable; {steps}{images} on each of "
            f"{length.world_size} device(s); {self.flop_step / 1e12:.4g} TFLOP per step (forward "
            f"{self.flop_forward / 1e12:.4g}){run}"
        )
        return [work, f"plan: memory per device, {self._described(self.memory, recompute=self.machine.recompute)}"]

    def _described(self, memory: Memory, *, recompute: bool) -> str:
        how = PRECISIONS[self.amp] + (", activation checkpointing" if recompute else "")
        return (
            f"{how}: {memory.peak / GIB:.2f} GiB peak; weights {memory.weights / GIB:.2f}, gradients "
            f"{memory.gradients / GIB:.2f}, optimiser {memory.optimizer / GIB:.2f}, saved activations "
            f"{memory.saved / GIB:.2f}, largest workspace {memory.workspace / GIB:.2f}"
        )

    def other_memory(self) -> tuple[str, Memory]:
        """Return a line and the memory for the other choice of activation checkpointing."""
        recompute = not self.machine.recompute
        needs = self.needs_of(self.sampling.batch_size, recompute=recompute)
        memory = self.memory_of(needs)
        line = f"plan: or {self._described(memory, recompute=recompute)}; {needs.flop / self.needs.flop:.2f} x the work"
        return line, memory

    def hours(self, tflops: float) -> float | None:
        """Return the duration of the whole run at this speed of one device."""
        return None if self.flop_run is None else self.flop_run / (tflops * 1e12) / 3600

    def largest_batch(self, gib: float) -> int:
        """Return the largest batch that fits into this memory; 0 if a single image does not fit."""
        budget, planned = (gib * (1 - GAPS) - CONTEXT_GIB) * GIB, self.sampling.batch_size

        def is_too_large(batch_size: int) -> bool:
            needs = self.needs_of(batch_size, recompute=self.machine.recompute)
            # a smaller batch than the planned one needs accumulation, which keeps gradients
            accumulate = self.sampling.accumulate if batch_size >= planned else max(2, self.sampling.accumulate)
            return self.memory_of(needs, accumulate=accumulate).peak > budget

        sizes = range(1, planned) if is_too_large(planned) else range(planned + 1, LARGEST_BATCH + 1)
        return sizes.start - 1 + bisect_left(sizes, True, key=is_too_large)

    def split(self, largest: int) -> tuple[int, int]:
        """Return batch size (at most `largest`) and accumulation with the same number of images per step."""
        images = self.sampling.batch_size * self.sampling.accumulate
        batch_size = max(size for size in range(1, min(largest, images) + 1) if images % size == 0)
        return batch_size, images // batch_size

    def as_json(self) -> Mapping[str, Any]:
        """Return the content of --plan_json; TFLOP and GiB are of one device."""
        memory, run = self.memory, self.flop_run
        return {
            "parameters": self.needs.parameters,
            "trainable": self.needs.trainable,
            "images": self.length.images,
            "batch_size": self.sampling.batch_size,
            "accumulate": self.sampling.accumulate,
            "devices": self.length.world_size,
            "amp": self.amp,
            "checkpoint_activations": self.machine.recompute,
            "steps": self.length.steps,
            "steps_per_epoch": self.length.steps_per_epoch,
            "tflop_forward": self.flop_forward / 1e12,
            "tflop_step": self.flop_step / 1e12,
            "tflop_run": None if run is None else run / 1e12,
            "saved_activations_gib": memory.saved / GIB,
            "workspace_gib": memory.workspace / GIB,
            "weights_gib": memory.weights / GIB,
            "gradients_gib": memory.gradients / GIB,
            "optimizer_gib": memory.optimizer / GIB,
            "peak_gib": memory.peak / GIB,
        }
