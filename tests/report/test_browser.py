"""The page in a real browser, at the width of a phone and of a laptop."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report.made_run import Made

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
    "--log-level=0", "--virtual-time-budget=4000",
)  # fmt: skip
PROBE = """<!doctype html><body style="margin:0">
<iframe src="report.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const page = frame.contentDocument, limit = page.documentElement.clientWidth, out = [];
  for (const one of page.querySelectorAll("body *"))
    if (!one.closest(".box, svg") && one.getBoundingClientRect().right > limit + 1)
      out.push(one.tagName + "." + one.className);
  const drawn = frame.contentWindow.performance.getEntriesByType("resource").map(one => one.name);
  const cut = [...page.querySelectorAll("svg text")].filter(one => {{
    const box = one.getBoundingClientRect(), around = one.ownerSVGElement.getBoundingClientRect();
    return box.left < around.left - 1 || box.right > around.right + 1
      || box.top < around.top - 1 || box.bottom > around.bottom + 1;
  }}).map(one => one.textContent);
  document.title = JSON.stringify({{scroll: page.documentElement.scrollWidth - limit, out, cut, drawn}});
}};
</script>"""


def chromium(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the browser on its own profile."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    profile = folder / "profile"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.parametrize("width", [360, 390, 768, 1280, 1440])
def test_nothing_runs_off_the_page(made: Made, tmp_path: Path, width: int) -> None:
    shutil.copy(made.path / "report.html", tmp_path / "report.html")
    (tmp_path / "probe.html").write_text(PROBE.format(width=width), encoding="utf-8")
    done = chromium(
        tmp_path,
        "--allow-file-access-from-files",
        "--dump-dom",
        "--window-size=1500,1000",
        (tmp_path / "probe.html").as_uri(),
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None, "the probe did not run"
    assert title[1].replace("&quot;", '"') == '{"scroll":0,"out":[],"cut":[],"drawn":[]}'


def test_the_browser_has_nothing_to_complain_of(made: Made, tmp_path: Path) -> None:
    done = chromium(tmp_path, "--dump-dom", (made.path / "report.html").as_uri())
    assert "Base against aligned" in done.stdout
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
