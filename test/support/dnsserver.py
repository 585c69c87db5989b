"""Debian's nsd with the zones of a test on a loopback port, and a server that answers as badly as it is told to.

nsd is ready within some 50 ms, and reads zones that have changed when it is asked to. A zone without records is one
that it cannot load: questions about it get SERVFAIL; questions about zones it does not have get REFUSED.
"""

import socket
import struct
import threading

from support import procs

_CONF = """\
server:
  server-count: 1
  ip-address: 127.0.0.1@{port}
  username: ""
  chroot: ""
  pidfile: ""
  zonesdir: "{dir}"
  zonelistfile: "{dir}/zone.list"
  xfrdfile: ""
  xfrdir: "{dir}"
  rrl-ratelimit: 0
remote-control:
  control-enable: no
"""
_SOA = "@ {ttl} IN SOA ns hostmaster {serial} 3600 600 86400 {ttl}\n@ IN NS ns.invalid.\n"


class DnsServer:
    """zones: {"example": "records in the language of zone files", "broken": None}."""

    def __init__(self, directory, zones, negative_ttl=60):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.negative_ttl = negative_ttl
        self.zones = dict(zones)
        self.serial = 0
        self.port = procs.free_ports(1)[0]
        self.child = None

    @property
    def resolver(self):
        """For the parameter resolver."""
        return f"127.0.0.1:{self.port}"

    def _write(self):
        self.serial += 1
        conf = _CONF.format(port=self.port, dir=self.directory)
        for zone, records in self.zones.items():
            conf += f'zone:\n  name: "{zone}"\n  zonefile: "{zone}.zone"\n'
            if records is not None:
                head = f"$ORIGIN {zone}.\n$TTL 300\n" + _SOA.format(ttl=self.negative_ttl, serial=self.serial)
                (self.directory / f"{zone}.zone").write_text(head + records)
        (self.directory / "nsd.conf").write_text(conf)

    def start(self):
        self._write()
        with open(self.directory / "log", "ab") as log:
            self.child = procs.spawn(["/usr/sbin/nsd", "-d", "-c", self.directory / "nsd.conf"], stdout=log, stderr=log)
        self._wait_serial()
        return self

    def _wait_serial(self):
        """For every zone, and several times: after a reload the process before may still take a question."""
        zones = [zone for zone, records in self.zones.items() if records is not None] * 5
        procs.wait_for(lambda: all(self._serial(zone) == self.serial for zone in zones), 30, "nsd to answer")

    def _serial(self, zone):
        """The serial number that it gives out; None while it does not answer."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.5)
            sock.connect(("127.0.0.1", self.port))
            try:
                sock.send(question(zone, 6))
                reply = sock.recv(4096)
            except OSError:
                assert self.child.poll() is None, (self.directory / "log").read_text()
                return None
        # The five last numbers of the SOA record, which the NS record follows.
        soa = reply.find(struct.pack(">IIII", 3600, 600, 86400, self.negative_ttl))
        return struct.unpack(">I", reply[soa - 4 : soa])[0] if soa > 0 else None

    def change(self, zone, records):
        """Other records for a zone that it has; returns when they are in force."""
        self.zones[zone] = records
        self._write()
        self.child.send_signal(1)
        self._wait_serial()

    def stop(self):
        if self.child is not None and self.child.poll() is None:
            procs.terminate(self.child)
        self.child = None


def question(name, kind, ident=1):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", ident, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


class FakeDns:
    """A name server that gives each question (bytes, over UDP) to `answer`, which returns the replies to send."""

    def __init__(self, answer):
        self.answer = answer
        self.questions = []
        self.stopped = False
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.resolver = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as poke:
            poke.sendto(b"", self.sock.getsockname())
        self.thread.join()
        self.sock.close()

    def _serve(self):
        while True:
            asked, client = self.sock.recvfrom(65535)
            if self.stopped:
                return
            self.questions.append(asked)
            for reply in self.answer(asked):
                self.sock.sendto(reply, client)
