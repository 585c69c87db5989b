"""Commands in one segment (RFC 2920): replies come in order, each command sees what the ones before it did."""

from support import maildir, smtp
from support.setups import DOMAIN

BODY = b"Subject: pipelined\r\n\r\nbody\r\n"


def test_whole_transaction_in_two_segments(hosted):
    with hosted.connect() as client:
        client.send(f"EHLO client.example\r\nMAIL FROM:<s@client.example>\r\nRCPT TO:<u1@{DOMAIN}>\r\nDATA\r\n")
        assert [client.reply().code for _ in range(4)] == [250, 250, 250, 354]
        client.send(smtp.stuff(BODY) + b"QUIT\r\n")
        assert [client.reply().code for _ in range(2)] == [250, 221]
        client.expect_closed()
    [raw] = maildir.wait_messages(hosted.maildir("u1"), 1)
    assert b"Subject: pipelined\n" in raw


def test_several_messages_in_one_segment(hosted):
    """What follows the final dot in the same segment is the next command."""
    one = f"MAIL FROM:<s@client.example>\r\nRCPT TO:<u2@{DOMAIN}>\r\n"
    with hosted.connect() as client:
        client.ehlo()
        for _ in range(3):
            client.send(one + "DATA\r\n")
            assert [client.reply().code for _ in range(3)] == [250, 250, 354]
            client.send(smtp.stuff(BODY) + b"RSET\r\nNOOP\r\n")
            assert [client.reply().code for _ in range(3)] == [250, 250, 250]
    maildir.wait_messages(hosted.maildir("u2"), 3)


def test_mixed_results(hosted):
    with hosted.connect() as client:
        client.ehlo()
        client.send(
            "MAIL FROM:<s@client.example>\r\n"
            f"RCPT TO:<nobody@{DOMAIN}>\r\nRCPT TO:<u3@{DOMAIN}>\r\nFOO\r\nRCPT TO:<u4@{DOMAIN}>\r\nDATA\r\n"
        )
        assert [client.reply().code for _ in range(6)] == [250, 550, 250, 500, 250, 354]
        client.send(smtp.stuff(BODY))
        client.expect(250)
    maildir.wait_messages(hosted.maildir("u3"), 1)
    maildir.wait_messages(hosted.maildir("u4"), 1)


def test_data_refused_then_commands(hosted):
    """When DATA is refused, what follows is commands, not content."""
    with hosted.connect() as client:
        client.ehlo()
        client.send(f"MAIL FROM:<s@client.example>\r\nRCPT TO:<nobody@{DOMAIN}>\r\nDATA\r\nNOOP\r\nQUIT\r\n")
        assert [client.reply().code for _ in range(5)] == [250, 550, 554, 250, 221]
        client.expect_closed()


def test_hundreds_of_recipients_in_one_segment(hosted):
    with hosted.connect() as client:
        client.ehlo()
        client.send("MAIL FROM:<s@client.example>\r\n" + f"RCPT TO:<u5@{DOMAIN}>\r\n" * 500 + "RSET\r\n")
        assert [client.reply().code for _ in range(502)] == [250] * 502


def test_every_split_of_a_dialogue(hosted):
    """The same bytes cut anywhere get the same replies."""
    wire = f"EHLO c.example\r\nMAIL FROM:<s@client.example>\r\nRCPT TO:<u6@{DOMAIN}>\r\nRSET\r\nQUIT\r\n".encode()
    for cut in range(1, len(wire), 3):
        with hosted.connect() as client:
            client.send(wire[:cut])
            client.send(wire[cut:])
            assert [client.reply().code for _ in range(5)] == [250, 250, 250, 250, 221]


def test_client_that_does_not_read(hosted):
    """A client that sends and never reads replies must not make the server buffer without bound; it is served once it reads."""
    line = b"NOOP " + b"x" * 500 + b"\r\n"
    with hosted.connect() as client:
        client.ehlo()
        client.sock.settimeout(2)
        sent = 0
        try:
            while sent < 90:
                client.send(line)
                sent += 1
        except TimeoutError:
            pass
        assert all(client.reply().code == 250 for _ in range(sent))
