// A tab of a desktop as its terminal and its messages see it: one WebSocket, and what came over it, as `window.tab`.

const decoder = new TextDecoder();
let socket = null;

window.tab = {
  /** Everything that came, as one text (terminal) and message by message (broadcast). */
  text: "",
  messages: [],
  closed: null,

  open(path) {
    socket = new WebSocket(`ws://${location.host}${path}`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      const text = typeof data === "string" ? data : decoder.decode(data, { stream: true });
      window.tab.text += text;
      window.tab.messages.push(text);
    };
    socket.onclose = ({ code, reason }) => { window.tab.closed = { code, reason }; };
    return new Promise((resolve, reject) => {
      socket.onopen = () => resolve();
      socket.onerror = () => reject(new Error("refused"));
    });
  },

  send(...texts) { for (const text of texts) socket.send(text); },

  close(code, reason) { socket.close(code, reason); },

  async post(path, token) {
    const response = await fetch(path, { method: "POST", headers: { ABCAuthorization: `Bearer ${token}` } });
    return { status: response.status, text: await response.text() };
  },
};
