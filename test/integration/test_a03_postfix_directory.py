"""-c DIR: the tutorial's main.cf and master.cf, typed in on top of Debian's, load and behave; postconf agrees about them.

What must be different here is written by support.postfix: paths, the port, a network in which a test has room for a stranger.
"""

import concurrent.futures
import re
import ssl

import pytest
from support import maildir, mta, postfix, procs, setups
from support.smtp import Smtp

SMTPD = "smtp inet n - n - - smtpd\n"
LEVEL = "compatibility_level = 3.6\nmydestination =\n"


def check(directory):
    """(exit status, complaints as (file's name, line, severity, text))"""
    done = mta.command("--check-config", "-c", directory)
    found = re.findall(r"^(\S+?)(?::(\d+))?: (error|warning): (.*)$", done.stderr.decode(), re.M)
    return done.returncode, [(path.rpartition("/")[2], int(line or 0), severity, text) for path, line, severity, text in found]


@pytest.fixture
def directory(folder):
    """directory(main, master) writes one; what is not given is just enough."""

    def make(main="", master=SMTPD):
        return postfix.write(folder / "postfix", LEVEL + main, master)

    return make


# ---- the tutorial ----


@pytest.fixture(scope="module")
def server(module_folder, mariadb, dovecot, owner):
    mariadb.add_domain("hoppr.in")
    mariadb.add_mailboxes(["alain@hoppr.in"])
    mariadb.add_alias("abuse@hoppr.in", "alain@hoppr.in")
    postfix.sql_files(module_folder, setups.mysql_source(mariadb), setups.QUERIES)
    address, submission, smtps = (f"127.0.0.1:{port}" for port in procs.free_ports(3))
    main, master = postfix.tutorial_texts(
        postfix.tutorial_replacements(module_folder)
        + [
            ("smtp      inet", f"{address} inet"),
            ("submission inet", f"{submission} inet"),
            ("smtps     inet", f"{smtps} inet"),
            ("mynetworks = 127.0.0.0/8", "mynetworks = 127.0.0.1/32"),
            ("user=vmail:vmail", f"user={owner.user}:{owner.group}"),
            ("/usr/lib/dovecot/deliver", f"{dovecot.argv().partition(' -f ')[0]}"),
        ]
    )
    running = postfix.Server(module_folder / "mta", main, master, address)
    running.submission, running.smtps = ((host, int(port)) for host, port in (place.split(":") for place in (submission, smtps)))
    running.start()
    yield running
    running.stop()


def send(server, recipient, subject):
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail("s@client.example", recipient, f"Subject: {subject}\r\n\r\nhello\r\n".encode())
    server.wait_removed(queue_id)
    [sent] = server.deliveries(queue_id)
    return sent


def test_mail_arrives(server, dovecot):
    """A mailbox, an alias and an extension, by the dovecot transport of master.cf."""
    for recipient in ("alain@hoppr.in", "abuse@hoppr.in", "alain+tag@hoppr.in"):
        sent = send(server, recipient, recipient)
        assert (sent["relay"], sent["status"], sent["agent"]) == ("dovecot", "sent", "pipe")
    raws = maildir.wait_messages(dovecot.maildir("alain@hoppr.in"), 3)
    assert all(raw.startswith(b"Return-Path: <s@client.example>\nDelivered-To: a") for raw in raws)
    assert len({raw[raw.index(b"\nSubject") :] for raw in raws}) == 3


def test_a_stranger(server):
    with server.connect(stranger=True, greet=False) as client:
        assert client.expect(220).text in ("mail.hoppr.in ESMTP Postfix (Debian/GNU)", "mail.hoppr.in ESMTP Postfix (Debian)")
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        client.cmd("RCPT TO:<nobody@hoppr.in>", 550)
        assert "Relay access denied" in client.cmd("RCPT TO:<x@remote.example>", 454).text
        client.cmd("RCPT TO:<alain@hoppr.in>", 250)


