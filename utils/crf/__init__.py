"""The dense CRF (Krähenbühl and Koltun, NIPS 2011): mean field, its lattice, and the published strengths."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from utils.crf.dense import dense_crf

__all__ = ["dense_crf"]


def __getattr__(name: str) -> Any:
    """Import the filter, and with it numba, on first use: options only need the strengths."""
    if name == "dense_crf":
        from utils.crf.dense import dense_crf

        return dense_crf
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
