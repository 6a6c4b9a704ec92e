// What the package exports: the gateway's consoles for programs that serve them themselves.

export { WebsocketProxy, type WebsocketProxyOptions } from "./websocket-proxy.ts";
