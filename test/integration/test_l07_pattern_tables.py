"""cidr:, regexp:, pcre:, randmap:, environ:, fail: answer what Postfix's own postmap answers on the same files."""

import concurrent.futures
import select
import time

import pytest
from support import mta, procs, setups
from support.postmap import Postmap
from support.setups import DOMAIN


def lookup(key, table):
    """The value, None when there is none; an AssertionError with the output when the table failed."""
    done = mta.command("lookup", key, table)
    assert done.returncode in (0, 1), done.stderr.decode()
    return done.stdout.decode().removesuffix("\n") if done.returncode == 0 else None


def lookup_all(keys, table):
    """The same for many keys: those that are a line go through one process."""
    lines = [key for key in keys if "\n" not in key]
    done = mta.command("lookup", "-", table, input="".join(f"{key}\n" for key in lines).encode())
    assert done.returncode in (0, 1), done.stderr.decode()
    found = dict(line.split("\t", 1) for line in done.stdout.decode().splitlines())
    return {key: found.get(key) if key in lines else lookup(key, table) for key in keys}


def failure(key, table):
    done = mta.command("lookup", key, table)
    assert done.returncode == 2 and done.stdout == b"", (done.returncode, done.stdout)
    return done.stderr.decode()


@pytest.fixture(scope="module")
def postmap(module_folder):
    return Postmap(module_folder)


CIDR = """\
# comment
192.168.1.1             single
192.168.0.0/16          REJECT in 16
[10.0.0.0]/8            ten
[10.0.0.0/7]            ten or eleven
2001:db8::1             v6 single
[2001:db8::]/32         v6 block
2001:0DB9:0:0::/33      $1 $$ literal
::ffff:1.2.3.4          mapped
!172.0.0.0/6            !first
"""
CIDR_KEYS = [
    "192.168.1.1", "192.168.1.2", "192.169.0.1", "10.255.255.255", "11.0.0.1", "12.0.0.1", "2001:db8::1", "2001:DB8:0:0::0:1", "2001:db8::2",
    "2001:db9::5", "2001:db9:8000::5", "2001:dba::1", "::ffff:1.2.3.4", "1.2.3.4", "172.1.1.1", "173.0.0.1", "10.0.0", "10", "host.example",
    "[10.0.0.1]", "10.0.0.1/32", "10.0.0.256", "010.0.0.1", "::", "0.0.0.0",
]  # fmt: skip
CIDR_IF = """\
if 10.0.0.0/8
10.1.0.0/16 one
if ! 10.2.0.0/15
!!10.4.0.0/14 four
endif
IF!10.128.0.0/9
10.0.0.0/8 low
ENDIF
endif
if ::/0
::1 loopback
if !fe80::/10
2000::/3 global
endif
endif
if !0.0.0.0/1
::/0 no v6 here
128.0.0.0/1 high
endif
0.0.0.0/0 rest
"""
CIDR_IF_KEYS = ["10.1.2.3", "10.2.0.1", "10.4.1.1", "10.6.1.1", "10.200.0.1", "::1", "2a00::1", "fe80::1", "129.0.0.1", "9.9.9.9"]

