"""How many connections one client may have, and that many clients are served at once."""

import pytest
from support import maildir, procs, setups, smtp
from support.mta import HOSTNAME
from support.setups import DOMAIN


@pytest.fixture
def server(make_mta, folder, owner):
    return setups.hosted_server(
        make_mta, folder, owner, {"smtpd_client_connection_count_limit": "3", "smtpd_client_event_limit_exceptions": "127.0.0.1"}
    )


def test_limit_per_client(server):
    clients = [server.connect(stranger=True) for _ in range(3)]
    with server.connect(stranger=True, greet=False) as fourth:
        assert fourth.expect(421).text == f"4.7.0 {HOSTNAME} Error: too many connections from 127.0.0.2"
        fourth.expect_closed()
    server.wait_log(r"smtpd\[\d+\]: warning: Connection concurrency limit exceeded: 4 from \S+\[127\.0\.0\.2\] for service ")
    with smtp.Smtp(server.address(), source=("127.0.0.3", 0)):
        pass  # another client is not affected
    clients.pop().close()
    server.wait_log(r"disconnect from \S+\[127\.0\.0\.2\]", count=2)

    def accepted():
        with server.connect(stranger=True, greet=False) as again:
            return again.reply().code == 220

    procs.wait_for(accepted, what="a free place after one client left")
    for client in clients:
        client.cmd("NOOP", 250)
        client.close()


def test_exceptions(server):
    """smtpd_client_event_limit_exceptions is mynetworks by default."""
    clients = [server.connect() for _ in range(10)]
    for client in clients:
        client.cmd("NOOP", 250)
        client.close()


def test_two_hundred_sessions_at_once(hosted):
    clients = [hosted.connect() for _ in range(200)]
    for client in clients:
        client.send(f"EHLO c.example\r\nMAIL FROM:<s@client.example>\r\nRCPT TO:<u1@{DOMAIN}>\r\nDATA\r\n")
    for client in clients:
        assert [client.reply().code for _ in range(4)] == [250, 250, 250, 354]
    for number, client in enumerate(clients):
        client.send(smtp.stuff(b"Subject: %d\r\n\r\nbody\r\n" % number))
    for client in clients:
        client.expect(250)
        client.close()
    raws = maildir.wait_messages(hosted.maildir("u1"), 200)
    subjects = {line for raw in raws for line in raw.split(b"\n") if line.startswith(b"Subject: ")}
    assert len(subjects) == 200


def test_clients_that_vanish(hosted):
    """Connections dropped at every stage leave the server as it was."""
    steps = ["EHLO c.example\r\n", "MAIL FROM:<s@client.example>\r\n", f"RCPT TO:<u2@{DOMAIN}>\r\n", "DATA\r\n", "Subject: x\r\n\r\n", "text\r\n."]
    for count in range(len(steps) + 1):
        client = hosted.connect()
        client.send("".join(steps[:count]))
        client.close()
        client = hosted.connect()
        client.send("".join(steps[:count]))
        client.sock.setsockopt(smtp.socket.SOL_SOCKET, smtp.socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # reset
        client.close()
    smtp.send_mail(hosted.address(), "s@client.example", f"u2@{DOMAIN}", b"Subject: whole\r\n\r\n")
    maildir.wait_messages(hosted.maildir("u2"), 1)
