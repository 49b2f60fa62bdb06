"""Draws the README's pictures anew: `python -m tests.pictures RUN_ROOT`, one that the demo filled."""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from jobs.cli import main
from jobs.layout import RunRoot

FOLDER = Path(__file__).resolve().parents[1] / "manifests"
SIZE = {"width": 1180, "height": 900}


def draw(root: RunRoot, folder: Path) -> list[Path]:
    """Copy the demo's curves, and photograph the top of its report.

    Args:
        root: run root of the demo.
        folder: takes the pictures.

    Raises:
        SystemExit: the report cannot be made.
    """
    curves, photo = folder / "quickstart.png", folder / "quickstart-report.png"
    shutil.copyfile(root.tables / "curves.png", curves)
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        page = Path(made) / "report.html"
        if code := main(["report", "quickstart", "--root", str(root.path), "--out", str(page)]):
            sys.exit(code)
        options = ["--no-sandbox"]  # root, as in a container, may not use Chromium's own
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        opened = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        opened.goto(page.as_uri())
        opened.screenshot(path=photo)
        browser.close()
    return [curves, photo]


if __name__ == "__main__":
    print(*draw(RunRoot(Path(sys.argv[1]).resolve()), FOLDER), sep="\n")
