"""Clients that keep sending until the server is gone, and know what was accepted."""

import itertools
import threading

from support.smtp import Smtp

_numbers = itertools.count(1)


class Load:
    """`sessions` threads send small and middle-sized messages to `recipients` (an address, or a list of them for one
    message) in turn. Each has its own Subject number."""

    def __init__(self, address, recipients, sessions=6, sender="load@client.example"):
        self.address = address
        self.recipients = itertools.cycle(recipients)
        self.sender = sender
        self.accepted = {}  # number -> (recipient, content)
        self.sent = {}  # the same of all that was tried
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(sessions)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self.stopping.is_set():
            try:
                with Smtp(self.address, timeout=30) as smtp:
                    smtp.ehlo()
                    while not self.stopping.is_set():
                        self._send_one(smtp)
            except (OSError, AssertionError):
                # The server is gone or refuses: what got no 250 does not count.
                self.stopping.wait(0.05)

    def _send_one(self, smtp):
        with self.lock:
            number, recipient = next(_numbers), next(self.recipients)
        body = f"From: load@client.example\r\nDate: x\r\nMessage-Id: x\r\nSubject: {number}\r\n\r\n".encode()
        body += b"".join(b"%d of %d\r\n" % (line, number) for line in range(number % 7 * 400))
        with self.lock:
            self.sent[number] = (recipient, body)
        smtp.mail(self.sender, recipient, body)
        with self.lock:
            self.accepted[number] = (recipient, body)

    def count(self):
        with self.lock:
            return len(self.accepted)

    def stop(self):
        """Ends the threads; returns {number: (recipient, content)} of everything that got its 250."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()
        return self.accepted