SHARED = r"""# what both kinds of expressions mean alike
/^empty$/
/^(x)(y)?z$/            [$1][${2}]
/^two@(.*)\.(.*)$/      $(2).$1 costs $$5, $${1}
/^CASE$/i               case sensitive
/^Fold$/                folded
!/^[^!]/                bang
|^pipe/slash$|          pipe
~^tilde\~$~             escaped delimiter
/^back\\slash$/         one backslash
/^sp ace$/              with space
/^multi$/ first
   second
# between

	third
/^digits[[:digit:]]{2,3}$/  digits
/^(a|ab)(c|bcd)$/       $1-$2
/^dollar$/              a b  c
/^(.+)@(.+)-outgoing@(.*)$/ 550 Use ${1}@${3} instead
if /^if/
/one$/                  if one
if !/two/
/three$/                if three
if /four/
/^(if)-(four)$/         $2$1
endif
endif
/two$/                  if two
endif
IF /^upper/
/./                     IF upper
ENDIF
if!/last/
! ! /zzz/               not reached without zzz
endif
/last/                  the last
"""
SHARED_KEYS = [
    "empty", "xyz", "xz", "XYZ", "two@a.b.c", "CASE", "case", "fOLD", "!x", "pipe/slash", "tilde~", "back\\slash", "sp ace", "multi", "digits12",
    "digits1", "digits1234", "abcd", "acd", "ac", "dollar", "u@x-outgoing@y", "if one", "iftwo", "ifthree", "if-two-three", "if-four", "if-five",
    "Upper", "zzz", "last", "lastzzz", "nothing", "ü", "a@b", " ", "x\ny",
]  # fmt: skip
REGEXP = r"""/\(a\)b\{2\}/x                 basic <$1>
/^(a)(b)$/                    $1$$$2
/(one)/!/two/                 one without two
/three/i!!/four/              Three and four
/[\]x/                        backslash in brackets
/[^]-]end/                    bracket first
/[[.-.]]q[[=e=]][[:upper:]]/i  classes
/\bword\b/                    GNU word
/^(.*a|a)(a*)$/               longest [$1][$2]
/^b/m                         second line
/x$/m                         end of line
"""
REGEXP_KEYS = [
    "abb", "ABB", "ab", "one", "onetwo", "threefour", "Threefour", "aaaa", "\\x", "-qeA", "-qea", "]end", "aend", "a word.", "swordfish", "a\nb", "x\nab",
    "a+b",
]  # fmt: skip
PCRE = r"""/^(?!owner-)(.*)-outgoing@(.*)/  550 Use ${1}@${2} instead
/^named-(?<n>\w+)$/           $1
/sp ace # no comment/x        extended
/anchored/A                   anchored
/end$/E                       end only
/^(\d+?)(\d*)$/U              [$1][$2]
/(one)(two)?(three)?$/        <$1$2$3>
/dot.all/                     dot all
/dot.no/s                     no newline
/^second/m                    line start
/(\w)\1\1/                    thrice $1
/^(?i:x)Y$/i                  mixed
/x\x2fy/                      hex
"""
PCRE_KEYS = [
    "owner-a-outgoing@b", "a-outgoing@b", "named-x1", "space#nocomment", "anchored", "not anchored", "the end", "end\n", "12345", "one", "onetwo",
    "onethree", "onetwothree", "dot\nall", "dot\nno", "dot no", "first\nsecond", "baaad", "bAAad", "xY", "XY", "xy", "x/y", "nothing", "Ü",
]  # fmt: skip

FILES = {
    "cidr": ("cidr", CIDR, CIDR_KEYS),
    "cidr if": ("cidr", CIDR_IF, CIDR_IF_KEYS),
    "regexp shared": ("regexp", SHARED, SHARED_KEYS),
    "pcre shared": ("pcre", SHARED, SHARED_KEYS),
    "regexp": ("regexp", REGEXP, REGEXP_KEYS),
    "pcre": ("pcre", PCRE, PCRE_KEYS),
}


@pytest.mark.parametrize("name", FILES)
def test_as_postmap(postmap, folder, name):
    """Each key of each file: the same value as Postfix's, or the same absence of one."""
    kind, text, keys = FILES[name]
    (folder / "table").write_text(text)
    table = f"{kind}:{folder}/table"
    theirs = {key: postmap(key, table) for key in keys}
    assert False not in theirs.values()
    assert lookup_all(keys, table) == theirs
    assert len({value for value in theirs.values() if value is not None}) >= len(keys) / 4, "the table tells keys apart"


