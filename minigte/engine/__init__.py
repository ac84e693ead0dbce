"""The engine: the same forward pass as ``minigte.reference``, compiled by Numba for the processor it runs on.

Its door is ``minigte.engine.bert.Engine``. Read ``bert.py`` beside ``reference/bert.py``, then ``matmul.py``,
``attention.py`` and ``rowwise.py``; ``simd.py`` is the vector machine below them, ``team.py`` the threads,
``jit.py`` the compiler's rules. Importing this package alone imports nothing.
"""
