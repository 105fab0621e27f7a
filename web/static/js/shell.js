// The shell page: xterm.js over a WebSocket. The form asks the server for a ticket (one use, bound to this session and
// container), and the first message on the socket spends it, so that no secret stands in an address.

import { adopt } from "./adopt-styles.js";
import { Terminal } from "@xterm/xterm";
import { FitAddon } from "@xterm/addon-fit";

const form = document.getElementById("shell-form");
const frame = document.getElementById("terminal");
const dot = document.getElementById("connection");
const reader = document.getElementById("reader");

function state(word, text) { dot.dataset.state = word; dot.textContent = text; }

if (form && frame) {
  adopt(document);
  const terminal = new Terminal({
    cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
    fontSize: 13,
    scrollback: 10000,
    screenReaderMode: localStorage.getItem("reader") === "on",
    // What a program in the container may not do to the person's machine: set the clipboard, ask what it holds.
    allowProposedApi: false,
    theme: { background: "#0a0c0f", foreground: "#e7eaf0", cursor: "#7fb0ff", selectionBackground: "#2c4a80", black: "#242a33", red: "#ff8f86", green: "#67d08a", yellow: "#e8b45a", blue: "#7fb0ff", magenta: "#dc9bea", cyan: "#6fd3e0", white: "#cfd5df", brightBlack: "#6f7887", brightRed: "#ffa39b", brightGreen: "#8be3a7", brightYellow: "#f3c97e", brightBlue: "#a5c8ff", brightMagenta: "#ebbaf5", brightCyan: "#9be5ee", brightWhite: "#ffffff" },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(frame);
  fit.fit();
  for (const osc of [52, 4, 10, 11, 12]) terminal.parser.registerOscHandler(osc, () => true); // clipboard, colour questions
  for (const final of ["c", "n"]) { // device attributes and status reports answer into the program's input
    terminal.parser.registerCsiHandler({ final }, () => true);
    terminal.parser.registerCsiHandler({ prefix: ">", final }, () => true);
    terminal.parser.registerCsiHandler({ prefix: "?", final }, () => true);
  }
  terminal.parser.registerCsiHandler({ final: "n" }, (parameters) => { // but shells need to know where the cursor is
    if (parameters[0] === 6) { const b = terminal.buffer.active; send(`\x1b[${b.cursorY + 1};${b.cursorX + 1}R`); }
    return true;
  });
  terminal.parser.registerCsiHandler({ final: "t" }, () => true); // window and title reports
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.ctrlKey && event.shiftKey && event.key === "Escape") { terminal.blur(); form.querySelector("button").focus(); return false; }
    return true;
  });

  let socket = null;
  const send = (data) => { if (socket?.readyState === WebSocket.OPEN) socket.send(new TextEncoder().encode(data)); };
  const size = () => { if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ rows: terminal.rows, columns: terminal.cols })); };
  terminal.onData(send);
  terminal.onBinary((data) => { if (socket?.readyState === WebSocket.OPEN) socket.send(Uint8Array.from(data, (c) => c.charCodeAt(0))); });
  terminal.onResize(size);
  new ResizeObserver(() => fit.fit()).observe(frame);

  reader.checked = terminal.options.screenReaderMode;
  reader.addEventListener("change", () => { terminal.options.screenReaderMode = reader.checked; localStorage.setItem("reader", reader.checked ? "on" : "off"); });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    socket?.close();
    state("waiting", "connecting");
    let ticket;
    try {
      const answer = await fetch(form.dataset.ticket, { method: "POST", body: new URLSearchParams(new FormData(form)), credentials: "same-origin" });
      const said = await answer.json();
      if (!answer.ok) throw new Error(said.message);
      ticket = said.ticket;
    } catch (error) {
      state("off", "not connected");
      terminal.writeln(`\x1b[31m${error.message.replace(/[\x00-\x1f]/g, " ")}\x1b[0m`);
      return;
    }
    const address = new URL(form.dataset.socket, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const mine = socket = new WebSocket(address);
    mine.binaryType = "arraybuffer";
    mine.onopen = () => { mine.send(JSON.stringify({ ticket, rows: terminal.rows, columns: terminal.cols })); terminal.reset(); terminal.focus(); state("live", "connected"); };
    mine.onmessage = ({ data }) => {
      if (typeof data === "string") { const said = JSON.parse(data); terminal.writeln(`\r\n\x1b[2m${said.end.replace(/[\x00-\x1f]/g, " ")}\x1b[0m`); } else terminal.write(new Uint8Array(data));
    };
    mine.onclose = () => { if (mine === socket) state("off", "not connected"); };
  });
  addEventListener("beforeunload", () => socket?.close());
  if (form.checkValidity()) form.requestSubmit();
}
