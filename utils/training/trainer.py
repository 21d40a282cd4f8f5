"""The engine: trains a task from the run's current step to the last one."""

import copy
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from utils.config.parser import save_options
from utils.data.class_names import check_classes
from utils.errors import UserError
from utils.files.disk import move_file
from utils.files.text import first_few
from utils.runtime.choices import DETERMINISTIC_COST, Choices, choose
from utils.runtime.device import autocast, device_errors, move_network, precision, to_channels_last
from utils.runtime.process import Process
from utils.runtime.seeds import derived_seed
from utils.runtime.stop import StopRequest
from utils.runtime.versions import write_versions
from utils.training import checkpoint as ckpt
from utils.training.averaging import WeightAverage
from utils.training.loading import Batch, read_ahead
from utils.training.optimiser import make_optimizer, restore_optimizer, set_rates
from utils.training.recompute import recompute_blocks
from utils.training.recorder import Averages, Clock, Recorder
from utils.training.resume import check_epoch_before, check_length, check_same_run, is_foreign
from utils.training.sampling import Batches
from utils.training.settings import Run, TrainerSettings
from utils.training.task import Losses, Task

SKIPPED = "skipped"  # with fp16: the gradients overflowed, so the step was skipped
MOST_SKIPPED = 40  # in a row: the loss scale halves each time, and starts at 2 ** 16
INTERRUPTED = 130  # exit status of a program ended by Ctrl-C


class NonFiniteLossError(UserError):
    """The loss is infinite or NaN. The run stops, because later steps would be useless."""


