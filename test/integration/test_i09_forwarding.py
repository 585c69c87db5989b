"""Mail between three kinds of server, and the way back: Postfix and Exim as senders and receivers, reports that arrive at
remote senders, addresses that are sent on (SRS), and mail that goes round between two servers."""

import os
import pathlib
import re
import sys

import pytest
from support import dsn, maildir, outbound, procs
from support.exim import Exim
from support.peer import PIPELINING, Peer, settle
from support.smtp import Smtp

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from bench.postfix import Postfix  # noqa: E402
from bench.server import Setup  # noqa: E402

BODY = b"From: x@y.example\r\nTo: z@y.example\r\nSubject: x\r\nMessage-Id: <one@y.example>\r\n\r\nbody\r\n"
STRANGER = "127.0.0.3"  # for Exim; not in mta's mynetworks


class World:
    """mta in the middle: p.example is Postfix's, e.example Exim's, sSOMEPORT.example a peer's of the test, and aliases of
    hosted.example lead to them. Postfix and Exim send everything else to mta."""

    def __init__(self, make, folder, owner):
        ports = procs.free_ports(4)
        self.mta_port, self.postfix_port, self.exim_port, tls_port = ports
        self.postfix = self._postfix(folder, owner, tls_port)
        self.exim = Exim(folder / "exim", self.exim_port, "e.example", ("127.0.0.1", self.mta_port), STRANGER).start()
        (folder / "transport").write_text(
            f"/@p\\.example$/ smtp:[127.0.0.1]:{self.postfix_port}\n/@e\\.example$/ smtp:[127.0.0.1]:{self.exim_port}\n"
            "/@s(\\d+)\\.example$/ smtp:[127.0.0.1]:$1\n"
        )
        (folder / "aliases").write_text(
            "/^to-(\\w+)\\.(\\w+)@hosted\\.example$/ $1@$2.example\n/^twice@hosted\\.example$/ user1@e.example, user1@p.example\n"
        )
        self.mta = make(
            {
                "transport_maps": f"pcre:{folder}/transport",
                "virtual_alias_domains": "hosted.example",
                "virtual_alias_maps": f"pcre:{folder}/aliases",
                "relay_domains": "p.example",
                "srs_forwarding": "yes",
                "srs_domain": "srs.example",
                "srs_secret": "a-secret-of-the-tests",
            },
            listeners={"smtp": {"listen": f"127.0.0.1:{self.mta_port}"}},
        )

    def _postfix(self, folder, owner, tls_port):
        server = Postfix(folder / "postfix", self.postfix_port, tls_port)
        vmail = folder / "vmail"
        vmail.mkdir(mode=0o777)
        vmail.chmod(0o777)
        (folder / "mailboxes").write_text("".join(f"user{number}@p.example user{number}/\n" for number in range(10)))
        server.start(
            Setup(
                {
                    "myhostname": "postfix.p.example",
                    "mydestination": "",
                    "mynetworks": "127.0.0.0/8",
                    "virtual_mailbox_domains": "p.example",
                    "virtual_mailbox_maps": f"texthash:{folder}/mailboxes",
                    "virtual_mailbox_base": vmail,
                    "virtual_uid_maps": f"static:{owner.uid}",
                    "virtual_gid_maps": f"static:{owner.gid}",
                    "relayhost": f"[127.0.0.1]:{self.mta_port}",
                    "smtp_host_lookup": "native",
                }
            )
        )
        server.maildir = lambda user: vmail / user
        return server

    def send_by(self, port, sender, recipients, mail="", rcpt="", source=None):
        with Smtp(("127.0.0.1", port), source=(source, 0) if source else None) as client:
            client.ehlo()
            client.cmd(f"MAIL FROM:<{sender}>{mail}", 250)
            for recipient in recipients:
                client.cmd(f"RCPT TO:<{recipient}>{rcpt}", 250)
            client.data(BODY)

    def wait_empty(self):
        procs.wait_for(lambda: self.mta.queued() == 0, 60, "mta's queue to be empty")


@pytest.fixture(scope="module")
def world(make_module_mta, module_folder, owner):
    if os.geteuid() != 0:
        pytest.skip("Postfix and Exim want to be started by root")
    made = World(make_module_mta, module_folder, owner)
    yield made
    made.exim.stop()
    made.postfix.stop()


@pytest.fixture(autouse=True)
def empty(request):
    """Each test finds empty mailboxes."""
    if "world" in request.fixturenames:
        world = request.getfixturevalue("world")
        for server in (world.postfix, world.exim):
            for user in ("user1", "user2"):
                for path in maildir.files(server.maildir(user)):
                    path.unlink()


def one_report(folder):
    [report] = dsn.reports(folder, 1)
    return report


def words(text):
    return " ".join(str(text).split())


def sent_as(message):
    """The sender in a peer's MAIL command."""
    return re.match(r"MAIL FROM:<(.*?)>", message.mail)[1]


# There and back


