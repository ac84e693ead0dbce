"""What a frozen program needs besides minigte's modules: the page of explain, and the built kernels.

Without the kernels it compiles them where Numba was frozen too, and otherwise computes with NumPy.
"""

from pathlib import Path

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, get_package_paths

package = Path(get_package_paths("minigte")[1])
# Modules that are imported by a name found in a table.
hiddenimports = collect_submodules("minigte.models")
datas = collect_data_files("minigte")
# PyInstaller leaves shared libraries out of the data, and their hashes must stay what they are.
datas += [(str(path), "minigte/engine") for path in package.glob("engine/kernels-*")]
