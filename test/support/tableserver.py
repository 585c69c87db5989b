"""A scripted server for tcp: and socketmap: tables, which may misbehave at will.

    with TableServer(answer) as server: ...

`answer(request)` gives the bytes to send for a request (b"get KEY\\n" or a whole netstring), None to close the
connection, or a generator of pieces, between which it may wait. Each connection has a thread.
"""

import socket
import threading


class TableServer:
    def __init__(self, answer, path=None, port=0):
        self.answer = answer
        self.requests = []
        self.connections = 0
        self.closed = threading.Event()
        self.lock = threading.Lock()
        self.open = set()
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
        else:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(("127.0.0.1", port))
            self.port = self.listener.getsockname()[1]
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Closes the listener and every connection, as the end of the server's process would."""
        self.closed.set()
        for sock in [self.listener, *self.open]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _accept(self):
        while not self.closed.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            rest = b""
            while True:
                request, rest = self._request(sock, rest)
                if request is None:
                    break
                self.requests.append(request)
                reply = self.answer(request)
                if reply is None:
                    break
                for piece in [reply] if isinstance(reply, bytes) else reply:
                    sock.sendall(piece)
        except OSError:
            pass
        with self.lock:
            self.open.discard(sock)
        sock.close()

    def _request(self, sock, data):
        """One line, or one netstring."""
        while True:
            if data[:1].isdigit():
                length, colon, rest = data.partition(b":")
                if colon and len(rest) > int(length):
                    return data[: len(length) + int(length) + 2], rest[int(length) + 1 :]
            elif b"\n" in data:
                line, _, rest = data.partition(b"\n")
                return line + b"\n", rest
            more = sock.recv(65536)
            if not more:
                return None, b""
            data += more


def netstring(data):
    return b"%d:%s," % (len(data), data)
