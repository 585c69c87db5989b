"""mta lookup KEY TABLE is postmap -q: every table type, and the query language of the SQL ones."""

import pytest
from support import mta, procs, setups

TEXT = """\
# a comment
first one
Second   two words
  continued

tab\tbed
  # an indented comment
twice a
twice b
user@example.com value
"""

CSV_LIKE = {
    "first": "one",
    "FIRST": "one",
    "second": "two words  continued",
    "tab": "bed",
    "user@example.com": "value",
    "User@Example.com": "value",
    "absent": None,
    "user": None,
}


def lookup(key, table):
    """The value, None when there is none; an AssertionError with the output when the table failed."""
    done = mta.command("lookup", key, table)
    assert done.returncode in (0, 1), done.stderr.decode()
    output = done.stdout.decode()
    if done.returncode == 1:
        assert output == ""
        return None
    assert output.endswith("\n")
    return output[:-1]


def failure(key, table):
    """What stderr says of a table that fails."""
    done = mta.command("lookup", key, table)
    assert done.returncode == 2 and done.stdout == b"", (done.returncode, done.stdout)
    return done.stderr.decode()


@pytest.mark.parametrize("kind", ["hash", "btree", "lmdb", "cdb", "texthash", "proxy:texthash", "proxy:hash"])
@pytest.mark.parametrize("key", CSV_LIKE)
def test_text_files(folder, kind, key):
    """The source text is read, whatever the type: no compiled file is needed."""
    (folder / "table").write_text(TEXT)
    assert lookup(key, f"{kind}:{folder}/table") == CSV_LIKE[key]


@pytest.mark.parametrize(
    "table, key, value",
    [
        ("static:always", "anything", "always"),
        ("static:{ two words }", "anything", "two words"),
        ("inline:{a=1, b=2}", "a", "1"),
        ("inline:{ {a = x y} {b=z} }", "a", "x y"),
        ("inline:{a=1}", "A", "1"),
        ("inline:{a=1}", "c", None),
        ("unionmap:{inline:{a=1},inline:{a=2,b=3}}", "a", "1,2"),
        ("unionmap:{inline:{a=1},inline:{a=2,b=3}}", "b", "3"),
        ("unionmap:{inline:{a=1},inline:{a=2,b=3}}", "c", None),
        ("pipemap:{inline:{a=b},inline:{b=c}}", "a", "c"),
        ("pipemap:{inline:{a=b},inline:{x=c}}", "a", None),
        ("pipemap:{inline:{a=b},inline:{b=c}}", "b", None),
        ("proxy:inline:{a=1}", "a", "1"),
    ],
)
def test_tables_without_files(table, key, value):
    assert lookup(key, table) == value


@pytest.mark.parametrize("table", ["texthash:/nonexistent/file", "mysql:/nonexistent.cf", "nosuch:table", "inline:{a", "sqlite:/nonexistent.cf"])
def test_failures(table):
    assert failure("key", table)


# The query file language: settings, key, value. In each, t has (k, v, w) rows.
ROWS = [("a", "1", "x"), ("a", "2", None), ("u@d.example", "found", "y"), ("it's", "quoted", "z"), ("u", "user", "u"), ("d.example", "domain", "d")]
QUERIES = [
    ("query = SELECT v FROM t WHERE k='%s'", "u", "user"),
    ("query = SELECT v FROM t WHERE k='%s'", "U", "user"),
    ("query = SELECT v FROM t WHERE k='%s'", "none", None),
    ("query = SELECT v FROM t WHERE k='%s'", "it's", "quoted"),
    ("query = SELECT v FROM t WHERE k='%s' ORDER BY v", "a", "1,2"),
    ("query = SELECT v, w FROM t WHERE k='%s' ORDER BY v", "a", "1,x,2"),
    ("query = SELECT v FROM t WHERE k='%u'", "u@anything", "user"),
    ("query = SELECT v FROM t WHERE k='%u'", "u", "user"),
    ("query = SELECT v FROM t WHERE k='%u'", "@d.example", None),
    ("query = SELECT v FROM t WHERE k='%d'", "anyone@d.example", "domain"),
    ("query = SELECT v FROM t WHERE k='%d'", "d.example", None),
    ("query = SELECT v FROM t WHERE k='%u@%d'", "u@d.example", "found"),
    ("query = SELECT v FROM t WHERE k='%2.%1'", "x@mail.d.example", "domain"),
    ("query = SELECT v FROM t WHERE k='%3.%2'", "x@d.example", None),
    ("query = SELECT '%S %U %D' FROM t WHERE k='u'", "x@y.example", "x@y.example x y.example"),
    ("query = SELECT '%%' FROM t WHERE k='%s'", "u", "%"),
    ("query = SELECT v FROM t WHERE k='%s'\nresult_format = <%s>", "u", "<user>"),
    ("query = SELECT v FROM t WHERE k='%s'\nresult_format = %s@%D", "u@d.example", "found@d.example"),
    ("query = SELECT v FROM t WHERE k='%s' ORDER BY v\nresult_format = [%s]", "a", "[1],[2]"),
    ("query = SELECT 'p@q.example' FROM t WHERE k='%s'\nresult_format = %u and %d for %S", "u", "p and q.example for u"),
    ("query = SELECT v FROM t WHERE k='%s'\ndomain = d.example, other.example", "u@d.example", "found"),
    ("query = SELECT v FROM t WHERE k='%u'\ndomain = other.example", "u@d.example", None),
    ("query = SELECT v FROM t WHERE k='%s'\ndomain = d.example", "u", None),
    ("query = SELECT v FROM t WHERE k='%s'\ndomain = d.example", "d.example", None),
    ("query = SELECT v FROM t WHERE k='%s'\nexpansion_limit = 2", "a", "1,2"),
    ("query = SELECT v\n   FROM t\n# between\n  WHERE k='%s'", "u", "user"),
    ("table = t\nselect_field = v\nwhere_field = k", "u", "user"),
    ("table = t\nselect_field = v\nwhere_field = k\nadditional_conditions = AND w = 'z'", "it's", "quoted"),
    ("table = t\nselect_field = v\nwhere_field = k\nadditional_conditions = AND w = 'z'", "u", None),
]
CREATE = "CREATE TABLE t (k VARCHAR(100), v VARCHAR(100), w VARCHAR(100));" + "".join(
    "INSERT INTO t VALUES (%s);" % ",".join("NULL" if value is None else "'" + value.replace("'", "''") + "'" for value in row) for row in ROWS
)