@pytest.mark.parametrize(
    "table, keys",
    [
        ("cidr:{{10.0.0.0/8 ten}, {::/0 v6}}", ["10.1.1.1", "11.1.1.1", "::1"]),
        ("cidr:{ { if 10.0.0.0/8 } {10.1.1.1 x}, {endif} {0.0.0.0/0 y} }", ["10.1.1.1", "10.1.1.2", "1.1.1.1"]),
        ("cidr:{}", ["10.1.1.1"]),
        ("regexp:{{/(a)b/ <$1>}, {/x{2}/ two x}}", ["ab", "xx", "x"]),
        ("pcre:{{/^(.)(.)/ ${2}${1}$$}}", ["ab", "a"]),
        ("randmap:{one}", ["x"]),
        ("randmap:{ {a b} }", ["x"]),
        ("unix:passwd.byname", ["root", "ROOT", "nosuchuser"]),
        ("unix:group.byname", ["root", "nosuchgroup"]),
        ("pipemap:{regexp:{{/^(.*)@/ $1}}, inline:{a=b}}", ["a@x", "c@x", "a"]),
        ("unionmap:{pcre:{{/a/ 1}}, cidr:{{0.0.0.0/0 2}}, static:3}", ["a", "1.1.1.1", "z"]),
    ],
)
def test_without_files(postmap, table, keys):
    assert lookup_all(keys, table) == {key: postmap(key, table) for key in keys}


BAD_TABLES = ["cidr:{10.0.0.0/8 x}", "cidr:{{10.0.0.0/8 x}", "regexp:{/a/ b}", "randmap:{}", "randmap:x", "randmap:{ }", "fail:x", "fial:x"]


def test_failures_as_postmap(postmap):
    """All at the same time: Postfix sleeps for a second before it dies."""
    with concurrent.futures.ThreadPoolExecutor(len(BAD_TABLES)) as pool:
        assert list(pool.map(lambda table: postmap("10.1.1.1", table), BAD_TABLES)) == [False] * len(BAD_TABLES)
    assert all(failure("10.1.1.1", table) for table in BAD_TABLES)


def test_randmap_is_random():
    """Keys from stdin, all of them answered, each result about as often as the others; what is listed twice, twice as often."""
    done = mta.command("lookup", "-", "randmap:{a, b b}", input=b"k\n" * 3000)
    values = [line.split("\t")[1] for line in done.stdout.decode().splitlines()]
    assert len(values) == 3000 and set(values) == {"a", "b"}
    assert 800 < values.count("a") < 1200  # the standard deviation is 26


def test_environ(postmap, monkeypatch):
    """Keys are folded, Postfix's too: only names in lower case are found."""
    monkeypatch.setitem(mta._ENVIRONMENT, "lower", "low value")
    monkeypatch.setitem(mta._ENVIRONMENT, "UPPER", "up")
    monkeypatch.setenv("lower", "low value")
    monkeypatch.setenv("UPPER", "up")
    for key in ("lower", "LOWER", "UPPER", "upper", "nosuchvariable"):
        assert lookup(key, "environ:x") == postmap(key, "environ:x"), key
    assert lookup("lower", "environ:x") == "low value"


def test_keys_from_stdin(folder):
    """postmap -q -: what is found, with its key."""
    (folder / "t").write_text("/^a(.*)/ <$1>\n/fail/ x\n")
    done = mta.command("lookup", "-", f"pcre:{folder}/t", input="ab\nb\nAc d\n".encode())
    assert (done.returncode, done.stdout.decode()) == (0, "ab\t<b>\nAc d\t<c d>\n")
    assert mta.command("lookup", "-", f"pcre:{folder}/t", input=b"b\n").returncode == 1
    assert mta.command("lookup", "-", "fail:x", input=b"b\n").returncode == 2


