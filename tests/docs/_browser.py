"""Pages of a site as a browser lays them out.

A page of our own shows each page in a frame, measures it there, and sends what it found to the
server that both came from. So the browser needs no driver.
"""

import functools
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WIDTHS = (1280, 390)

_HARNESS = """<!doctype html><body style="margin: 0"><script>
const WIDE = ":is(pre > code, .md-typeset__scrollwrap, math)";
const pages = PAGES, widths = WIDTHS, found = [];
const nextFrame = () => new Promise(done => setTimeout(done, 60));
const send = (path, body) => fetch(path, {method: "POST", body: JSON.stringify(body)});
const words = e => (e.innerText || "").trim().replace(/\\s+/g, " ").slice(0, 60);

function measure(win, width) {
  const doc = win.document, root = doc.documentElement, faults = [];
  if (root.scrollWidth > win.innerWidth) faults.push("the page is wider than the screen");
  for (const image of doc.querySelectorAll("article img"))
    if (!image.naturalWidth) faults.push("an image is not shown: " + image.getAttribute("src"));
  if (doc.querySelector("math") && !doc.fonts.check('16px "TeX Gyre Pagella Math"'))
    faults.push("the font of formulas is not there");
  if (width >= 1280)
    for (const box of doc.querySelectorAll("article " + WIDE))
      if (box.scrollWidth > box.clientWidth + 1 && box.clientWidth)
        faults.push("cut, " + (box.scrollWidth - box.clientWidth) + " pixels: " + words(box));
  const scrolls = e => /auto|scroll/.test(win.getComputedStyle(e).overflowX);
  for (const e of doc.querySelectorAll("article *")) {
    const box = e.getBoundingClientRect();
    if (box.width && box.right > win.innerWidth + 1) {
      let holder = e.parentElement;
      while (holder && !scrolls(holder)) holder = holder.parentElement;
      if (!holder) { faults.push("beyond the screen: <" + e.localName + "> " + words(e)); break; }
    }
  }
  return faults;
}

async function main() {
  for (const width of widths) {
    const frame = document.createElement("iframe");
    frame.style.cssText = `border: 0; width: ${width}px; height: 900px`;
    document.body.replaceChildren(frame);
    for (const page of pages) {
      await new Promise(done => { frame.onload = done; frame.src = page; });
      const win = frame.contentWindow;
      await win.document.fonts.ready;
      await nextFrame();
      for (const fault of measure(win, width)) found.push(`${page}, ${width} pixels: ${fault}`);
    }
  }
}
main().catch(error => found.push("the check broke off: " + error)).then(() => send("/done", found));
</script>"""


def look(site: Path, pages: Sequence[str], browser: str, timeout: float = 600) -> list[str]:
    """What is cut or broken on pages, at every width."""
    harness = _HARNESS.replace("PAGES", json.dumps(pages)).replace("WIDTHS", json.dumps(WIDTHS))
    done = threading.Event()
    found: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            if self.path != "/":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(harness.encode())

        def do_POST(self) -> None:
            found.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                *(browser, "--headless=new", "--no-sandbox", "--disable-gpu"),
                *("--window-size=1400,1000", f"--user-data-dir={profile}"),
                f"http://127.0.0.1:{server.server_port}/",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            end = time.monotonic() + timeout
            while not done.wait(1):
                if process.poll() is not None or time.monotonic() > end:
                    what = "was at work" if process.poll() is None else "ended by itself"
                    found.append(f"{browser} {what} before all pages had been looked at")
                    break
        finally:
            process.terminate()
            process.wait()
            server.shutdown()
    return found
