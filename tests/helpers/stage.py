"""A live page in a browser without a kernel: its real script and its real subject.

A stand-in for the widget's model is between them.
"""

from __future__ import annotations

import json
import queue
import time
from pathlib import Path

from workbench.live import Conversation

SCRIPT = (Path(__file__).parents[2] / "workbench" / "live" / "live.js").read_text()
# Stand-ins for what JupyterLab sets on its page; its table styles would align cells to the right.
THEMES = {
    "light": (
        "--jp-layout-color1:#fff;--jp-ui-font-color1:rgba(0,0,0,.87);--jp-brand-color1:#1976d2"
    ),
    "dark": (
        "--jp-layout-color1:#212121;--jp-ui-font-color1:rgba(255,255,255,.87);"
        "--jp-brand-color1:#42a5f5"
    ),
}
# What VS Code sets on the page of a notebook's outputs, and what it lets that page do.
VSCODE = {
    "light": (
        "--vscode-editor-background:#ffffff;--vscode-editor-foreground:#3b3b3b;"
        "--vscode-focusBorder:#005fb8;--vscode-editor-font-family:Consolas,monospace"
    ),
    "dark": (
        "--vscode-editor-background:#1f1f1f;--vscode-editor-foreground:#cccccc;"
        "--vscode-focusBorder:#0078d4;--vscode-editor-font-family:Consolas,monospace"
    ),
}
LETS = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline';"
    " img-src data: blob:"
)
MODEL = """
const heard = {};
window.sent = [];
window.controller = new AbortController();
window.model = {
  get: (name) => (name === "page" ? window.start : undefined),
  set: () => {}, save_changes: () => {},
  on: (name, f) => { (heard[name] ||= []).push(f); },
  off: (name, f) => { heard[name] = (heard[name] || []).filter((g) => g !== f); },
  send: (content) => window.sent.push(content),
};
window.tell = (name, content) => (heard[name] || []).forEach((f) => f(content));
"""


class Stage:
    """One live page.

    Requests are taken from it, and replies given to it, whenever it is waited on.
    """

    def __init__(
        self,
        browser,
        subject,
        *,
        theme: str = "light",
        width: int = 1400,
        vscode: bool = False,
        static: str = "",
        clock: bool = False,
    ) -> None:
        self.replies: queue.Queue = queue.Queue()
        self.conversation = Conversation(subject, self.replies.put)
        self.heard: list[str] = []
        self.page = page = browser.new_page(viewport={"width": width, "height": 1200})
        page.set_default_timeout(120_000)  # machines may be busy
        if clock:
            page.clock.install()  # the page's time is the test's to move
        page.on("console", lambda m: self.heard.append(m.text))
        page.on("pageerror", lambda e: self.heard.append(str(e)))
        page.on(
            "request",
            lambda r: (
                self.heard.append(r.url)
                if not r.url.startswith(("about:", "data:", "blob:"))
                else None
            ),
        )
        light = "true" if theme == "light" else "false"
        told, colours = (
            (f"data-vscode-theme-kind=vscode-{theme}", VSCODE[theme])
            if vscode
            else (f"data-jp-theme-light={light}", THEMES[theme])
        )
        lets = f'<meta http-equiv="Content-Security-Policy" content="{LETS}">' if vscode else ""
        page.set_content(
            f"<!doctype html>{lets}<style>body{{margin:0;background:"
            "var(--jp-layout-color1,var(--vscode-editor-background))}</style>"
            f"<body {told} style='{colours}'>{static}<div id=cell></div>"
        )
        start = json.dumps(subject.page()).replace("</", "<\\/")
        script = SCRIPT.replace(
            "export default { render };",
            "render({ model: window.model, el: document.getElementById('cell'), signal:"
            " window.controller.signal });",
        )
        page.add_script_tag(content=f"{MODEL}window.start = {start};")
        page.add_script_tag(content=script, type="module")
        page.wait_for_selector(".fw-live")

    def turn(self, seconds: float = 0.05) -> None:
        """Pass on the requests and the replies that came meanwhile."""
        for content in self.page.evaluate("window.sent.splice(0)"):
            self.conversation.receive(content)
        try:
            while True:
                self.page.evaluate(
                    "content => window.tell('msg:custom', content)",
                    self.replies.get(timeout=seconds),
                )
        except queue.Empty:
            pass

    def until(self, condition: str, seconds: float = 60) -> None:
        """Turn until a JavaScript condition holds."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            if time.monotonic() > end:
                message = f"still not so after {seconds} s: {condition}; {self.heard}"
                raise AssertionError(message)
            self.turn()

    def settle(self) -> None:
        """Turn until there are no more requests and replies."""
        self.page.wait_for_timeout(200)  # what waits for more keys is sent by then
        quiet = 0
        while quiet < 3:
            self.turn(0.1)
            quiet = (
                0
                if self.page.evaluate(
                    "document.querySelector('.fw')?.hasAttribute('data-running') ||"
                    " window.sent.length > 0"
                )
                or self.conversation._running  # noqa: SLF001
                else quiet + 1
            )

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return self.page.locator(selector).first.inner_text()

    def close(self) -> None:
        """Unmount it as a front end does."""
        self.page.evaluate("window.controller.abort()")
        self.conversation.close()
        self.page.close()
