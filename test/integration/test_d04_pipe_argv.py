"""The pipe transport's command line and surroundings, to the letter of pipe(8)."""

import os
import pwd

import pytest
from support import procs, setups
from support.mta import HOSTNAME, QID
from support.setups import DOMAIN

# Writes its arguments, one a line, then its environment, to OUT/<first argument>.
DUMP = """\
name=$1; shift
cat >/dev/null
{
  for arg; do printf 'arg %s\\n' "$arg"; done
  id -u | sed 's/^/uid /'; id -g | sed 's/^/gid /'; id -G | sed 's/^/groups /'
  pwd | sed 's/^/cwd /'
  env | sed 's/^/env /'
  ps -o sid= -p $$ 2>/dev/null | sed "s/^ */sid $$ /"
} >"$OUT/$name.tmp" 2>&1
mv "$OUT/$name.tmp" "$OUT/$name"
"""


@pytest.fixture(scope="module")
def out(module_folder, owner):
    path = module_folder / "out"
    path.mkdir()
    path.chmod(0o777)
    return path


TRANSPORTS = {
    "plain": ("{dump} plain ${{sender}} ${{recipient}} ${{original_recipient}} ${{user}} ${{extension}} ${{mailbox}} ${{domain}} ${{nexthop}}", "1", {}),
    "folded": ("{dump} folded ${{sender}} ${{recipient}} ${{user}}@${{nexthop}} ${{extension}} ${{mailbox}} ${{domain}}", "1", {"flags": "hu"}),
    "client": ("{dump} client ${{client_address}} ${{client_helo}} ${{client_protocol}} ${{queue_id}} ${{size}} [${{sasl_username}}]", "1", {}),
    "words": ("{dump} words $$ x${{user}}y {{ two words ${{user}} }} 'single \"double $(user) ; | > *", "1", {}),
    "several": ("{dump} several ${{sender}} ${{recipient}} mid <${{user}}> ${{nexthop}}", "10", {}),
    "empty": ("{dump} empty a ${{extension}} b", "1", {}),
    "quoted": ("{dump} quoted ${{sender}} ${{recipient}} ${{user}}", "1", {"flags": "q"}),
    "elsewhere": ("{dump} elsewhere ${{nexthop}}", "1", {"directory": "/usr"}),
    "nulls": ("{dump} nulls ${{sender}}", "1", {}),
    "nullarg": ("{dump} nullarg [${{sender}}]", "1", {"null_sender": ""}),
}


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner, out):
    dump = setups.script(module_folder, "dump", DUMP.replace("$OUT", str(out)))
    transports = {name: setups.pipe(owner, argv.format(dump=dump), **settings) for name, (argv, _, settings) in TRANSPORTS.items()}
    maps = module_folder / "transport"
    maps.write_text("".join(f"{name}.example {name}:\n" for name in TRANSPORTS) + "hop.example plain:the.next.hop\n")
    main = {
        "virtual_mailbox_domains": " ".join(f"{name}.example" for name in [*TRANSPORTS, "hop"]),
        "virtual_mailbox_maps": "static:anything",
        "virtual_transport": "plain",
        "virtual_alias_maps": "inline:{ {al@plain.example = Real+Ext@plain.example} }",
        "transport_maps": f"texthash:{maps}",
        "recipient_delimiter": "+",
    }
    main |= {f"{name}_destination_recipient_limit": limit for name, (_, limit, _) in TRANSPORTS.items()}
    return make_module_mta(main, transports=transports)


def dump_of(server, out, recipients, sender="Send+er@Client.Example", body=b"Subject: x\r\n\r\n"):
    """Sends and returns what the command saw: a dict of lists by kind of line, and the queue id."""
    recipients = [recipients] if isinstance(recipients, str) else recipients
    path = out / recipients[0].rsplit("@")[-1].split(".")[0].lower().replace("hop", "plain")
    path.unlink(missing_ok=True)
    with server.connect() as client:
        client.ehlo("helo.example")
        queue_id = client.mail(sender, recipients, body)
    server.wait_removed(queue_id)
    assert {entry["status"] for entry in server.deliveries(queue_id)} == {"sent"}, server.deliveries(queue_id)
    seen = {}
    for line in path.read_text().splitlines():
        kind, _, value = line.partition(" ")
        seen.setdefault(kind, []).append(value)
    return seen, queue_id


def test_addresses_as_given(server, out):
    seen, _ = dump_of(server, out, "Us.Er+Ext@Plain.Example")
    address = "Us.Er+Ext@Plain.Example"
    assert seen["arg"][:-1] == ["Send+er@Client.Example", address, address, "Us.Er", "Ext", "Us.Er+Ext", "Plain.Example"]
    assert seen["arg"][-1].lower() == "plain.example"


def test_original_recipient(server, out):
    seen, _ = dump_of(server, out, "al@plain.example")
    assert seen["arg"][1:3] == ["Real+Ext@plain.example", "al@plain.example"]


def test_nexthop_of_the_transport_table(server, out):
    seen, _ = dump_of(server, out, "u@hop.example")
    assert seen["arg"][-2:] == ["hop.example", "the.next.hop"]