def test_the_listeners_for_users(server, module_folder):
    """TLS by the certificate of main.cf; nobody may do anything without it, or without a password."""
    context = ssl.create_default_context(cafile=module_folder / "ca" / "authority.pem")
    with Smtp(server.submission) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 530, "Must issue a STARTTLS command first")
        client.starttls(context, name="mail.hoppr.in")
        client.ehlo()
        client.cmd("MAIL FROM:<alain@hoppr.in>", 250)
        client.cmd("RCPT TO:<x@remote.example>", 554, "Client host rejected: Access denied")
    with Smtp(server.smtps, greet=False) as client:
        client.handshake(context, name="mail.hoppr.in")
        client.expect(220)
        client.ehlo()
        client.cmd("MAIL FROM:<alain@hoppr.in>", 250)
        client.cmd("RCPT TO:<x@remote.example>", 554, "Client host rejected: Access denied")
    with server.connect() as client:
        assert "STARTTLS" in client.ehlo()
        client.starttls(context, name="mail.hoppr.in")
        client.quit()
    for name in ("submission", "smtps"):
        server.wait_log(rf"postfix/{name}/smtpd\[\d+\]: NOQUEUE: reject: RCPT from localhost\[127\.0\.0\.1\]: 554 5\.7\.1 ")


def test_what_is_said(server):
    status, complaints = check(server.conf)
    assert status == 0
    assert {complaint[2] for complaint in complaints} == {"warning"}
    text = (server.conf / "main.cf").read_text().splitlines() + ["", ""]
    named = {}
    for file, line, _, said in complaints:
        assert file in ("main.cf", "master.cf")
        name = re.match(r"(\w+) is not supported yet", said)
        if name and file == "main.cf":
            assert text[line - 1].startswith(name[1])
            named[name[1]] = line
    assert "smtpd_milters" in named
    assert not any(name.startswith(("smtpd_tls_", "smtpd_sasl_")) for name in named)
    said = " | ".join(complaint[3] for complaint in complaints)
    assert "smtpd_recipient_restrictions: check_recipient_access is not supported yet" in said
    assert "transport local: type " in said and "transport smtp: type " not in said
    assert said.count("the column chroot") == 1


def test_show_is_postconf_n(server):
    done = mta.command("config", "show", "-n", "-c", server.conf)
    theirs = [line for line in postfix.postconf(server.conf, "-n").splitlines() if not line.startswith("config_directory =")]
    assert done.stdout.decode().splitlines() == theirs


# ---- the language, compared with postconf -x ----

DEFINITIONS = """\
mydomain = example.org
a = A
b = B
empty =
ab = $a-$b
points_to_empty = $empty
braces = x{y}z
list = one, two,
    # a comment
    three
loop1 = 1 $loop2
loop2 = ${loop1}
"""

EXPRESSIONS = """\
plain text
a = b # c
$a
${a}
$(a)
${ a }
$a$a
x$a.x
$a-b
[$ab]
$list
$nosuch.
$$
$$a
$$$a
$${a}
$braces
${a?yes}
${a:no}
${empty?yes}
${empty:no}
${nosuch?yes}
${nosuch:no}
${a?}
${a?{yes}:{no}}
${empty?{yes}:{no}}
${a ? {y} : {n}}
${empty?{yes}:no}
${a?{yes}}
${a:{no}}
${a? { y } }
${a?{x{y}z}:{n}}
${a?{}:{n}}
${a?b:c}
$(a?(x))
${a?$b}
${a?${b?{$ab}:{n}}}
${nosuch:${mydomain}}
${a?$$}
${points_to_empty?{yes}:{no}}
${{a} == {a} ? {X} : {Y}}
${{a} == {b} ? {X} : {Y}}
${{a}!={b}?X}
${{a} == {b}: {Y}}
${{$a} == {A} ? {X}}
${{x} == {x}}|${{x} == {y}}
${{10}>{9}? {g} : {l}}
${{10} < {9}?{lt}:{ge}}
${{a10}<{a9}?{lt}:{ge}}
${{9} <= {9}?{le}:{gt}}
${{9} >= {10}?ge}
${{$compatibility_level} <level {3.10} ? {lt}:{ge}}
${{$compatibility_level} <level {3.6} ? {lt}:{ge}}
${{$compatibility_level} >=level {3.6} ? {ge}:{lt}}
${{3.6} ==level {3.6.0}?{eq}:{ne}}
${{3.5} !=level {3.6}?{ne}:{eq}}
${{3.7} >level {3.6.9}?{y}:{n}}
${{4} >=level {3.99}?{y}}
${{3.9} <=level {3.10}?{y}:{n}}
$myhostname
$smtpd_banner
$mydestination
${mydestination?set}
${smtpd_tls_cert_file?set}
${stress?{10}:{300}}s
""".splitlines()

