"""A receiver of webhooks for the specs: python3 hooks.py FOLDER [SECRET…]

Listens on a port of its own (FOLDER/port) and writes a line of JSON for every request to FOLDER/requests and for
everything that it acts upon to FOLDER/acted: once for every webhook-id. What it answers is the path's first word:

  /ok            200                      /fail/N        500 for the first N tries of an id, then 200
  /busy/N/S      429 with Retry-After: S for the first N tries of an id, then 200
  /moved         301 to /ok               /gone          410
  /hang/N        never, for the first N tries of an id
  /drop/N        takes the body, acts, and closes the connection without an answer, for the first N tries of an id
  /picky/…       400 where BAD is in the body, else 200
"""
import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

folder, secrets = sys.argv[1], sys.argv[2:]
lock = threading.Lock()
tries, acted = {}, set()


def write(name, what):
    with open(os.path.join(folder, name), "a") as file:
        file.write(json.dumps(what) + "\n")


def signed_by(headers, body):
    """The numbers of the secrets that have signed it."""
    content = b"%s.%s.%s" % (headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body)
    given = [part.split(",", 1)[1] for part in headers.get("webhook-signature", "").split() if part.startswith("v1,")]
    found = []
    for n, secret in enumerate(secrets, 1):
        key = base64.b64decode(secret.removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        if any(hmac.compare_digest(mac, other) for other in given):
            found.append(n)
    return found


class Receiver(BaseHTTPRequestHandler):
    def answer(self, status, headers=(), body=b"so be it\n"):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def act(self, name, body):
        with lock:
            if name not in acted:
                acted.add(name)
                write("acted", {"id": name, "path": self.path, "body": body.decode()})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = self.headers.get("webhook-id", "")
        words = self.path.strip("/").split("/")
        with lock:
            tries[(self.path, name)] = n = tries.get((self.path, name), 0) + 1
            write("requests", {
                "path": self.path, "id": name, "try": n, "at": time.time(), "body": body.decode(),
                "timestamp": self.headers.get("webhook-timestamp", ""),
                "fresh": abs(time.time() - int(self.headers.get("webhook-timestamp", 0))) < 30,
                "signed": signed_by(self.headers, body) if name else [],
                "headers": {key.lower(): value for key, value in self.headers.items()}})
        bad = len(words) > 1 and words[1].isdigit() and n <= int(words[1])
        if words[0] == "fail" and bad:
            self.answer(500, body=b"the disk is full\n")
        elif words[0] == "busy" and bad:
            self.answer(429, [("Retry-After", words[2])])
        elif words[0] == "moved":
            self.answer(301, [("Location", "/ok")])
        elif words[0] == "gone":
            self.answer(410)
        elif words[0] == "picky" and b"BAD" in body:
            self.answer(400, body=b"BAD is not valid\n")
        elif words[0] == "hang" and bad:
            time.sleep(60)
        elif words[0] == "drop" and bad:
            self.act(name, body)
            self.close_connection = True
        else:
            self.act(name, body)
            self.answer(200)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Receiver)
for name in ("requests", "acted"):
    open(os.path.join(folder, name), "w").close()
with open(os.path.join(folder, "port.new"), "w") as port:
    port.write(str(server.server_port))
os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
server.serve_forever()
