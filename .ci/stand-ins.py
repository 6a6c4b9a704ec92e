"""The neighbours that the scratch image meets in .ci/scratch-image, in a network namespace of its own.

A DNS server on 127.0.0.53 that knows two names, and three HTTP servers that answer with their name and the path they see.
"""
import http.server
import socket
import threading

NAMES = {b"pyos": "127.0.2.3", b"pod.desktop.test": "127.0.2.4"}
SERVERS = [("website", "127.0.2.2", 80), ("pyos", "127.0.2.3", 8000), ("pod", "127.0.2.4", 29783)]


def answer_names():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.53", 53))
    threading.Thread(target=lambda: [answer(server, *server.recvfrom(1500)) for _ in iter(int, 1)], daemon=True).start()


def answer(server, query, peer):
    """RFC 1035 section 4: one question in, at most one address record out; AAAA exists for no name here."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]])
        at += 1 + query[at]
    kind = int.from_bytes(query[at + 1 : at + 3], "big")
    address = NAMES.get(b".".join(labels).lower())
    count = 1 if address and kind == 1 else 0
    code = 0 if address else 3
    reply = query[:2] + bytes([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]) + query[12 : at + 5]
    if count:
        reply += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address)
    server.sendto(reply, peer)


def serve(name, address, port):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"{name} {self.path}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    threading.Thread(target=http.server.ThreadingHTTPServer((address, port), Handler).serve_forever).start()


answer_names()
for each in SERVERS:
    serve(*each)
print("ready", flush=True)
