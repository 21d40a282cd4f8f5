"""Prints and writes the plan of --plan."""

from pathlib import Path
from typing import Any

import torch

from utils.config.options.plan import PlanOptions
from utils.files.atomic import write_json
from utils.runtime.speed import matrix_tflops
from utils.training.plan import CONTEXT_GIB, GAPS, GIB, Names, Plan


def show_plan(plan: Plan, options: PlanOptions, names: Names) -> None:
    """Print the plan, and write it to a file if the options name one."""
    found: dict[str, Any] = dict(plan.as_json())
    for line in plan.headline():
        print(line)
    line, other = plan.other_memory()
    print(line)
    name = "without_checkpointing" if plan.machine.recompute else "with_checkpointing"
    found[name] = {"saved_activations_gib": other.saved / GIB, "peak_gib": other.peak / GIB}
    found |= _time(plan, options)
    if options.plan_memory is not None:
        found |= _batches(plan, options.plan_memory, names)
    if options.plan_json is not None:
        write_json(Path(options.plan_json), found)


def _time(plan: Plan, options: PlanOptions) -> dict[str, Any]:
    if plan.length.steps is None:
        print("plan: time: give --plan_images=N, the number of training images: there is no image list")
        return {"tflops": options.plan_tflops, "hours": None}
    if options.plan_tflops is not None:
        tflops, source = options.plan_tflops, "--plan_tflops"
    elif plan.device.type == "cuda" and not torch.cuda.is_available():
        print("plan: time: give --plan_tflops=N, the device's TFLOP per second, which cannot be measured here")
        return {"tflops": None, "hours": None}
    else:
        tflops, source = matrix_tflops(plan.device, plan.amp), f"matrix products on {plan.device}, measured"
    hours = plan.hours(tflops)
    print(f"plan: time: {hours:,.3g} hours at {tflops:.3g} TFLOP per second ({source})")
    return {"tflops": tflops, "hours": hours}


def _batches(plan: Plan, gib: float, names: Names) -> dict[str, Any]:
    largest = plan.largest_batch(gib)
    what = f"plan: {gib:g} GiB, of which {CONTEXT_GIB:g} GiB and {GAPS:.0%} are reserved for CUDA"
    if largest == 0:
        print(f"{what}: not a single image fits; give {names.amp}=bf16, {names.recompute}, or smaller images")
        return {"largest_batch": 0}
    batch_size, accumulate = plan.split(largest)
    images = batch_size * accumulate
    print(
        f"{what}: the largest batch is {largest}; {names.batch_size}={batch_size} {names.accumulate}={accumulate} "
        f"keep the {images} images of a step"
    )
    return {"largest_batch": largest, "fitting_batch_size": batch_size, "fitting_accumulate": accumulate}
