"""The marks of tests that need a CUDA device."""

import pytest
import torch

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device; bash test.sh -m gpu on one"),
]
