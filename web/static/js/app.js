// On every page: live rows, filters as you type, the palette, keys, copying. All of it is added to pages that work without.

import htmx from "htmx.org/dist/htmx.esm.js";
import { Idiomorph } from "idiomorph";
import { connect } from "./socket.js";

Object.assign(htmx.config, { allowEval: false, includeIndicatorStyles: false, selfRequestsOnly: true, historyCacheSize: 0, scrollBehavior: "auto", allowScriptTags: false });

// What a person ticked, typed or opened stays theirs when rows are renewed under it.
Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !((name === "checked" && node.type === "checkbox") || (name === "open" && node.tagName === "DETAILS") || name === "hidden");
Idiomorph.defaults.ignoreActiveValue = true;
htmx.defineExtension("morph", {
  isInlineSwap: (style) => style === "morph",
  handleSwap: (style, target, fragment) => style === "morph" ? Idiomorph.morph(target, fragment.firstElementChild ?? fragment, { morphStyle: "outerHTML" }) : false,
});
document.body.setAttribute("hx-ext", "morph");

const base = document.body.dataset.base;
const $ = (selector, from = document) => from.querySelector(selector);
const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];

// Live: the server says which kind of thing changed; the page asks for itself again and takes over what differs.
const live = () => $$("[data-live]");
let renewing = null, again = false, due = 0;
async function renew() {
  if (renewing) { again = true; return; }
  renewing = (async () => {
    const answer = await fetch(location.href, { headers: { "HX-Request": "true" }, credentials: "same-origin" });
    if (!answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of live()) {
      const now = fresh.getElementById(old.id);
      if (now) Idiomorph.morph(old, now, { morphStyle: "outerHTML" });
    }
    enhance();
  })().catch(() => {}).finally(() => { renewing = null; if (again) { again = false; soon(); } });
}
// At most about three renewals a second, however many events come.
function soon() { if (!due && !document.hidden) due = setTimeout(() => { due = 0; renew(); }, 300); }
let missed = false;
if (base && live().length) {
  let first = true;
  connect({
    url: () => `${base}/ws/events`,
    open: () => { if (!first) soon(); first = false; },
    message: (text) => {
      const { kind } = JSON.parse(text);
      if (!live().some((e) => e.dataset.live.split(" ").includes(kind))) return;
      if (document.hidden) missed = true; else soon();
    },
    again: (event) => event.code !== 1008,
  });
  addEventListener("visibilitychange", () => { if (!document.hidden && missed) { missed = false; soon(); } });
  // Ages ("3 min ago") grow without any event.
  setInterval(() => { if (!document.hidden) soon(); }, 30000);
}

// Things that only make sense with scripts are hidden in the HTML, and shown here.
function enhance() {
  for (const e of $$("[data-js][hidden], [data-copy][hidden], [data-copy-from][hidden], [data-all][hidden]")) e.hidden = false;
  const picked = $$("input[name=c]:checked").length;
  const words = $("[data-picked]");
  if (words) words.textContent = picked ? `${picked} selected:` : "With the selected:";
  for (const button of $$("#bulk [name=do]")) button.disabled = !picked;
}
enhance();
document.body.addEventListener("htmx:afterSettle", enhance);
addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) for (const box of $$("input[name=c]")) box.checked = event.target.checked;
  if (event.target.matches("[data-all], input[name=c]")) enhance();
});

addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy], [data-copy-from]");
  if (copy) {
    const text = copy.dataset.copy ?? $(copy.dataset.copyFrom).textContent;
    try { await navigator.clipboard.writeText(text); say("Copied"); } catch { say("Copying was refused by the browser"); }
  }
  if (event.target.closest("[data-palette]") && !event.ctrlKey && !event.metaKey && !event.shiftKey) { event.preventDefault(); palette(); }
});

// Said to eyes and screen readers alike.
function say(text) {
  const place = $("#flash");
  if (!place) return;
  const notice = document.createElement("div");
  notice.className = "notice";
  notice.textContent = text;
  place.replaceChildren(notice);
  setTimeout(() => { if (notice.isConnected) notice.remove(); }, 4000);
}