WRONG = """\
$
x $ y
${}
x ${a
$(a
${a+x}
${a-b}
${a?{x}z}
${{x} =~ {y}?a}
${{x} == y?a}
${{x} == {y} a}
${{x} <levl {y}?a}
${{x} <level {3}?a:b}
$loop1
""".splitlines()


NAMES = [f"e{number}" for number in range(len(EXPRESSIONS))]
MAIN = f"compatibility_level = 3.6\nmyhostname = mail.example.org\nmydestination = $myhostname\n{DEFINITIONS}"


def test_expressions(folder):
    """One made-up parameter for each; a name that is used is one that postconf knows."""
    lines = "".join(f"{name} = {expression}\n" for name, expression in zip(NAMES, EXPRESSIONS))
    used = " ".join(f"${name}" for name in NAMES)
    directory = postfix.write(folder / "postfix", f"{MAIN}{lines}smtpd_helo_restrictions = {used}\n", SMTPD)
    theirs = postfix.postconf(directory, "-x", *NAMES).splitlines()
    done = mta.command("config", "show", "-x", "-c", directory, *NAMES, check=True)
    assert len(theirs) == len(EXPRESSIONS) > 60
    wrong = [pair for pair in zip(done.stdout.decode().splitlines(), theirs, EXPRESSIONS) if pair[0].split() != pair[1].split()]
    assert not wrong, wrong


def test_wrong_expressions(folder):
    """Each is an error for both; here with its place. postconf sleeps before it ends, so that all of it is asked at once."""
    lines = [f"smtpd_helo_restrictions = {expression}\n" for expression in WRONG]
    directories = [postfix.write(folder / str(number), MAIN + line, SMTPD) for number, line in enumerate(lines)]
    with concurrent.futures.ThreadPoolExecutor(len(WRONG)) as pool:
        theirs = list(pool.map(lambda path: postfix.postconf(path, "-x", "smtpd_helo_restrictions", check=False), directories))
    for expression, directory, answer in zip(WRONG, directories, theirs):
        status, complaints = check(directory)
        assert answer is None and status == 1, expression
        assert any(severity == "error" and line > 2 for _, line, severity, _ in complaints), expression


# ---- master.cf, compared with postconf -P ----

MASTER = """\
smtp      inet  n       -       y       -       -       smtpd
  -o smtpd_banner=a
# -o smtpd_banner=commented
    -o
  smtpd_timeout=7s
  -v -o { smtpd_helo_restrictions = permit_mynetworks, reject }
127.0.0.1:10025 inet n - n - 5 smtpd -o smtpd_sender_restrictions= -o{ smtpd_client_restrictions = permit }
[::1]:10026 inet n - - - - smtpd -o smtpd_banner=$myhostname=x
#26 inet n - n - - smtpd
relay unix - - n - - smtp -o syslog_name=postfix/$service_name
\t-o { smtp_fallback_relay = [a.example], [b.example] }
  # the end
""".replace("-o{ smtpd_client_restrictions = permit }", "-o { smtpd_client_restrictions = permit }")


def test_options(directory):
    path = directory("", MASTER)
    theirs = {}
    for line in postfix.postconf(path, "-P").splitlines():
        place, _, value = line.partition(" =")
        service, kind, name = place.rsplit("/", 2)
        theirs[(service, kind, name)] = value.strip()
    done = mta.command("config", "import", path)
    assert done.returncode == 0
    ours, section = {}, None
    names = {"smtp": "smtp", "127.0.0.1-10025": "127.0.0.1:10025", "1-10026": "[::1]:10026"}
    for line in done.stdout.decode().splitlines():
        if match := re.fullmatch(r"\[(listener|transport) (\S+)\]", line):
            section = names[match[2]] if match[1] == "listener" else None
        elif section and (match := re.fullmatch(r"(\w+) =(.*)", line)) and match[1] != "listen":
            ours[(section, "inet", match[1])] = match[2].strip()
    assert ours == {key: value for key, value in theirs.items() if key[1] == "inet"}
    assert len(ours) == 6


