"""Dovecot as the service that both servers ask about passwords: it takes every password, so that no hash is measured."""

from support.dovecot import Dovecot

_SERVICE = """\
service auth {
  unix_listener auth-client {
    mode = 0666
  }
}
"""


class AuthDovecot(Dovecot):
    def start(self):
        self.conf.write_text(self.conf.read_text() + _SERVICE)
        super().start()

    def auth_path(self):
        return self.directory / "run" / "auth-client"