class Trainer:
    """Trains `task` in `run`. fit() starts or resumes it and returns its final checkpoint."""

    def __init__(self, task: Task, settings: TrainerSettings, run: Run, process: Process) -> None:
        self.task, self.settings, self.run, self.process = task, settings, run, process
        self.amp = precision(settings.machine.amp, process.device)
        self.total = settings.schedule.steps
        self.done = 0  # completed steps
        self.averages = Averages()  # of the current interval
        self.skipped = self.skipped_in_row = 0  # steps
        # reading a value synchronises with a GPU, but costs nothing on the CPU
        self.read_every = 1 if process.device.type == "cpu" else settings.saving.log_every
        self.unread: list[
            tuple[int, list[str], dict[str, Tensor]]
        ] = []  # step, names of its losses, sums of all values
        self.network = self._prepared(task.network)
        self.optimizer = make_optimizer(task.network, task.parameter_groups(), settings.optimiser)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        is_fp16 = self.amp == "fp16"
        self.average: WeightAverage | None = None  # from the first step on
        self.scaler = torch.amp.GradScaler(process.device.type, enabled=is_fp16)

    def _prepared(self, network: nn.Module) -> nn.Module:
        """Move the network to its device and memory layout. Returns it, or its wrapper that averages gradients."""
        device, machine = self.process.device, self.settings.machine
        self.choices = choose(device, Choices(machine.tf32, autotune=True, deterministic=machine.deterministic))
        if machine.deterministic and device.type == "cuda":
            self.run.log.info(DETERMINISTIC_COST)
        move_network(network, device)
        self.layout = torch.contiguous_format
        # tensor cores need this layout for half precision
        if machine.channels_last or (device.type == "cuda" and self.amp != "off"):
            self.layout = torch.channels_last
            if narrow := to_channels_last(network, device):
                names = first_few(narrow)
                self.run.log.info(f"channels-last memory layout: {len(narrow)} narrow layers stay plain ({names})")
        if machine.recompute:
            recompute_blocks(network)
        is_alone = self.process.world_size == 1
        if not is_alone and device.type == "cuda" and machine.sync_batch_norm:
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # replaces the layers in place
        if machine.compile:  # the compiler joins layers itself
            if device.type == "cpu":
                raise UserError("--compile", rule="on a CPU, steps take longer with it", remedy="train without it")
            network.compile()
        else:
            self.task.fold_norms(network)
        return network if is_alone else DistributedDataParallel(network, gradient_as_bucket_view=True)

    def _facts_of_device(self) -> dict[str, Any]:
        """Return how the device computes, for versions.json."""
        machine = self.settings.machine
        return {
            **self.choices,
            "device": self.process.device.type,
            "processes": self.process.world_size,
            "amp": self.amp,
            "channels_last": self.layout == torch.channels_last,
            "compile": machine.compile,
            "checkpoint_activations": machine.recompute,
            "fused_optimizer": bool(self.optimizer.defaults.get("fused")),
            "pinned_memory": self._is_pinned,
            "gradients_as_bucket_view": self.process.world_size > 1,
        }

    def continue_from(self, path: Path, state: Mapping[str, Any], *, epoch: int) -> None:
        """Continue from another run's checkpoint, read from `path`, with its optimiser state, at `epoch`.

        From another program's checkpoint, only the weights are used. Raises UserError.
        """
        if is_foreign(state):
            self._say_foreign(path)
        else:
            check_epoch_before(path, state, epoch)
            restore_optimizer(self.optimizer, self.scaler, state, path=path)
        self.done = epoch * self.settings.saving.keep_every

    def fit(self) -> Path:
        """Train to the last step and return the final checkpoint.

        On SIGINT or SIGTERM, write a checkpoint and exit with status 130, unless it was the last step. Raises UserError
        for a checkpoint that does not fit, and NonFiniteLossError.
        """
        with device_errors(self.process.device, self.run.memory_remedy):
            self._resume()
            if self.done < self.total:
                self._train()
        return self._finish()

    def _train(self) -> None:
        self._begin()
        saving = self.settings.saving
        recorder = Recorder(self.run, saving, step=self.done, total=self.total, is_main=self.process.is_main)
        clock = Clock(saving.minutes)
        with StopRequest() as stop, recorder as self.recorder, self._reader() as self.batches:
            for step in range(self.done, self.total):
                if step % saving.interval == 0:
                    self.averages = Averages()
                self.step(step)
                self.done = step + 1
                stop.step_is_done()
                self._after_step(stop, clock)

    def step(self, step: int) -> None:
        """Run one optimiser step on the mean gradient of its batches."""
        sampling, process = self.settings.sampling, self.process
        totals: dict[str, Tensor] = {}
        losses: dict[str, None] = {}  # their names in order
        set_rates(self.optimizer, self.settings.schedule.factor(step))
        # dropout depends only on (seed, step, rank), so a resumed run draws the same
        torch.manual_seed(derived_seed(sampling.seed, step, process.rank))
        for number in range(sampling.accumulate):
            batch = self._to_device(next(self.batches))
            batch["images"] = batch["images"].contiguous(memory_format=self.layout)
            for part in self.task.parts:
                is_last = number == sampling.accumulate - 1 and part == self.task.parts[-1]
                with self._exchange(is_last=is_last):
                    with autocast(process.device, self.amp):
                        output = self.task.losses(self.network, batch, part)
                    self.scaler.scale(self._summed(output, is_last=is_last) / sampling.accumulate).backward()
                batch |= output.passed
                losses |= dict.fromkeys(output.losses)
                for name, value in (*output.losses.items(), *output.values.items()):
                    totals[name] = totals.get(name, 0.0) + value.detach().float()
        totals |= self._bound_gradient()
        self.unread.append((step, list(losses), totals))
        if step % self.read_every == 0:
            self._read()  # before the parameters are updated
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(step)

    def _bound_gradient(self) -> dict[str, Tensor]:
        """Clip the gradient if enabled. With fp16, returns whether it overflowed."""
        bound = self.settings.optimiser.clip_grad
        is_scaled = self.scaler.is_enabled()
        if bound <= 0 and not is_scaled:
            return {}
        self.scaler.unscale_(self.optimizer)
        if bound > 0:
            norm = nn.utils.clip_grad_norm_(self.parameters, bound)
        else:
            norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        # times the number of batches, since all values are divided by it
        return {SKIPPED: ~norm.isfinite() * float(self.settings.sampling.accumulate)} if is_scaled else {}

    def _to_device(self, batch: Batch) -> Batch:
        return {name: value.to(self.process.device, non_blocking=True) for name, value in batch.items()}

    def _summed(self, output: Losses, *, is_last: bool) -> Tensor:
        """Sum the losses. With several processes, the last backward pass reaches all parameters, and exchanges them."""
        total = output.total()
        if self.process.world_size > 1 and is_last and len(self.task.parts) > 1:
            return total + 0.0 * sum(p.sum() for p in self.parameters)
        return total

    def _exchange(self, *, is_last: bool) -> AbstractContextManager:
        """Exchange gradients once per step, in its last backward pass."""
        if isinstance(self.network, DistributedDataParallel) and not is_last:
            return self.network.no_sync()
        return nullcontext()

    def _read(self) -> None:
        """Fetch, check and record the values of the steps since the last call. Raises NonFiniteLossError."""
        if not self.unread:
            return
        sums = torch.stack([torch.stack(list(values.values())) for _, _, values in self.unread])
        rows = self.process.mean(sums / self.settings.sampling.accumulate).tolist()
        for (step, losses, values), row in zip(self.unread, rows):
            means = dict(zip(values, row))
            if self._is_skipped(step, means.pop(SKIPPED, 0.0)):
                continue
            if not all(math.isfinite(means[name]) for name in losses):
                named = ", ".join(f"{name}={means[name]:g}" for name in losses)
                raise NonFiniteLossError(
                    f"the loss is not finite ({named})",
                    f"step {step}",
                    "the last good checkpoint is kept",
                    self.run.remedy,
                )
            self.averages.add(means)
            self.recorder.step(step, means, rate_factor=self.settings.schedule.factor(step))
        self.unread = []

    def _is_skipped(self, step: int, flag: float) -> bool:
        """Count a step that was skipped because of a float16 overflow; the next one has a smaller loss scale.

        Raises NonFiniteLossError if lowering the scale does not help.
        """
        self.skipped_in_row = self.skipped_in_row + 1 if flag > 0 else 0
        self.skipped += int(flag > 0)
        if self.skipped_in_row >= MOST_SKIPPED:
            raise NonFiniteLossError(
                f"the gradient is not finite in {MOST_SKIPPED} steps in a row",
                f"step {step}",
                "the last good checkpoint is kept",
                self.run.remedy,
            )
        return flag > 0

    def _after_step(self, stop: StopRequest, clock: Clock) -> None:
        """Record and save what is due, and exit if a stop was requested."""
        saving, at_end = self.settings.saving, self.done == self.total
        self.recorder.bar.update()
        if at_end or self.done % saving.interval == 0:
            self._end_interval()
        is_kept = at_end or self.done % saving.keep_every == 0
        if is_kept:
            self._save(keep=True)
        if at_end:
            return
        # one clock for all processes, so that they save at the same step
        if self.process.any(stop.asked or (self.process.is_main and clock.due())):
            if not is_kept:
                self._save(keep=False)
            if self.process.any(stop.asked):
                self.run.log.info(f"stopped after step {self.done}: run the same command with --resume to continue")
                sys.exit(INTERRUPTED)

    def _end_interval(self) -> None:
        self._read()
        skipped = {"skipped_steps": float(self.skipped)} if self.scaler.is_enabled() else {}
        self.recorder.interval(self.done, self.averages.means() | skipped)
        recent = self.recorder.recent()
        if recent and (warning := self.task.end_of_interval(recent)):
            self.run.log.info(warning)
        if self.settings.saving.unit == "iter":  # an epoch's checkpoint contains the means of its epoch
            self.averages = Averages()

    def _save(self, *, keep: bool) -> None:
        """Write a permanent (keep) or a temporary checkpoint, which the next one replaces."""
        self._read()  # checks the loss, so that parameters after a non-finite loss are never saved
        self._check_statistics()
        saving, folder = self.settings.saving, self.run.paths.model_dir
        if self.process.is_main:
            if keep:
                ckpt.write_checkpoint(self._kept_path(), {**self._content(), saving.unit: saving.number(self.done)})
                ckpt.prune(folder, keep=saving.keep, kind=saving.unit)
            else:
                path = ckpt.step_path(folder, self.run.prefix, self.done)
                ckpt.write_checkpoint(path, self._content())
                ckpt.prune_steps(folder, newest=path)
        self.process.wait()

    def _check_statistics(self) -> None:
        """Raise NonFiniteLossError if a skipped step left non-finite statistics in batch norms."""
        if self.skipped == 0:
            return
        floating = [b for b in self.task.network.buffers() if b.is_floating_point()]
        if floating and not torch.stack([b.isfinite().all() for b in floating]).all():
            raise NonFiniteLossError(
                "an overflow made the statistics of batch norms non-finite",
                f"before step {self.done}",
                "the last good checkpoint is kept",
                self.run.remedy,
            )

    def _content(self) -> dict[str, Any]:
        """Return the content of a checkpoint. The randomness of later steps follows from `step` and `facts`."""
        return {
            **self._networks(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            **({"skipped": self.skipped} if self.scaler.is_enabled() else {}),
            "step": self.done,
            "averages": self.averages.sums,
            "options": asdict(self.run.options),
            "facts": dict(self.run.facts),
            "classes": list(self.run.classes),
            "images": self.run.images,
        }

    def _networks(self) -> dict[str, Any]:
        """Return the task's networks. With averaging: the averages, and under LIVE the weights being optimised."""
        if self.average is None:
            return self.task.checkpoint()
        live = {name: value.clone() for name, value in self.task.network.state_dict().items()}
        with self.average.in_place():
            return {**copy.deepcopy(self.task.checkpoint()), ckpt.LIVE: live}

    def _average(self) -> WeightAverage | None:
        """Start the average of the weights from their current values, if enabled."""
        decay = self.settings.optimiser.average
        return WeightAverage(self.task.network, decay=decay) if decay else None

    def _resume(self) -> None:
        """Restore the latest checkpoint. Learning rate, momentum factor and decay follow the current options."""
        if self.run.latest is None:
            return
        path, state = self._newest_readable(self.run.latest)
        check_classes(state.get("classes"), self.run.classes, path, "restore classes.txt, or give the run another name")
        if is_foreign(state) and (number := ckpt.kept_number(path, kind=self.settings.saving.unit)) is not None:
            self.done = (number + 1) * self.settings.saving.keep_every
            check_length(path, self.done, self.run, total=self.total)
            self.task.restore(state, path=path)
            self._say_foreign(path)
            return
        check_same_run(path, state, self.run, total=self.total, averaged=self.settings.optimiser.average > 0)
        self.done, self.averages = state["step"], Averages(state["averages"])
        self.skipped = state.get("skipped", 0)
        if self.done == self.total:
            self.run.log.info(f"{path} is the end of the run: nothing is left to train")
            return
        self.task.restore(state, path=path)
        if average := self._average():
            average.restore(state[ckpt.LIVE])
            self.average = average
        restore_optimizer(self.optimizer, self.scaler, state, path=path)

    def _newest_readable(self, latest: Path) -> tuple[Path, dict[str, Any]]:
        """Return the checkpoint to resume from and its content: the previous one, logged, if `latest` is damaged."""
        try:
            return latest, ckpt.read_checkpoint(latest)
        except UserError as damaged:
            for path in ckpt.newest_first(self.run.paths.model_dir, kind=self.settings.saving.unit):
                if path != latest:
                    with suppress(UserError):
                        state = ckpt.read_checkpoint(path)
                        self.run.log.info(f"{damaged}\nresuming from the previous checkpoint: {path}")
                        self.run = replace(self.run, latest=path)
                        return path, state
            raise

    def _say_foreign(self, path: Path) -> None:
        self.run.log.info(f"{path} was written by another program: using its weights with a new optimiser")

    def _begin(self) -> None:
        """Write the run's settings after all checks, so that a refused run does not change existing files."""
        if self.process.is_main:
            if self.run.latest and self.run.latest == self.run.final:  # the run is longer now, so this is not its end
                move_file(self.run.final, self._kept_path())
            save_options(self.run.options, self.run.paths.config)
            write_versions(self.run.paths.versions, self._facts_of_device())
        self.average = self.average or self._average()
        self.task.network.train()

    def _reader(self) -> AbstractContextManager[Iterator[Batch]]:
        """Return the batches of all remaining steps."""
        samples, process = self.task.samples, self.process
        steps = self.done, self.total
        batches = Batches(
            len(samples), self.settings.sampling, steps=steps, rank=process.rank, world_size=process.world_size
        )
        num_workers = self.settings.machine.num_workers
        return read_ahead(samples, batches, num_workers=num_workers, pin=self._is_pinned)

    @property
    def _is_pinned(self) -> bool:
        """Whether batches are in pinned memory, from which they are copied to a GPU asynchronously."""
        return self.process.device.type == "cuda"

    def _kept_path(self) -> Path:
        """Return the path of the current step's permanent checkpoint."""
        saving = self.settings.saving
        number = saving.number(self.done)
        return ckpt.kept_path(self.run.paths.model_dir, self.run.prefix, number, kind=saving.unit)

    def _finish(self) -> Path:
        """Rename the last checkpoint as the run requires and return its path."""
        path = self._kept_path()
        if self.run.final is None:
            return path
        if self.process.is_main and path.is_file():
            move_file(path, self.run.final)
        self.process.wait()
        return self.run.final