def test_from_postfix_to_exim_and_back(world):
    world.send_by(world.postfix_port, "user1@p.example", ["user1@e.example"])
    [message] = maildir.wait_messages(world.exim.maildir("user1"), 1)
    assert message.endswith(b"\n\nbody\n") and b"Return-path: <user1@p.example>" not in message
    world.send_by(world.exim_port, "user1@e.example", ["user1@p.example"])
    [message] = maildir.wait_messages(world.postfix.maildir("user1"), 1)
    assert message.endswith(b"\n\nbody\n") and message.count(b"\nReceived: ") >= 2
    world.wait_empty()


def test_a_report_reaches_postfix(world):
    """What Exim said at RCPT is in it; the other recipient has the mail."""
    world.send_by(world.postfix_port, "user1@p.example", ["refused1@e.example", "user1@e.example"])
    report = one_report(world.postfix.maildir("user1"))
    assert report.actions() == {"refused1@e.example": "failed"}
    fields = report.recipient("refused1@e.example")
    assert fields["Status"].startswith("5.") and words(fields["Remote-MTA"]) == "dns; 127.0.0.1"
    assert words(fields["Diagnostic-Code"]) == "smtp; 550 nobody wants refused1 here"
    assert "550 nobody wants refused1 here (in reply to RCPT TO command)" in words(report.text.get_content())
    assert b"\nMessage-Id: <one@y.example>\n" in report.raw
    maildir.wait_messages(world.exim.maildir("user1"), 1)
    world.wait_empty()


def test_a_report_reaches_exim(world):
    world.send_by(world.exim_port, "user1@e.example", ["nobody@p.example"])
    report = one_report(world.exim.maildir("user1"))
    fields = report.recipient("nobody@p.example")
    assert (fields["Action"], fields["Status"]) == ("failed", "5.1.1")
    assert words(fields["Diagnostic-Code"]).startswith("smtp; 550 5.1.1 <nobody@p.example>: Recipient address rejected")
    world.wait_empty()


@pytest.mark.parametrize("user, domain", [("user1", "e"), ("user1", "p")])
def test_success_is_reported_where_the_next_system_does_not(world, user, domain):
    """Exim has no DSN: relayed. Postfix says that it delivered, and nobody says it twice."""
    with Peer() as home:
        home_domain = f"s{home.port}.example"
        world.send_by(world.mta_port, f"from@{home_domain}", [f"{user}@{domain}.example"], mail=" RET=HDRS ENVID=xyz", rcpt=" NOTIFY=SUCCESS,FAILURE")
        [message] = home.wait_messages(1)
        report = dsn.Report(message.content)
        fields = report.recipient(f"{user}@{domain}.example")
        assert fields["Action"] == ("relayed" if domain == "e" else "delivered")
        assert report.message["Original-Envelope-Id"] == "xyz"
        assert report.message["Reporting-MTA"] == ("dns; mail.example.com" if domain == "e" else "dns; postfix.p.example")
        world.wait_empty()
        settle()
        assert len(home.messages) == 1


def test_a_recipient_that_has_no_time_is_tried_again(world):
    world.send_by(world.mta_port, "user1@p.example", ["later@e.example", "user1@e.example"])
    maildir.wait_messages(world.exim.maildir("user1"), 1)

    def attempts():
        return [result for result in world.mta.deliveries() if result["to"] == "later@e.example"]

    procs.wait_for(lambda: len(attempts()) >= 2, what="two attempts")
    assert attempts()[0]["status"] == "deferred" and "451 later has no time" in attempts()[0]["text"]
    world.exim.open()
    maildir.wait_messages(world.exim.maildir("later"), 1)
    world.wait_empty()
    assert len(maildir.files(world.exim.maildir("user1"))) == 1


# Aliases that lead elsewhere


def test_srs(world):
    """A stranger's sender becomes ours, an own user's stays; only where an alias sends on."""
    with Peer() as there:
        domain = f"s{there.port}"
        alias, direct = f"to-far.{domain}@hosted.example", f"other@{domain}.example"
        world.send_by(world.mta_port, "alice@origin.example", [alias], source="127.0.0.2")
        world.send_by(world.mta_port, "boss@hosted.example", [alias])
        world.send_by(world.mta_port, "", [alias])
        world.send_by(world.mta_port, "alice@origin.example", [direct])
        senders = [sent_as(message) for message in there.wait_messages(4)]
        [rewritten] = [sender for sender in senders if sender.startswith("SRS0=")]
        assert re.fullmatch(r"SRS0=\w{6}=\w\w=origin\.example=alice@srs\.example", rewritten)
        assert sorted(senders) == sorted([rewritten, "boss@hosted.example", "", "alice@origin.example"])
        world.wait_empty()


def test_srs_makes_two_transactions_of_a_mixed_message(world):
    with Peer() as there:
        domain = f"s{there.port}"
        world.send_by(world.mta_port, "alice@origin.example", [f"to-far.{domain}@hosted.example", f"direct@{domain}.example", f"to-near.{domain}@hosted.example"])
        there.wait_messages(2)
        settle()
        found = {sent_as(message)[:5]: sorted(re.search(r"<(\w+)@", rcpt)[1] for rcpt in message.recipients) for message in there.messages}
        assert found == {"SRS0=": ["far", "near"], "alice": ["direct"]}
        assert len(there.messages) == 2


