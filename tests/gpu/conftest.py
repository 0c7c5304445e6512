"""Where there is no GPU, Triton's kernels run in its interpreter, which it has to be told before
they are imported."""

import importlib.util
import os
from typing import Any

if importlib.util.find_spec("torch") and importlib.util.find_spec("triton"):
    import torch

    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"
        from triton.runtime import interpreter

        patched = interpreter._patch_lang_tensor

        def _patch_lang_tensor(tensor: Any, scope: Any) -> None:
            """Loop bounds are arrays of one element, which NumPy 2.4 no longer turns into ints."""
            patched(tensor, scope)
            scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

        interpreter._patch_lang_tensor = _patch_lang_tensor