# ---- what is refused ----

REFUSED = [
    ("", "smtp inet n - n - - smptd\n", r'^master\.cf:1: .*no program "smptd"; did you mean smtpd\?'),
    ("", SMTPD + "smtp inet n - n - -\n", r"^master\.cf:2: .*the column command is missing"),
    ("", SMTPD + SMTPD, r"^master\.cf:2: .*smtp inet is there already in line 1"),
    ("", SMTPD + "  -o { smtpd_timeout = 1s\n", r"^master\.cf:2: .*a } is missing"),
    ("", SMTPD + "x unx - n n - - discard\n", r'^master\.cf:2: .*"unx" is no type of a service; did you mean unix\?'),
    ("", SMTPD + "p unix - n n - - pipe\n  user=root argv=/bin/true\n", r"^master\.cf:3: .*never runs as root"),
    ("myhostname = ${mydomain\n", SMTPD, r"^main\.cf:3: .*not closed"),
    # an open relay, however it is made
    ("smtpd_relay_restrictions = check_client_access hash:/x, permit\n", SMTPD, r"^main\.cf:3: .*open relay"),
    ("smtpd_relay_restrictions = permit_mynetworks, defer_if_permit\n", SMTPD, r"^main\.cf:3: .*open relay"),
    ("smtpd_relay_restrictions = warn_if_reject reject\n", SMTPD, r"^main\.cf:3: .*open relay"),
    ("", SMTPD + "  -o smtpd_relay_restrictions=permit\n", r"^master\.cf:2: .*open relay"),
    # Postfix's default of long ago
    ("compatibility_level = 0\n", SMTPD, r"open relay"),
    ("smtpd_tls_security_level = encrypt\n", SMTPD, r"^main\.cf:3: smtpd_tls_security_level: TLS is mandatory, and there is no certificate"),
    ("smtpd_tls_security_level = may\nsmtpd_tls_cert_file = /nonexistent.pem\n", SMTPD, r"^main\.cf:4: smtpd_tls_cert_file: .*/nonexistent\.pem"),
    ("", SMTPD + "  -o smtpd_tls_wrappermode=yes\n", r"^master\.cf:2: smtpd_tls_wrappermode: TLS is mandatory, and there is no certificate"),
]


@pytest.mark.parametrize("main, master, pattern", REFUSED)
def test_refused(directory, main, master, pattern):
    status, complaints = check(directory(main, master))
    errors = [f"{file}:{line}: {text}" for file, line, severity, text in complaints if severity == "error"]
    assert status == 1 and any(re.search(pattern, error) for error in errors), errors


def test_files_that_are_not_there(folder):
    empty = folder / "empty"
    empty.mkdir()
    assert mta.command("--check-config", "-c", empty).returncode == 1
    assert mta.command("config", "import", empty).returncode == 1


def test_a_recipient_in_an_early_list(make_mta):
    """With smtpd_delay_reject every list runs at RCPT, so that people write relay control into any of them, as for Postfix."""
    for name in ("client", "helo", "sender"):
        server = make_mta({f"smtpd_{name}_restrictions": "permit_mynetworks, reject_unauth_destination, permit"})
        with server.connect(stranger=True) as client:
            client.ehlo()
            client.cmd("MAIL FROM:<s@client.example>", 250)
            assert client.cmd("RCPT TO:<x@remote.example>", 554).text == "5.7.1 <x@remote.example>: Relay access denied"
    server = make_mta({"smtpd_client_restrictions": "reject_unauth_destination", "smtpd_delay_reject": "no"})
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        client.cmd("RCPT TO:<x@remote.example>", 454)
