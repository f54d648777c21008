# SPDX-License-Identifier: BSD-3-Clause
"""Let ``pytest benchmarks`` find bench_*.py."""

import pytest


def pytest_collect_file(file_path, parent):
    """Collect what pytest would collect only if it were named on its own."""
    if not file_path.match("bench_*.py") or parent.session.isinitpath(file_path):
        return None
    return pytest.Module.from_parent(parent, path=file_path)
