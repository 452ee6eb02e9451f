"""Pictures of the leaderboard and of a report in Chromium, for the README: results/screenshots/*.png.

    python benchmarks/screenshots.py results results/demo-seed0      # a folder of runs, and one run of it

Needs `chromium` on the path, and no network. Desktop and phone widths, light and dark.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lrpo_bench.results.leaderboard import write_leaderboard
from lrpo_bench.results.report import write_report

OUT = Path(__file__).resolve().parents[1] / "results" / "screenshots"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=3000"
)
_SMALLEST_WINDOW = 500  # headless Chromium makes no window narrower: a phone is a frame inside a page


@dataclass(frozen=True)
class Shot:
    """One picture."""

    name: str
    page: str
    """`leaderboard` or `report`."""
    width: int
    height: int
    dark: bool = False
    top: int = 0
    """Pixels of the page above the picture."""
    scale: float = 1.0


SHOTS = (
    Shot("leaderboard", "leaderboard", 1240, 1000),
    Shot("leaderboard-dark", "leaderboard", 1240, 1000, dark=True),
    Shot("leaderboard-phone", "leaderboard", 390, 844, scale=2.0),
    Shot("report", "report", 1000, 1100),
    Shot("report-phone-dark", "report", 390, 844, dark=True, scale=2.0),
)


def shoot(shot: Shot, page: Path, out: Path, chromium: str) -> Path:
    """The path of the picture."""
    target = out / f"{shot.name}.png"
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.html"
        frame.write_text(
            f"<body style='margin:0;overflow:hidden'><iframe src='file://{page.resolve()}' style='border:0;"
            f"width:{shot.width}px;height:{shot.height + shot.top}px;margin-top:-{shot.top}px'></iframe></body>"
        )
        command = [chromium, *FLAGS.split(), f"--user-data-dir={folder}/profile", "--allow-file-access-from-files"]
        command += [f"--force-device-scale-factor={shot.scale}", f"--screenshot={target}"]
        command += [f"--window-size={max(shot.width, _SMALLEST_WINDOW)},{shot.height}"]
        command += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if shot.dark else []
        subprocess.run([*command, f"file://{frame}"], check=True, capture_output=True, timeout=300)
    _crop(target, shot)
    return target


def _crop(target: Path, shot: Shot) -> None:
    """Cuts what the window shows beside the frame, and takes a palette, which makes it a third as large."""
    from PIL import Image

    with Image.open(target) as image:
        size = (round(shot.width * shot.scale), round(shot.height * shot.scale))
        image.crop((0, 0, *size)).quantize(128).save(target, optimize=True)


def main() -> int:
    """Makes all pictures, or those whose names are given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", help="names, separated by commas")
    arguments = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("no chromium on the path")
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    wanted = arguments.only.split(",") if arguments.only else [shot.name for shot in SHOTS]
    with tempfile.TemporaryDirectory() as folder:
        shots = [shot for shot in SHOTS if shot.name in wanted]
        pages = {}
        if any(shot.page == "leaderboard" for shot in shots):
            pages["leaderboard"] = write_leaderboard(arguments.results, Path(folder), arguments.results.resolve().name)[
                0
            ]
        if any(shot.page == "report" for shot in shots):
            copy = shutil.copytree(arguments.run, Path(folder) / arguments.run.name)
            pages["report"] = write_report(copy)
        for shot in shots:
            path = shoot(shot, pages[shot.page], arguments.out, chromium)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
