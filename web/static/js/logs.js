// The log page: live lines over a WebSocket, following until one scrolls up, resuming after the last line seen.
// Lines come as HTML that the server escaped (web::ansi).

import { connect } from "./socket.js";

const KEEP = 20000; // lines; older ones leave the page, not the log
const log = document.getElementById("log");
const dot = document.getElementById("connection");

if (log) {
  const list = log.querySelector("ol");
  const follow = log.querySelector(".follow");
  const button = follow.querySelector("button");
  const query = log.dataset.query.toLowerCase();
  let cursor = log.dataset.cursor, following = true, unseen = 0;

  const down = () => { log.scrollTop = log.scrollHeight; };
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  log.addEventListener("scroll", () => {
    following = atEnd();
    if (following) unseen = 0;
    follow.hidden = following;
    button.textContent = unseen ? `${unseen} new ${unseen === 1 ? "line" : "lines"}` : "Follow";
  }, { passive: true });
  button.addEventListener("click", down);

  const line = ({ t, s, h, x }) => {
    const li = document.createElement("li");
    if (s) li.className = "e";
    const time = document.createElement("time");
    time.dateTime = time.title = t;
    time.textContent = x;
    const text = document.createElement("span");
    text.innerHTML = h;
    li.append(time, text);
    return li;
  };
  const mark = (words) => {
    const li = document.createElement("li");
    li.className = "mark";
    const empty = document.createElement("span"), text = document.createElement("span");
    text.textContent = words;
    li.append(empty, text);
    list.append(li);
    if (following) down();
  };

  for (const tool of document.querySelectorAll("[data-toggle]")) {
    const name = tool.dataset.toggle;
    const apply = (on) => { tool.setAttribute("aria-pressed", on); log.classList.toggle(name === "wrap" ? "wrap" : "plain", name === "wrap" ? on : !on); };
    apply(localStorage.getItem(`log-${name}`) !== "off");
    tool.hidden = false;
    tool.addEventListener("click", () => { const on = tool.getAttribute("aria-pressed") !== "true"; localStorage.setItem(`log-${name}`, on ? "on" : "off"); apply(on); });
  }
  const reload = document.querySelector("[data-reload]");
  if (reload) reload.hidden = true;
  down();

  let ended = false;
  connect({
    url: () => `${log.dataset.socket}?after=${encodeURIComponent(cursor)}`,
    message: (text) => {
      const { lines, cursor: next, end } = JSON.parse(text);
      if (lines?.length) {
        list.querySelector("[data-none]")?.remove();
        const shown = query ? lines.filter((l) => { const e = document.createElement("span"); e.innerHTML = l.h; return e.textContent.toLowerCase().includes(query); }) : lines;
        list.append(...shown.map(line));
        while (list.childElementCount > KEEP) list.firstElementChild.remove();
        if (following) down(); else { unseen += shown.length; follow.hidden = false; button.textContent = `${unseen} new ${unseen === 1 ? "line" : "lines"}`; }
      }
      if (next) cursor = next;
      if (end) { ended = true; mark(end); }
    },
    state: (word) => {
      dot.hidden = false;
      dot.dataset.state = word;
      dot.textContent = { live: "live", waiting: "connecting", off: ended ? "ended" : "not connected" }[word];
    },
    again: (event) => !ended && event.code !== 1008,
  });
}
