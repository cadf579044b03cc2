#!/usr/bin/env bash
# Takes the pictures of the documentation from a local stack on sample data, light and dark, whole,
# 1,200 px wide at double density.
#
# usage: local/take-pictures.sh [URL]    while ./run.sh serves at URL, http://localhost:8080 by default
#
# Installs fonts for every script of the sample data, and what makes the files small, with apt.
set -euo pipefail

main() {
  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  # shellcheck source=local/setup.sh
  source local/setup.sh
  install_packages fonts-dejavu-core fonts-noto-cjk fonts-noto-color-emoji pngquant chromium
  "$PYTHON" - "${1:-http://localhost:8080}" <<'PYTHON'
import shutil, sys
from playwright.sync_api import sync_playwright

PICTURES = {
    "quarterly-hired": "quarterly-hired?year=2021",
    "hiring-by-department": "hiring-by-department?year=2021",
    "years": "quarterly-hired?year=2018-2025",
}
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
    )
    for scheme, ending in (("light", ""), ("dark", "-dark")):
        page = browser.new_page(
            viewport={"width": 1200, "height": 400}, device_scale_factor=2, color_scheme=scheme
        )
        for name, path in PICTURES.items():
            page.goto(f"{sys.argv[1]}/{path}")
            page.screenshot(path=f"docs/{name}{ending}.png", full_page=True)
PYTHON
  pngquant --force --ext=.png --strip docs/*.png
}

main "$@"