def test_flags_h_and_u_fold(server, out):
    """Sender and headers keep their case."""
    seen, _ = dump_of(server, out, "Us.Er+Ext@FOLDED.Example")
    assert seen["arg"] == ["Send+er@Client.Example", "us.er+ext@folded.example", "us.er@folded.example", "ext", "us.er+ext", "folded.example"]


def test_client_macros(server, out):
    seen, queue_id = dump_of(server, out, "u@client.example")
    address, helo, protocol, qid, size, sasl = seen["arg"]
    assert (address, helo, protocol, qid, sasl) == ("127.0.0.1", "helo.example", "ESMTP", queue_id, "[]")
    logged = server.lines(rf"{queue_id}: from=<.*>, size=(\d+)")[0][1]
    assert size == logged


def test_no_shell_no_quoting(server, out):
    """White space separates, { } groups, $$ is a dollar; quotes and shell characters are ordinary."""
    seen, _ = dump_of(server, out, "u@words.example")
    assert seen["arg"] == ["$", "xuy", "two words u", "'single", '"double', "u", ";", "|", ">", "*"]


@pytest.mark.parametrize("user", ["a b", "$(id)", "`id`", "a;b", "${nexthop}", "a*", "it's"])
def test_user_names_are_data(server, out, user):
    quoted = f'"{user}"' if " " in user or "(" in user or ";" in user else user
    seen, _ = dump_of(server, out, f"{quoted}@plain.example")
    assert seen["arg"][3] == user


def test_recipient_arguments_are_repeated(server, out):
    seen, _ = dump_of(server, out, ["a@several.example", "b+x@several.example", "c@several.example"])
    assert seen["arg"] == [
        "Send+er@Client.Example", "a@several.example", "b+x@several.example", "c@several.example", "mid", "<a>", "<b>", "<c>",
        "several.example",
    ]  # fmt: skip


def test_empty_argument_is_kept(server, out):
    """An argument that expands to nothing stays: the ones after it don't move."""
    seen, _ = dump_of(server, out, "u@empty.example")
    assert seen["arg"] == ["a", "", "b"]


def test_flag_q_quotes(server, out):
    seen, _ = dump_of(server, out, '"a b"@quoted.example', sender='"s t"@client.example')
    assert seen["arg"] == ['"s t"@client.example', '"a b"@quoted.example', "a b"]


def test_without_q_nothing_is_quoted(server, out):
    seen, _ = dump_of(server, out, '"a b"@plain.example', sender='"s t"@client.example')
    assert seen["arg"][:2] == ["s t@client.example", "a b@plain.example"]


def test_null_sender(server, out):
    assert dump_of(server, out, "u@nulls.example", sender="")[0]["arg"] == ["MAILER-DAEMON"]
    assert dump_of(server, out, "u@nullarg.example", sender="")[0]["arg"] == ["[]"]


def test_directory(server, out):
    assert dump_of(server, out, "u@elsewhere.example")[0]["cwd"] == ["/usr"]


def test_surroundings(server, out, owner):
    """Right user, no other groups, a clean environment, a session of its own."""
    seen, _ = dump_of(server, out, "u@plain.example")
    assert (seen["uid"], seen["gid"], seen["groups"]) == ([str(owner.uid)], [str(owner.gid)], [str(owner.gid)])
    environment = dict(line.split("=", 1) for line in seen["env"])
    assert environment["PATH"] == "/usr/bin:/bin"
    assert set(environment) <= {"PATH", "MAIL_CONFIG", "LANG", "TZ", "PWD", "SHLVL", "OLDPWD", "_", "XAUTHORITY", "DISPLAY"}
    for line in seen.get("sid", []):
        pid, sid = line.split()
        assert os.getsid(0) != int(sid)


def test_dash_is_never_an_option(server):
    with server.connect() as client:
        client.ehlo()
        client.cmd("MAIL FROM:<>", 250)
        for address in ("-f@plain.example", "--help@plain.example", '"-x"@plain.example'):
            client.cmd(f"RCPT TO:<{address}>", 501)


def test_dash_from_an_alias(make_mta, folder, owner):
    """Neither can an alias bring one in."""
    dump = setups.script(folder, "command", f"cat >/dev/null; echo \"$@\" >{folder}/ran\n")
    server = make_mta(
        {
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_maps": "static:anything",
            "virtual_alias_maps": f"inline:{{ {{al@{DOMAIN} = -evil@{DOMAIN}}} }}",
            "virtual_transport": "command",
        },
        transports={"command": setups.pipe(owner, f"{dump} ${{user}}")},
    )
    with server.connect() as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        if client.cmd(f"RCPT TO:<al@{DOMAIN}>").code == 250 and client.cmd("DATA").code == 354:
            client.send("\r\n.\r\n")
            if client.reply().code == 250:
                procs.wait_for(lambda: server.deliveries(QID), what="an answer about the recipient")
    assert not (folder / "ran").exists()
    assert not [entry for entry in server.deliveries() if entry["status"] == "sent"]


def test_names_of_this_host_and_user(owner):
    """The set-up these tests stand on."""
    assert HOSTNAME.count(".") == 2 and pwd.getpwnam(owner.user).pw_uid == owner.uid
