"""Who may receive mail here: recipient classes, unlisted recipients, relay control."""

import pytest
from support import maildir, setups
from support.mta import HOSTNAME
from support.setups import DOMAIN

ALIAS_DOMAIN = "aliases.example"
RELAY_DOMAIN = "relay.example"
LOCAL_DOMAIN = "local.example"

UNKNOWN = "Recipient address rejected: User unknown in"

# Of a stranger: (recipient, code, text), the address put in for {}
STRANGER = [
    (f"u1@{DOMAIN}", 250, "2.1.5 Ok"),
    (f"u1+tag@{DOMAIN}", 250, "2.1.5 Ok"),
    (f"U1@{DOMAIN.upper()}", 250, "2.1.5 Ok"),
    (f"nobody@{DOMAIN}", 550, f"5.1.1 <{{}}>: {UNKNOWN} virtual mailbox table"),
    (f"nobody+u1@{DOMAIN}", 550, f"5.1.1 <{{}}>: {UNKNOWN} virtual mailbox table"),
    (f"team@{DOMAIN}", 250, "2.1.5 Ok"),
    (f"known@{ALIAS_DOMAIN}", 250, "2.1.5 Ok"),
    (f"known+tag@{ALIAS_DOMAIN}", 250, "2.1.5 Ok"),
    (f"nobody@{ALIAS_DOMAIN}", 550, f"5.1.1 <{{}}>: {UNKNOWN} virtual alias table"),
    (f"x@{RELAY_DOMAIN}", 250, "2.1.5 Ok"),
    ("x@remote.example", 454, "4.7.1 <{}>: Relay access denied"),
    (f"x@sub.{DOMAIN}", 454, "4.7.1 <{}>: Relay access denied"),
    (f"x%remote.example@{DOMAIN}", 454, "4.7.1 <{}>: Relay access denied"),
    (f"x@remote.example@{DOMAIN}", 454, "4.7.1 <{}>: Relay access denied"),
    (f'"x@remote.example"@{DOMAIN}', 454, None),
    (f"remote.example!x@{DOMAIN}", 454, "4.7.1 <{}>: Relay access denied"),
    ("postmaster", 250, "2.1.5 Ok"),
    ("PostMaster", 250, "2.1.5 Ok"),
]


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    tables = setups.text_tables(
        module_folder,
        [f"u1@{DOMAIN}"],
        [(f"team@{DOMAIN}", f"u1@{DOMAIN}"), (f"known@{ALIAS_DOMAIN}", f"u1@{DOMAIN}"), (f"postmaster@{HOSTNAME}", f"u1@{DOMAIN}")],
    )
    delivery, transports = setups.maildir_delivery(setups.mail_folder(module_folder, owner), owner)
    return make_module_mta(
        tables
        | delivery
        | {
            "virtual_alias_domains": ALIAS_DOMAIN,
            "relay_domains": RELAY_DOMAIN,
            "relay_transport": "discard:",
            "default_transport": "discard:",
            "recipient_delimiter": "+",
            "smtpd_hard_error_limit": "1000",
        },
        transports=transports,
        listeners={
            "smtp": {},
            "reject": {"smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination"},
            "eager": {"smtpd_delay_reject": "no"},
            "unlisted": {"smtpd_reject_unlisted_recipient": "no"},
            "anonymous": {"show_user_unknown_table_name": "no"},
        },
    )


def ask(server, recipient, listener="smtp", stranger=True):
    with server.connect(listener, stranger=stranger) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        return client.cmd(f"RCPT TO:<{recipient}>")


@pytest.mark.parametrize("recipient, code, text", STRANGER)
def test_stranger(server, recipient, code, text):
    reply = ask(server, recipient)
    assert reply.code == code, reply
    assert text is None or reply.text == text.format(recipient)


@pytest.mark.parametrize(
    "recipient, code", [("x@remote.example", 250), (f"nobody@{DOMAIN}", 550), (f"nobody@{ALIAS_DOMAIN}", 550), (f"u1@{DOMAIN}", 250)]
)
def test_client_in_mynetworks_may_relay_but_not_invent_users(server, recipient, code):
    assert ask(server, recipient, stranger=False).code == code


def test_reject_form(server):
    assert str(ask(server, "x@remote.example", "reject")) == "554 5.7.1 <x@remote.example>: Relay access denied"


def test_unlisted_recipients_may_be_let_in(server):
    assert ask(server, f"nobody@{DOMAIN}", "unlisted").code == 250


def test_table_name_may_be_hidden(server):
    assert ask(server, f"nobody@{DOMAIN}", "anonymous").text == f"5.1.1 <nobody@{DOMAIN}>: Recipient address rejected: User unknown"


def test_null_sender_is_welcome(server):
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.envelope("", f"u1@{DOMAIN}")


def test_relay_denied_is_logged(server):
    ask(server, "logged@remote.example")
    server.wait_log(
        r"smtpd\[\d+\]: NOQUEUE: reject: RCPT from \S+\[127\.0\.0\.2\]: 454 4\.7\.1 <logged@remote\.example>: Relay access denied; "
        r"from=<s@client\.example> to=<logged@remote\.example> proto=ESMTP helo=<client\.example>$"
    )


def test_reject_after_the_first_recipient_has_its_queue_id(server):
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        client.cmd(f"RCPT TO:<second@{DOMAIN}>", 550)
    server.wait_log(rf"smtpd\[\d+\]: [0-9A-Za-z]{{6,}}: reject: RCPT from \S+: 550 5\.1\.1 <second@{DOMAIN}>")


def test_mail_for_bare_postmaster_arrives(make_mta, folder, owner):
    """RFC 5321 section 4.5.1: it goes to postmaster@$myorigin."""
    base = setups.mail_folder(folder, owner)
    delivery, transports = setups.maildir_delivery(base, owner)
    server = make_mta(setups.text_tables(folder, [f"postmaster@{DOMAIN}"]) | delivery | {"myorigin": DOMAIN}, transports=transports)
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.mail("s@client.example", "PostMaster", b"Subject: x\r\n\r\n")
    maildir.wait_messages(base / DOMAIN / "postmaster", 1)
