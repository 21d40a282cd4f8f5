"""The engine: trains any task from where its run stands to the last step."""

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
from utils.runtime.choices import DETERMINISTIC_COST, Choices, choose
from utils.runtime.device import autocast, device_errors, precision, unsafe_in_channels_last
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
from utils.training.task import Task

SKIPPED = "skipped"  # with fp16: whether a step's gradients overflowed, so that it moved nothing
MOST_SKIPPED = 40  # in a row: the loss scale halves each time, and starts at 2 ** 16
INTERRUPTED = 130  # the shell's status of a program ended by Ctrl-C


class NonFiniteLossError(UserError):
    """A loss that is infinite or not a number stops a run: every step after it would train on nothing."""


class Trainer:
    """Trains `task` in `run`: fit() begins or resumes it and returns its final checkpoint."""

    def __init__(self, task: Task, settings: TrainerSettings, run: Run, process: Process) -> None:
        self.task, self.settings, self.run, self.process = task, settings, run, process
        self.amp = precision(settings.machine.amp, process.device)
        self.total = settings.schedule.steps
        self.done = 0  # whole steps
        self.averages = Averages()  # of the interval that the run is in
        self.skipped = self.skipped_in_row = 0  # steps
        # reading a value waits for the GPU; on the CPU there is nothing to wait for
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
        """Brings the network to its device and memory layout -> it, or its wrapper that averages gradients."""
        device, machine = self.process.device, self.settings.machine
        self.choices = choose(device, Choices(machine.tf32, autotune=True, deterministic=machine.deterministic))
        if machine.deterministic and device.type == "cuda":
            self.run.log.info(DETERMINISTIC_COST)
        network.to(device)
        self.layout = torch.contiguous_format
        # tensor cores take half precision in this layout alone
        if machine.channels_last or (device.type == "cuda" and self.amp != "off"):
            if narrow := unsafe_in_channels_last(network, device):
                self.run.log.info(f"channels-last memory layout is not used: {narrow}")
            else:
                self.layout = torch.channels_last
                network.to(memory_format=self.layout)
        if machine.recompute:
            recompute_blocks(network)
        if machine.compile:
            network.compile()
        if self.process.world_size == 1:
            return network
        if device.type == "cuda" and machine.sync_batch_norm:
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # exchanges the layers in place
        return DistributedDataParallel(network, gradient_as_bucket_view=True)

    def _facts_of_device(self) -> dict[str, Any]:
        """How the device computes, for versions.json."""
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
        }

    def continue_from(self, path: Path, state: Mapping[str, Any], *, epoch: int) -> None:
        """Takes over the optimiser of another run's checkpoint, read from `path`, and counts on from `epoch`.

        Of another program's checkpoint the weights alone count. Raises UserError.
        """
        if is_foreign(state):
            self._say_foreign(path)
        else:
            check_epoch_before(path, state, epoch)
            restore_optimizer(self.optimizer, self.scaler, state, path=path)
        self.done = epoch * self.settings.saving.keep_every

    def fit(self) -> Path:
        """Trains to the last step and returns the final checkpoint.

        On SIGINT or SIGTERM it writes a checkpoint to resume from and leaves with status 130, unless it was in its
        last step. Raises UserError for a checkpoint that does not fit, and NonFiniteLossError.
        """
        self._resume()
        if self.done < self.total:
            self._begin()
            saving = self.settings.saving
            recorder = Recorder(self.run, saving, step=self.done, total=self.total, is_main=self.process.is_main)
            clock = Clock(saving.minutes)
            errors = device_errors(self.process.device, self.run.memory_remedy)
            with errors, StopRequest() as stop, recorder as self.recorder, self._reader() as self.batches:
                for step in range(self.done, self.total):
                    if step % saving.interval == 0:
                        self.averages = Averages()
                    self.step(step)
                    self.done = step + 1
                    stop.step_is_done()
                    self._after_step(stop, clock)
        return self._finish()

    def step(self, step: int) -> None:
        """One optimiser step, on the mean gradient of its batches."""
        sampling, process = self.settings.sampling, self.process
        totals: dict[str, Tensor] = {}
        set_rates(self.optimizer, self.settings.schedule.factor(step))
        # dropout of a step follows from (seed, step, rank): a resumed run draws the same
        torch.manual_seed(derived_seed(sampling.seed, step, process.rank))
        for number in range(sampling.accumulate):
            batch = self._to_device(next(self.batches))
            batch["images"] = batch["images"].contiguous(memory_format=self.layout)
            with self._exchange(is_last=number == sampling.accumulate - 1):
                with autocast(process.device, self.amp):
                    output = self.task.losses(self.network, batch)
                self.scaler.scale(output.total() / sampling.accumulate).backward()
            for name, value in (output.losses | output.values).items():
                totals[name] = totals.get(name, 0.0) + value.detach().float()
        totals |= self._bound_gradient()
        self.unread.append((step, list(output.losses), totals))
        if step % self.read_every == 0:
            self._read()  # before the parameters move
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(step)

    def _bound_gradient(self) -> dict[str, Tensor]:
        """Clips the gradient, where that is asked for -> with fp16, whether it overflowed."""
        bound = self.settings.optimiser.clip_grad
        is_scaled = self.scaler.is_enabled()
        if bound <= 0 and not is_scaled:
            return {}
        self.scaler.unscale_(self.optimizer)
        if bound > 0:
            norm = nn.utils.clip_grad_norm_(self.parameters, bound)
        else:
            norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        # as often as there are batches: all values are divided by their number
        return {SKIPPED: ~norm.isfinite() * float(self.settings.sampling.accumulate)} if is_scaled else {}

    def _to_device(self, batch: Batch) -> Batch:
        return {name: value.to(self.process.device, non_blocking=True) for name, value in batch.items()}

    def _exchange(self, *, is_last: bool) -> AbstractContextManager:
        """Processes exchange gradients once per step: with the backward pass of its last batch."""
        if isinstance(self.network, DistributedDataParallel) and not is_last:
            return self.network.no_sync()
        return nullcontext()

    def _read(self) -> None:
        """Fetches, checks and records the values of the steps since the last reading. Raises NonFiniteLossError."""
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
        """Counts a step that overflowed in half precision and moved nothing; the next one has a smaller loss scale.

        Raises NonFiniteLossError where no scale helps.
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
        """Records and saves what is due, and leaves where that was asked for."""
        saving, at_end = self.settings.saving, self.done == self.total
        self.recorder.bar.update()
        if at_end or self.done % saving.interval == 0:
            self._end_interval()
        is_kept = at_end or self.done % saving.keep_every == 0
        if is_kept:
            self._save(keep=True)
        if at_end:
            return
        # one clock for all processes, else each would ask for a checkpoint of its own
        if self.process.any(stop.asked or (self.process.is_main and clock.due())):
            if not is_kept:
                self._save(keep=False)
            if self.process.any(stop.asked):
                self.run.log.info(f"stopped after step {self.done}: the same command with --resume continues")
                sys.exit(INTERRUPTED)

    def _end_interval(self) -> None:
        self._read()
        skipped = {"skipped_steps": float(self.skipped)} if self.scaler.is_enabled() else {}
        self.recorder.interval(self.done, self.averages.means() | skipped)
        recent = self.recorder.recent()
        if recent and (warning := self.task.end_of_interval(recent)):
            self.run.log.info(warning)
        if self.settings.saving.unit == "iter":  # an epoch's checkpoint holds the averages of its epoch
            self.averages = Averages()

    def _save(self, *, keep: bool) -> None:
        """Writes a checkpoint: one that is kept, or one to resume from, which the next one replaces."""
        self._read()  # parameters that a step with a bad loss has moved are never written
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
        """A step that was skipped has moved no parameter, but batch norms have seen it. Raises NonFiniteLossError."""
        if self.skipped == 0:
            return
        floating = [b for b in self.task.network.buffers() if b.is_floating_point()]
        if floating and not torch.stack([b.isfinite().all() for b in floating]).all():
            raise NonFiniteLossError(
                "a step that overflowed left statistics of batch norms that are not finite",
                f"before step {self.done}",
                "the last good checkpoint is kept",
                self.run.remedy,
            )

    def _content(self) -> dict[str, Any]:
        """Everything that a checkpoint holds; the randomness of later steps follows from `step` and `facts`."""
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
        }

    def _networks(self) -> dict[str, Any]:
        """The task's networks. Averaged ones take their names, and LIVE is then what the optimiser moves."""
        if self.average is None:
            return self.task.checkpoint()
        live = {name: value.clone() for name, value in self.task.network.state_dict().items()}
        with self.average.in_place():
            return {**copy.deepcopy(self.task.checkpoint()), ckpt.LIVE: live}

    def _average(self) -> WeightAverage | None:
        """The average of the weights as they are, where one is asked for."""
        decay = self.settings.optimiser.average
        return WeightAverage(self.task.network, decay=decay) if decay else None

    def _resume(self) -> None:
        """Restores the latest checkpoint; learning rate, momentum factor and decay are what the options say now."""
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
            self.run.log.info(f"{path} ends the run: nothing is left to train")
            return
        self.task.restore(state, path=path)
        if average := self._average():
            average.restore(state[ckpt.LIVE])
            self.average = average
        restore_optimizer(self.optimizer, self.scaler, state, path=path)

    def _newest_readable(self, latest: Path) -> tuple[Path, dict[str, Any]]:
        """The checkpoint to resume from and its content: where `latest` is damaged, the one before it, and said."""
        try:
            return latest, ckpt.read_checkpoint(latest)
        except UserError as damaged:
            for path in ckpt.newest_first(self.run.paths.model_dir, kind=self.settings.saving.unit):
                if path != latest:
                    with suppress(UserError):
                        state = ckpt.read_checkpoint(path)
                        self.run.log.info(f"{damaged}\nresuming from the checkpoint before it: {path}")
                        self.run = replace(self.run, latest=path)
                        return path, state
            raise

    def _say_foreign(self, path: Path) -> None:
        self.run.log.info(f"{path} was written by another program: its weights are taken, its optimiser starts anew")

    def _begin(self) -> None:
        """Writes what the run is made with, once nothing can be refused: a refused run leaves the old files alone."""
        if self.process.is_main:
            if self.run.latest and self.run.latest == self.run.final:  # the run is longer now: this is not its end
                move_file(self.run.final, self._kept_path())
            save_options(self.run.options, self.run.paths.config)
            write_versions(self.run.paths.versions, self._facts_of_device())
        self.average = self.average or self._average()
        self.task.network.train()

    def _reader(self) -> AbstractContextManager[Iterator[Batch]]:
        """The batches of all steps that are left."""
        samples, process = self.task.samples, self.process
        steps = self.done, self.total
        batches = Batches(
            len(samples), self.settings.sampling, steps=steps, rank=process.rank, world_size=process.world_size
        )
        num_workers = self.settings.machine.num_workers
        return read_ahead(samples, batches, num_workers=num_workers, pin=process.device.type == "cuda")

    def _kept_path(self) -> Path:
        """The checkpoint that is kept of the present step."""
        saving = self.settings.saving
        number = saving.number(self.done)
        return ckpt.kept_path(self.run.paths.model_dir, self.run.prefix, number, kind=saving.unit)

    def _finish(self) -> Path:
        """The final checkpoint, under the name that the run gives it."""
        path = self._kept_path()
        if self.run.final is None:
            return path
        if self.process.is_main and path.is_file():
            move_file(path, self.run.final)
        self.process.wait()
        return self.run.final
