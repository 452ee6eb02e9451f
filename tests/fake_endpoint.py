"""A fake OpenAI-compatible server on this machine; the fixture `server` in conftest starts one."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text, prompt_tokens=100, completion_tokens=10):
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}), {}


def refusal(status, message="", **headers):
    return status, json.dumps({"error": {"message": message}}), headers


class FakeServer:
    """Answers with `script` items in turn, then with `answer(request body)`; keeps all requests."""

    def __init__(self):
        self.script, self.requests, self.answer = [], [], lambda body: completion('{"score": 10}')
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake.lock:
                    fake.requests.append((self.path, dict(self.headers), body))
                    planned = fake.script.pop(0) if fake.script else fake.answer(body)
                if planned is None:  # hang up without a word
                    self.connection.close()
                    return
                status, text, headers = planned
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                with contextlib.suppress(OSError):  # a caller that waits no longer
                    self.wfile.write(text.encode())

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