// The palette is the search page inside a dialog.
let box = null;
function palette() {
  if (!box) {
    box = document.createElement("dialog");
    box.className = "palette";
    box.setAttribute("aria-label", "Search");
    const input = document.createElement("input");
    Object.assign(input, { className: "input", type: "search", placeholder: "Go to a container, image, page…", autocomplete: "off" });
    input.setAttribute("aria-label", "Search");
    input.setAttribute("aria-controls", "palette-found");
    const found = document.createElement("div");
    found.className = "found";
    found.id = "palette-found";
    found.setAttribute("role", "listbox");
    box.append(input, found);
    document.body.append(box);
    let asked = 0;
    const ask = async () => {
      const mine = ++asked;
      const answer = await fetch(`${base}/search?q=${encodeURIComponent(input.value)}`, { credentials: "same-origin" });
      if (mine !== asked || !answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      found.replaceChildren(...(page.getElementById("found")?.childNodes ?? []));
      choose(0);
    };
    const choose = (index) => {
      const hits = $$("a", found);
      const at = Math.max(0, Math.min(hits.length - 1, index));
      hits.forEach((hit, i) => hit.setAttribute("aria-selected", i === at));
      hits[at]?.scrollIntoView({ block: "nearest" });
    };
    const chosen = () => $$("a", found).findIndex((hit) => hit.getAttribute("aria-selected") === "true");
    let wait = 0;
    input.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(ask, 120); });
    box.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); choose(chosen() + (event.key === "ArrowDown" ? 1 : -1)); }
      if (event.key === "Enter") { event.preventDefault(); $$("a", found)[chosen()]?.click(); }
    });
    box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
    box.ask = ask;
  }
  const input = $("input", box);
  box.showModal();
  input.select();
  box.ask();
}

// Keys. One letter each, never while typing; `keys=off` in localStorage switches all of them off (WCAG 2.1.4).
const places = { h: "/", c: "/containers", i: "/images", v: "/volumes", n: "/networks", o: "/operations" };
const help = [["Ctrl K", "Search and go to"], ["/", "Find on this page"], ["g h · g c · g i", "Home · Containers · Images"], ["g v · g n · g o", "Volumes · Networks · Operations"], ["j · k", "Next · previous row"], ["Enter", "Open the row"], ["x", "Select the row"], ["l · e", "Logs · shell"], ["?", "These keys"]];
let went = 0;
function row(step) {
  const rows = $$("tbody tr");
  if (!rows.length) return;
  const at = rows.findIndex((r) => r.classList.contains("current"));
  rows[at]?.classList.remove("current");
  const next = rows[Math.max(0, Math.min(rows.length - 1, at + step))];
  next.classList.add("current");
  next.scrollIntoView({ block: "nearest" });
  $("a", next)?.focus({ preventScroll: true });
}
function keys() {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", "Keys");
  const inner = document.createElement("div");
  inner.className = "help";
  const title = document.createElement("h2");
  title.textContent = "Keys";
  const list = document.createElement("dl");
  for (const [key, what] of help) {
    const dt = document.createElement("dt"), dd = document.createElement("dd"), kbd = document.createElement("kbd");
    kbd.textContent = key; dt.append(kbd); dd.textContent = what; list.append(dt, dd);
  }
  const off = document.createElement("label");
  off.className = "check";
  const tick = document.createElement("input");
  tick.type = "checkbox";
  tick.checked = localStorage.getItem("keys") !== "off";
  tick.addEventListener("change", () => localStorage.setItem("keys", tick.checked ? "on" : "off"));
  off.append(tick, "Keys of one letter");
  inner.append(title, list, off);
  dialog.append(inner);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k" && base) { if (!event.target.closest?.(".xterm")) { event.preventDefault(); palette(); } return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog, .xterm")) return;
  if (event.key === "?") { event.preventDefault(); keys(); return; }
  if (localStorage.getItem("keys") === "off") return;
  if (Date.now() - went < 1200 && places[event.key]) { went = 0; location.href = base + places[event.key]; return; }
  const current = $("tbody tr.current");
  const to = (end) => { const link = current ? $(`a[href$="${end}"]`, current) : $(`.tabs a[href$="${end}"]`); if (link) link.click(); };
  switch (event.key) {
    case "g": went = Date.now(); break;
    case "/": { const find = $("[data-find]"); if (find) { event.preventDefault(); find.focus(); find.select(); } break; }
    case "j": row(1); break;
    case "k": row(-1); break;
    case "x": { const tick = current && $("input[name=c]", current); if (tick) tick.click(); break; }
    case "l": to("/logs"); break;
    case "e": to("/shell"); break;
  }
});