BROKEN = [
    ("cidr", "192.168.0.1/24 x", "perhaps you should use", '"192.168.0.0/24"'),
    ("cidr", "2001:db8::1/32 x", "perhaps you should use", '"2001:db8::/32"'),
    ("cidr", "10.0.0.0/33 x", "not a numeric address", ""),
    ("cidr", "host.example x", "not a numeric address", ""),
    ("cidr", "10.0.0.0/8", "no result", ""),
    ("cidr", "[10.0.0.0/8 x", "not a numeric address", ""),
    ("cidr", "!", "no pattern", ""),
    ("cidr", "if 10.0.0.0/8 x\nendif", "must not be indented", ""),
    ("regexp", "/a(b/ x", "malformed", "("),
    ("regexp", "/a x", 'closing "/"', ""),
    ("regexp", "/a/q x", 'flag "q"', ""),
    ("regexp", "/a/ $1", "has 0 groups", ""),
    ("regexp", "!/(a)/ $1", "negated", ""),
    ("regexp", "/(a)/ $1b", "${1}", ""),
    ("regexp", "/(a)/ ${1", "closing bracket", ""),
    ("regexp", "/(a)\\1/ x", "back-references", "pcre:"),
    ("regexp", "a b", "/pattern/flags result", ""),
    ("regexp", "endif", "endif without an if", ""),
    ("regexp", "if /a/\n/b/ x", "the endif of this if is missing", ""),
    ("regexp", "if /a/\n  /b/ x\nendif", "must not be indented", "/b/ x"),
    ("pcre", "/a(b/ x", "offset 3", "parenthesis"),
    ("pcre", "/a/!/b/ x", 'flag "!"', ""),
    ("pcre", "/(a)/ $2", "has 1 group", ""),
]


@pytest.mark.parametrize("kind, text, part, more", BROKEN, ids=[str(number) for number in range(len(BROKEN))])
def test_errors_name_file_and_line(folder, kind, text, part, more):
    """A table with a rule that cannot be used fails: none of its rules is used without it. The check has the line too."""
    good = {"cidr": "0.0.0.0/0 good", "regexp": "/./ good", "pcre": "/./ good"}[kind]
    (folder / "table").write_text(f"# comment\n{good}\n{text}\n")
    said = failure("1.2.3.4", f"{kind}:{folder}/table")
    assert f"{folder}/table:3: " in said and part in said and more in said
    (folder / "mta.conf").write_text(f"mynetworks = 127.0.0.1/32\nvirtual_alias_maps = {kind}:{folder}/table\nqueue_directory = {folder}\n")
    done = mta.command("--check-config", "-c", folder / "mta.conf")
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 1 and f"{folder}/table:3: " in output and part in output


def test_result_must_be_text(folder):
    """Half a character is no answer; Postfix says the same."""
    assert "UTF-8" in failure("ü", "pcre:{{/^(.)/ $1}}")


EVIL = {"pcre": ("^(a|a)*$", "a" * 200 + "!"), "regexp": ("((a{0,12}){0,12}){0,12}b$", "a" * 1500)}


@pytest.mark.parametrize("kind", EVIL)
def test_evil_key(kind):
    """A key that drives a careless pattern mad costs a bounded time: a failure, or an answer."""
    pattern, key = EVIL[kind]
    begun = time.monotonic()
    done = mta.command("lookup", key, f"{kind}:{{{{/{pattern}/ x}}}}", timeout=120)
    assert done.returncode == 2 if kind == "pcre" else done.returncode in (1, 2)
    assert time.monotonic() - begun < 60


# In a server


@pytest.fixture
def start(make_mta, folder, owner):
    def run(main):
        delivery, transports = setups.maildir_delivery(setups.mail_folder(folder, owner), owner)
        return make_mta(delivery | {"virtual_mailbox_domains": DOMAIN} | main, transports=transports)

    return run


def rcpt(server, recipient):
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<>", 250)
        return client.cmd(f"RCPT TO:<{recipient}@{DOMAIN}>").code


