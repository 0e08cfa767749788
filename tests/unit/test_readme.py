"""The README's script runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_script_of_the_readme_runs(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "showing model 1" in ran.stdout
    assert int(ran.stdout.split()[-1]) > 0
