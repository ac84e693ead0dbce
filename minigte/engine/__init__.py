"""The engine: the same forward pass as ``minigte.reference``, compiled by Numba for the processor it runs on.

Its door is ``scheduler.Engine``. Read ``encoder.py`` beside a file of ``reference/``, then ``steps.py``,
``linear.py``, ``attention.py``, ``rows.py`` and ``activations.py``; ``simd/`` is the vector machine below
them, ``team.py`` the threads inside a pass, ``jit.py`` the compiler's rules. ``level.py``, ``formats.py``,
``weights.py`` and ``workspace.py`` say how memory is laid out, and need no compiler. Importing this package
alone imports nothing.
"""