def wait_code(server, recipient, code):
    procs.wait_for(lambda: rcpt(server, recipient) == code, 30, f"{code} for {recipient}", interval=0.2)


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_whole_keys_and_changes(start, folder, kind):
    """Only the whole address is asked for; a change is noticed; a broken file leaves the old rules in force."""
    path = folder / "mailboxes"
    path.write_text(f"/^a@{DOMAIN}$/ a/\n/^@/ all/\n/^[^@]*$/ bare/\n")
    server = start({"virtual_mailbox_maps": f"{kind}:{path}"})
    assert (rcpt(server, "a"), rcpt(server, "b"), rcpt(server, "A")) == (250, 550, 250)
    path.write_text(f"/^b@{DOMAIN}$/ b/\n")
    wait_code(server, "b", 250)
    assert rcpt(server, "a") == 550
    path.write_text(f"/^c@{DOMAIN}$/ c/\n/(/ x\n")
    procs.wait_for(lambda: rcpt(server, "b") and server.lines(r"warning: .*mailboxes:2: "), 30, "the complaint", interval=0.2)
    assert (rcpt(server, "b"), rcpt(server, "c")) == (250, 550)
    path.write_text(f"/^c@{DOMAIN}$/ c/\n")
    wait_code(server, "c", 250)


def test_broken_at_start(start, folder):
    """No rules at all: 451, not "unknown"; and used as soon as the file is mended."""
    path = folder / "mailboxes"
    path.write_text("/(/ x\n")
    server = start({"virtual_mailbox_maps": f"regexp:{path}"})
    assert rcpt(server, "a") == 451
    path.write_text("/./ all/\n")
    wait_code(server, "a", 250)


def test_cidr_as_mynetworks(start, folder):
    """A client that a cidr: table lists may relay; a change is noticed."""
    path = folder / "networks"
    path.write_text("127.0.0.3 no\n")
    server = start({"mynetworks": f"cidr:{path}"})

    def relay():
        with server.connect(stranger=True) as client:  # from 127.0.0.2
            client.ehlo()
            client.cmd("MAIL FROM:<>", 250)
            return client.cmd("RCPT TO:<x@elsewhere.example>").code

    assert relay() == 454
    path.write_text("127.0.0.0/30 yes\n")
    procs.wait_for(lambda: relay() == 250, 30, "the network to be known", interval=0.2)


def test_key_beyond_the_limit(start, folder):
    """A limit of PCRE2 that is hit is a failure with a line in the log, not "does not match"."""
    path = folder / "mailboxes"
    path.write_text("/^(x|x)*$/ x/\n/./ all/\n")
    server = start({"virtual_mailbox_maps": f"pcre:{path}"})
    assert rcpt(server, "x" * 50) == 451
    assert rcpt(server, "a") == 250
    server.wait_log(r"warning: pcre:.*mailboxes: line 1: match limit exceeded")


def test_slow_patterns_do_not_hold_up_others(start, folder):
    """While a table chews on an evil key for a second or more, other sessions go on."""
    path = folder / "mailboxes"
    path.write_text("".join(f"/((x{{0,12}}){{0,12}}){{0,12}}y@{number}/ x/\n" for number in range(8)) + "/./ all/\n")
    server = start({"virtual_mailbox_maps": f"regexp:{path}"})
    with server.connect(stranger=True, timeout=60) as evil, server.connect(stranger=True, timeout=60) as other:
        for client in (evil, other):
            client.ehlo()
            client.cmd("MAIL FROM:<>", 250)
        evil.send(f"RCPT TO:<{'x' * 60}@{DOMAIN}>\r\n")
        for _ in range(20):
            other.cmd("NOOP", 250)
        assert select.select([evil.sock], [], [], 0)[0] == [], "the evil key was not answered before the others"
        assert evil.reply().code in (250, 451)
        assert other.cmd(f"RCPT TO:<a@{DOMAIN}>").code == 250