@pytest.fixture(scope="module")
def sources(module_folder, mariadb):
    """The first lines of a query file for each kind of database."""
    mariadb.sql(CREATE)
    database = module_folder / "t.db"
    procs.run(["sqlite3", database], input=CREATE.encode())
    return {"mysql": setups.mysql_source(mariadb), "sqlite": f"dbpath = {database}\n"}


@pytest.mark.parametrize("kind", ["mysql", "sqlite"])
@pytest.mark.parametrize("settings, key, value", QUERIES, ids=[str(number) for number in range(len(QUERIES))])
def test_query_files(sources, folder, kind, settings, key, value):
    path = setups.private_file(folder / "query.cf", sources[kind] + settings + "\n")
    assert lookup(key, f"{kind}:{path}") == value


@pytest.mark.parametrize("kind", ["mysql", "sqlite"])
@pytest.mark.parametrize(
    "settings, key",
    [
        ("query = SELECT v FROM t WHERE k='%s'\nexpansion_limit = 1", "a"),
        ("query = SELECT v FROM nosuch WHERE k='%s'", "u"),
        ("query = SELEKT", "u"),
        ("query = SELECT v FROM t WHERE k='%x'", "u"),
        ("query = SELECT v FROM t WHERE k='%s'\nresult_format = %y", "u"),
    ],
)
def test_query_files_that_fail(sources, folder, kind, settings, key):
    path = setups.private_file(folder / "query.cf", sources[kind] + settings + "\n")
    assert str(path) in failure(key, f"{kind}:{path}")


def test_nothing_but_the_query_is_stripped(sources, folder):
    """$name is not expanded in query files, and the quotes of the query are its own."""
    path = setups.private_file(folder / "query.cf", sources["sqlite"] + "query = SELECT '$myhostname' FROM t WHERE k='%s'\n")
    assert lookup("u", f"sqlite:{path}") == "$myhostname"


def test_option_file(mariadb, sources, folder):
    """Credentials may come from a MySQL option file."""
    options = setups.private_file(folder / "my.cnf", "[other]\nuser=postfix\npassword=postfix-db-password\n")
    path = folder / "query.cf"
    path.write_text(
        f"option_file = {options}\noption_group = other\nhosts = 127.0.0.1:{mariadb.port}\ndbname = postfix\n"
        "query = SELECT v FROM t WHERE k='%s'\n"
    )
    assert lookup("u", f"mysql:{path}") == "user"


def test_stored_procedure(mariadb, sources, folder):
    """A procedure gives a result set and a status; both are read, and two result sets with rows are an error."""
    mariadb.sql("GRANT EXECUTE ON postfix.* TO 'postfix'@'%'")
    for name, body in (("one", "SELECT v FROM t WHERE k = key_"), ("two", "SELECT v FROM t WHERE k = key_; SELECT 'again'"), ("none", "SET @x = 1")):
        mariadb.sql(f"DELIMITER //\nCREATE PROCEDURE p_{name}(key_ VARCHAR(100)) BEGIN {body}; END//\nDELIMITER ;\n")

    def call(name, extra=""):
        path = setups.private_file(folder / f"{name}.cf", sources["mysql"] + f"query = CALL p_{name}('%s')\n{extra}")
        return f"mysql:{path}"

    assert lookup("u", call("one")) == "user"
    assert lookup("absent", call("one")) is None
    assert failure("u", call("two"))
    assert failure("u", call("none"))
    assert lookup("u", call("none", "require_result_set = no\n")) is None


def test_the_tutorials_three_commands(mariadb, folder):
    mariadb.add_domain("mytuto.com")
    mariadb.add_mailboxes(["alain@mytuto.com"])
    mariadb.add_alias("abuse@mytuto.com", "alain@mytuto.com")
    tables = setups.mysql_tables(folder, mariadb)
    assert lookup("mytuto.com", tables["virtual_mailbox_domains"]) == "mytuto.com"
    assert lookup("alain@mytuto.com", tables["virtual_mailbox_maps"]) == "mytuto.com/alain/"
    assert lookup("abuse@mytuto.com", tables["virtual_alias_maps"]) == "alain@mytuto.com"


def test_database_down(make_mariadb, folder):
    database = make_mariadb()
    database.stop()
    path = setups.private_file(folder / "q.cf", setups.mysql_source(database) + "query = SELECT '%s'\n")
    assert "127.0.0.1" in failure("u", f"mysql:{path}")


def test_usage():
    assert mta.command("lookup").returncode == 2
    assert mta.command("lookup", "key").returncode == 2