def test_srs_finds_the_way_back(world):
    """Exim takes the mail that was sent on and then has nobody for it: its report goes to the SRS address, by mta to who wrote."""
    with Peer() as home:
        sender = f"alice@s{home.port}.example"
        world.send_by(world.mta_port, sender, ["to-moved.e@hosted.example"], source="127.0.0.2")
        [message] = home.wait_messages(1)
        assert sent_as(message) == "" and message.recipients[0].startswith(f"RCPT TO:<{sender}>")
        text = message.content.decode()
        assert "moved has moved away" in text and "Mailer-Daemon@exim.e.example" in text
        assert re.search(rf"SRS0=\w+=\w\w=s{home.port}\.example=alice@srs\.example", text)
        world.wait_empty()
        settle()
        assert len(home.messages) == 1


def test_srs_a_refusal_of_mail_sent_on_is_reported_to_who_wrote(world):
    """To the one who wrote, from us, about the address that was written to."""
    with Peer() as home:
        sender = f"alice@s{home.port}.example"
        world.send_by(world.mta_port, sender, ["to-refused2.e@hosted.example"], source="127.0.0.2")
        [message] = home.wait_messages(1)
        report = dsn.Report(message.content)
        fields = report.recipient("refused2@e.example")
        assert words(fields["Original-Recipient"]) == "rfc822;to-refused2.e@hosted.example" or "to-refused2.e@hosted.example" in words(fields["Original-Recipient"])
        assert "550 nobody wants refused2 here" in words(fields["Diagnostic-Code"])
        assert message.recipients[0].startswith(f"RCPT TO:<{sender}>")


def test_srs_forged(world):
    """Nobody gets an address through us that we did not write, nor one that was changed."""
    with Peer() as there:
        domain = f"s{there.port}"
        world.send_by(world.mta_port, f"alice@{domain}.example", [f"to-far.{domain}@hosted.example"], source="127.0.0.2")
        good = sent_as(there.wait_messages(1)[0])
        start, day, host, rest = good.split("=", 1)[0], good.split("=")[2], f"{domain}.example", good.split("=")[4]
        digest = good.split("=")[1]
        with Smtp(("127.0.0.1", world.mta_port), source=("127.0.0.2", 0)) as client:
            client.ehlo()
            client.cmd("MAIL FROM:<>", 250)
            for forged in (
                f"{start}={digest}={day}={host}=bob@srs.example",
                f"{start}={'a' * 6}={day}={host}={rest}",
                f"{start}={digest}={day}=victim.example={rest}",
                f"{start}={digest}={'aa' if day != 'aa' else 'bb'}={host}={rest}",
            ):
                assert client.cmd(f"RCPT TO:<{forged}>").code == 550, forged
            client.cmd("RCPT TO:<alice@victim.example>", 454)
            client.cmd(f"RCPT TO:<{good}>", 250)
            client.data(BODY)
        [_, back] = there.wait_messages(2)
        assert back.recipients[0].startswith(f"RCPT TO:<alice@{domain}.example>")


# Round and round


@pytest.mark.parametrize("srs", ["no", "yes"])
def test_a_loop_between_two_servers_ends_in_one_report(make_mta, folder, srs):
    """x@a.example is y@b.example there, which is x@a.example again: the hops are counted."""
    port_a, port_b = procs.free_ports(2)
    servers = []
    with Peer() as home:
        for name, alias, port, other in (("a", "x@a.example y@b.example", port_a, port_b), ("b", "y@b.example x@a.example", port_b, port_a)):
            (folder / f"aliases.{name}").write_text(alias + "\n")
            main = {
                "myhostname": f"mx.{name}.example",
                "virtual_alias_domains": f"{name}.example",
                "virtual_alias_maps": f"texthash:{folder}/aliases.{name}",
                "transport_maps": f"inline:{{{{home.example = smtp:[127.0.0.1]:{home.port}}}, {{* = smtp:[127.0.0.1]:{other}}}}}",
                "srs_forwarding": srs,
                "srs_secret": f"secret-{name}",
            }
            servers.append(make_mta(main, listeners={"smtp": {"listen": f"127.0.0.1:{port}"}}))
        outbound.send(servers[0], "x@a.example", sender="alice@home.example")
        [message] = home.wait_messages(1, timeout=60)
        for server in servers:
            procs.wait_for(lambda: server.queued() == 0, 30, "an empty queue")
        settle()
        assert len(home.messages) == 1
        report = dsn.Report(message.content)
        [fields] = report.recipients
        assert fields["Status"] == "5.4.0" and "too many hops" in words(fields["Diagnostic-Code"]).lower()
        assert message.recipients[0].startswith("RCPT TO:<alice@home.example>")
        assert message.content.count(b"Received: ") > 40
