// A page that asks its kernel for other parts of itself. What is sent, and on which key, stands in the page's own
// attributes: data-send (kind), data-params (JSON), data-param (name of an input's value), data-slot, data-key, data-copy.
// Milliseconds: without another move before one is asked for, at most; of waiting before it is said, and before the kernel is called busy;
// and for a first answer of any kind, without which nobody is thought to answer.
const QUIET = 60, LONGEST = 300, WAITED = 150, BUSY = 2000, FIRST = 3000;
const IDS = 2 ** 20; // requests of one view, whose numbers no other view of the kernel has

function render({ model, el, signal }) {
  const root = document.createElement("div");
  root.className = "fw-live";
  root.innerHTML = model.get("page");
  el.replaceChildren(root);
  const part = (name) => root.querySelector(`[data-part="${CSS.escape(name)}"]`);
  const on = (name, heard, options = {}) => root.addEventListener(name, heard, { signal, ...options });
  const pending = new Map(), timers = new Map(), born = Date.now();
  const base = (crypto.getRandomValues(new Uint32Array(1))[0] + 1) * IDS;
  let number = base, answered = born, gone = false, known = false;

  // --- asking
  function ask(kind, params, slot) {
    if (gone) return;
    const id = ++number;
    for (const [k, p] of pending) if (p.slot === slot) pending.delete(k);
    if (kind !== "cancel") pending.set(id, { slot, since: Date.now(), heard: false });
    root.dataset.asked = id;
    try {
      model.send({ v: 1, id, slot, kind, params });
    } catch {
      lost();
    }
  }
  function soon(kind, params, slot) {
    const t = timers.get(slot) ?? { first: Date.now() };
    clearTimeout(t.timer);
    t.timer = setTimeout(() => { timers.delete(slot); ask(kind, params, slot); }, Date.now() - t.first > LONGEST ? 0 : QUIET);
    timers.set(slot, t);
  }
  function send(target, extra = {}, later = false) {
    if (target.disabled || target.getAttribute("aria-disabled") === "true") return;
    const cell = target.getAttribute("role") === "gridcell", kind = (cell ? target.closest("table") : target).dataset.send;
    const params = cell ? place(target) : { ...JSON.parse(target.dataset.params || "{}"), ...extra };
    (later ? soon : ask)(kind, params, target.closest("[data-slot]")?.dataset.slot || kind);
  }
  function place(cell) {
    const table = cell.closest("table");
    return { row: Number(cell.closest("tr").dataset.row), feature: JSON.parse(table.dataset.cells)[cell.cellIndex - Number(table.dataset.skip)] };
  }

  // The columns that name a row stay in place; how wide they are, only the browser knows.
  function pin() {
    for (const table of root.querySelectorAll("table.grid")) {
      const row = table.querySelector("tbody tr");
      if (!row || !row.offsetWidth) continue;
      let left = 0;
      [...row.querySelectorAll(".k")].forEach((cell, i) => { table.style.setProperty(`--k${i}`, `${left}px`); left += cell.offsetWidth; });
    }
  }

  // --- who answers
  // What is known of the way to the kernel. A front end that has a notebook's widgets and no kernel has models without a
  // comm; one that has a kernel keeps its connection in the widget manager; of others nothing is known.
  function reach() {
    try {
      const kernel = model.widget_manager?.kernel;
      if (kernel === null || kernel?.isDisposed || /^(dead|terminating)$/.test(kernel?.status) || model.get("layout")?.comm_live === false) return "gone";
      if (kernel?.connectionStatus) return kernel.connectionStatus === "connected" ? "there" : "away";
    } catch { /* a front end whose parts are other ones */ }
    return navigator.onLine === false ? "away" : "unknown";
  }
  // The static page that this one was displayed after.
  function twin() {
    const label = root.querySelector(".fw")?.getAttribute("aria-label");
    return [...document.querySelectorAll(".fw-page")].filter((e) => e.getAttribute("aria-label") === label && e.compareDocumentPosition(root) & Node.DOCUMENT_POSITION_FOLLOWING).at(-1);
  }
  // With nobody who answers, the static page is the whole one: it is shown, and this one is not, until somebody does.
  function alone() {
    if (root.hasAttribute("data-alone")) return;
    if (twin()) { root.toggleAttribute("data-alone", true); root.hidden = true; return; }
    note(model.get("ended") ?? "static: run the cell again to explore", "warn");
    root.toggleAttribute("data-alone", true);
  }
  function met() {
    known = true;
    if (!root.hasAttribute("data-alone")) return;
    root.removeAttribute("data-alone");
    root.hidden = false;
    note("");
  }

  function begin(within) {
    within.querySelectorAll("[data-ask]").forEach((e) => ask(e.dataset.ask, JSON.parse(e.dataset.params || "{}"), e.dataset.slot || e.dataset.ask));
  }

  // --- answers
  function put(name, html, mine) {
    const old = part(name);
    if (!old) return;
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const key = focused && (focused.dataset.focus || focused.id), was = focused?.getAttribute("role") === "gridcell" ? place(focused) : null;
    const from = focused && focused.selectionStart;
    const scrolled = [...old.querySelectorAll("[data-keep]")].map((e) => [e.dataset.keep, e.scrollLeft, e.scrollTop]);
    const open = [...old.querySelectorAll("details[data-keep-open]")].map((e) => [e.dataset.keepOpen, e.open]);
    old.innerHTML = html;
    pin();
    if (mine) begin(old);
    for (const [k, left, top] of scrolled) {
      const e = old.querySelector(`[data-keep="${CSS.escape(k)}"]`);
      if (e) { e.scrollLeft = left; e.scrollTop = top; }
    }
    for (const [k, is] of open) {
      const e = old.querySelector(`details[data-keep-open="${CSS.escape(k)}"]`);
      if (e) e.open = is;
    }
    if (!focused) return;
    const again = was ? [...old.querySelectorAll("[role=gridcell]")].find((c) => { const p = place(c); return p.row === was.row && p.feature === was.feature; }) : key && old.querySelector(`[data-focus="${CSS.escape(key)}"], #${CSS.escape(key)}`);
    const next = again || old.querySelector('[aria-selected="true"]') || old.querySelector('[tabindex="0"], button:not([disabled])'); // what is chosen, not the box that scrolls around it
    if (next) { if (was) rove(next); else next.focus({ preventScroll: true }); if (again && from != null && next.setSelectionRange && next.type !== "range") next.setSelectionRange(from, from); }
  }
  function heard(message) {
    if (!message || message.v !== 1) return;
    met();
    // Every view of a page hears every answer, and shows what it shows, since what is asked moves what they all look at.
    const own = Math.floor(message.id / IDS) * IDS === base, mine = own || !(message.id >= IDS), asked = pending.get(message.id);
    if (message.ack) {
      if (asked) asked.heard = true;
      // another view's request takes the place of what was acknowledged before it
      if (!mine) for (const [k, p] of pending) if (p.slot === message.slot && p.heard) pending.delete(k);
      return;
    }
    if (own && message.id < number && [...pending].some(([k, p]) => p.slot === message.slot && k > message.id)) return;
    if (message.done !== false) { pending.delete(message.id); if (mine) root.dataset.answered = message.id; }
    answered = Date.now();
    if (message.ok === false) { if (mine) note(message.error, "alert"); return; }
    if (message.page && mine) { root.innerHTML = message.page; pin(); begin(root); }
    for (const [name, html] of Object.entries(message.parts || {})) put(name, html, mine);
    if (message.done !== false && mine) note(message.say || "");
    if (message.focus && mine) root.querySelector(message.focus)?.focus();
    status();
  }
  function note(text, kind = "") {
    const bar = part("status");
    if (!bar) return;
    bar.replaceChildren();
    bar.dataset.kind = kind;
    if (!text) return;
    const [first, ...rest] = text.split("\n");
    bar.append(first);
    if (rest.length) {
      const more = document.createElement("details"), pre = document.createElement("pre");
      more.append(Object.assign(document.createElement("summary"), { textContent: "show SQL" }), pre);
      pre.textContent = rest.join("\n").trim();
      bar.append(more);
    }
  }
  function status() {
    if (gone) return;
    const now = Date.now(), way = reach();
    if (!known && (way === "gone" || (way !== "there" && now - born > FIRST))) { alone(); return; }
    const waits = [...pending.values()].filter((p) => now - p.since > WAITED);
    const section = root.querySelector(".fw");
    if (section) section.toggleAttribute("data-running", waits.length > 0);
    if (!waits.length) { if (part("status")?.dataset.kind === "running") note(""); return; }
    const oldest = Math.min(...waits.map((p) => p.since)), bar = part("status");
    if (!bar) return;
    const silent = waits.every((p) => !p.heard) && now - oldest > (way === "away" ? WAITED : BUSY);
    if (!silent && "quiet" in bar.dataset) { if (bar.dataset.kind === "running") note(""); return; } // the page says itself what runs, and has a button to cancel it
    const old = `the last answer is ${Math.round((now - answered) / 1000)} s old`;
    const said = silent ? { away: `no connection to the kernel: what is asked is answered when it is back; ${old}`, there: `kernel busy: ${old}`, gone: `no kernel: ${old}` }[way] ?? `kernel busy, or gone: ${old}` : `running ${((now - oldest) / 1000).toFixed(1)} s, `;
    if (bar.dataset.kind !== "running") bar.replaceChildren(document.createElement("span"));
    bar.dataset.kind = "running";
    bar.firstChild.textContent = said;
    if (silent) { bar.querySelector("button")?.remove(); return; }
    if (!bar.querySelector("button")) {
      const cancel = Object.assign(document.createElement("button"), { textContent: "Cancel", className: "link", type: "button" });
      cancel.onclick = () => { const slots = new Set([...pending.values()].map((p) => p.slot)); pending.clear(); slots.forEach((s) => ask("cancel", {}, s)); };
      bar.append(cancel);
    }
  }
  function lost() {
    pending.clear();
    status();
    gone = true;
    note(model.get("ended") ?? "static: run the cell again to explore", "warn");
    root.querySelector(".fw")?.setAttribute("data-static", "");
  }

  // --- pointers
  on("click", (event) => {
    const copied = event.target.closest("[data-copy]");
    if (copied) { copy(copied); return; }
    const target = event.target.closest("[role=gridcell],[data-send]");
    if (!target || target.tagName === "TABLE" || target.tagName === "FORM" || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
    if (target.getAttribute("role") === "gridcell") rove(target);
    send(target);
  });
  on("input", (event) => {
    const t = event.target;
    if (!t.dataset.send || t.tagName === "SELECT") return;
    if (t.type === "range") slide(t);
    else send(t, { [t.dataset.param]: t.value }, true);
  });
  on("change", (event) => { if (event.target.tagName === "SELECT" && event.target.dataset.send) send(event.target, { [event.target.dataset.param]: event.target.value }); });
  on("submit", (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    if (event.target.dataset.send) send(event.target, event.target.dataset.param ? { [event.target.dataset.param]: JSON.stringify(values) } : values);
  });
  function slide(t) {
    const at = Number(t.value), said = new Date(at / 1000).toISOString().replace("T", " ").slice(0, 19), shown = root.querySelector("[data-as-of]");
    if (shown) shown.textContent = said;
    const share = (at - Number(t.min)) / (Number(t.max) - Number(t.min)), handle = root.querySelector("[data-handle]");
    if (handle) { const { from, to, at: was } = JSON.parse(handle.dataset.handle); handle.setAttribute("transform", `translate(${(from + (to - from) * share - was).toFixed(1)} 0)`); }
    t.setAttribute("aria-valuetext", `${said} UTC`);
    send(t, { [t.dataset.param]: at }, true);
  }
  function copy(button) {
    const text = button.dataset.copy || button.closest("details,.line").querySelector("pre,code").textContent, done = () => { const was = button.textContent; button.textContent = "copied"; setTimeout(() => { button.textContent = was; }, 1200); };
    const old = () => { const area = Object.assign(document.createElement("textarea"), { value: text }); root.append(area); area.select(); document.execCommand("copy"); area.remove(); button.focus(); };
    if (navigator.clipboard?.writeText) navigator.clipboard.writeText(text).then(done, () => { old(); done(); });
    else { old(); done(); }
  }

  // --- keys
  on("focusin", (event) => { event.target.dataset.lmSuppressShortcuts = "true"; }); // the page's keys are its own: a notebook takes arrows for moves between its cells, and looks for this on what has the focus
  function rove(cell) {
    const grid = cell.closest("[data-items],[role=grid],[role=tablist],[role=listbox]");
    grid.querySelectorAll('[tabindex="0"]').forEach((e) => { if (e !== cell) e.tabIndex = -1; });
    cell.tabIndex = 0;
    cell.focus({ preventScroll: false });
  }
  function move(event, cell) {
    const row = cell.closest("tr"), cells = [...row.querySelectorAll("[role=gridcell]")], rows = [...cell.closest("table").querySelectorAll("tr")].filter((r) => r.querySelector("[role=gridcell]"));
    const i = cells.indexOf(cell), j = rows.indexOf(row);
    const to = { ArrowRight: () => cells[i + 1], ArrowLeft: () => cells[i - 1], Home: () => cells[0], End: () => cells.at(-1), ArrowDown: () => rows[j + 1]?.querySelectorAll("[role=gridcell]")[i], ArrowUp: () => rows[j - 1]?.querySelectorAll("[role=gridcell]")[i] }[event.key];
    if (!to) return false;
    const next = to();
    if (next) { rove(next); send(next, {}, true); }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") press(event.key === "ArrowDown" ? "PageDown" : "PageUp");
    return true;
  }
  function along(event, item) {
    const items = [...item.closest("[data-items],[role=tablist],[role=listbox]").querySelectorAll("[data-item],[role=tab],[role=option]")], i = items.indexOf(item), side = item.getAttribute("role") === "tab";
    const step = { [side ? "ArrowRight" : "ArrowDown"]: 1, [side ? "ArrowLeft" : "ArrowUp"]: -1 }[event.key];
    const next = event.key === "Home" ? items[0] : event.key === "End" ? items.at(-1) : step && items[(i + step + items.length) % items.length];
    if (!next) return false;
    rove(next);
    send(next, {}, true);
    return true;
  }
  function press(key) {
    const target = [...root.querySelectorAll(`[data-key~="${CSS.escape(key)}"]`)].find((e) => !e.disabled && e.offsetParent !== null);
    if (!target) return false;
    if (/^(INPUT|SELECT)$/.test(target.tagName)) target.focus(); else target.click();
    return true;
  }
  on("keydown", (event) => {
    const t = event.target, typing = t.matches("input:not([type=range]),select,textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    let done = false;
    if (t.type === "range" && t.dataset.send && (event.key === "ArrowLeft" || event.key === "ArrowRight")) done = press(event.key === "ArrowLeft" ? "previous-change" : "next-change");
    else if (t.getAttribute("role") === "gridcell") done = move(event, t);
    else if (t.matches("[data-item],[role=tab],[role=option]")) done = along(event, t);
    if (!done && (event.key === "Enter" || event.key === " ") && t.dataset.send && !/^(INPUT|SELECT|BUTTON|TEXTAREA|SUMMARY)$/.test(t.tagName)) { send(t); done = true; }
    if (!done && (!typing || event.key === "Escape")) done = press(event.key);
    if (done) event.preventDefault();
    event.stopPropagation();
  });

  // --- the kernel's side
  model.on("msg:custom", heard);
  model.on("comm_live_update", lost);
  model.on("comm:close", lost);
  const clock = setInterval(status, 100);
  signal?.addEventListener("abort", () => {
    clearInterval(clock);
    sizes.disconnect();
    timers.forEach((t) => clearTimeout(t.timer));
    model.off("msg:custom", heard);
    model.off("comm_live_update", lost);
    model.off("comm:close", lost);
  });
  const sizes = new ResizeObserver(pin);  // a front end may lay the page out long after it is made
  sizes.observe(root);
  begin(root);
  if (number === base) ask("hello", {}, "hello"); // whatever is asked first, its answer says that somebody is there
  status();
}

export default { render };
