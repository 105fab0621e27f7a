// A WebSocket that comes back: exponential back-off with jitter, told to wait while the page is hidden or offline.
// `url()` is asked anew for each attempt, so that a cursor in it makes the stream resume where it was.

export function connect({ url, open, message, state, again = () => true }) {
  let socket = null, tries = 0, timer = 0, over = false;

  const dial = () => {
    if (over) return;
    state?.("waiting");
    const address = new URL(url(), location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { tries = 0; state?.("live"); open?.(socket); };
    socket.onmessage = (event) => message(event.data, socket);
    socket.onclose = (event) => {
      state?.("off", event);
      if (over || !again(event)) return;
      const wait = Math.min(30000, 500 * 2 ** tries++) * (0.7 + Math.random() * 0.6);
      state?.("waiting");
      timer = setTimeout(dial, wait);
    };
  };
  addEventListener("online", () => { if (socket?.readyState === WebSocket.CLOSED && !over && again({})) { clearTimeout(timer); dial(); } });
  dial();
  return { close() { over = true; clearTimeout(timer); socket?.close(); }, get socket() { return socket; } };
}
