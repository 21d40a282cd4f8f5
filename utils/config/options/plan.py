"""Options of --plan, which both training programs have."""

from dataclasses import dataclass

from utils.config.valid import Count, Positive
from utils.errors import UserError


@dataclass(frozen=True)
class PlanOptions:
    """Plan."""

    plan: bool = False
    """Report work, memory and time of this training and exit; needs no images, weights or GPU."""
    plan_images: Count | None = None
    """Number of training images; default those of the list."""
    plan_tflops: Positive | None = None
    """TFLOP per second of one device; default: measured here with two seconds of matrix products."""
    plan_memory: Positive | None = None
    """Memory of one device in GiB: report the largest batch that fits."""
    plan_json: str | None = None
    """Also write the plan to this JSON file."""

    def check_plan(self) -> None:
        """Raise UserError if options of --plan are given without --plan."""
        for name in ("plan_images", "plan_tflops", "plan_memory", "plan_json"):
            if getattr(self, name) is not None and not self.plan:
                raise UserError(
                    f"--{name}={getattr(self, name)}", rule="it is an option of --plan", remedy="add --plan"
                )
