"""What keeps the server from starting is said in one line, with a non-zero exit status."""

import pytest
from support import mta, procs, setups
from support.setups import DOMAIN


@pytest.fixture
def server(make_mta, folder, owner):
    return setups.hosted_server(make_mta, folder, owner, start=False)


def fails(server, pattern):
    """Starts the server, which must end by itself and say why."""
    done = mta.command("-c", server.conf, timeout=20)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode not in (0, 99), text
    assert mta.re.search(pattern, text), text


def test_no_configuration(folder):
    done = mta.command("-c", folder / "nonexistent.conf")
    assert done.returncode not in (0, 99)
    assert "nonexistent.conf" in (done.stdout + done.stderr).decode()


def test_bad_configuration(server):
    server.main["smtpd_recipient_limit"] = "many"
    server.write_config()
    fails(server, r"smtpd_recipient_limit")


def test_queue_directory_missing(server):
    server.queue.rmdir()
    server.write_config()
    fails(server, str(server.queue))


def test_queue_database_is_no_database(server):
    server.database().write_bytes(b"this is not SQLite" * 1000)
    server.write_config()
    fails(server, r"queue\.db|queue database|not a database")
    assert server.database().read_bytes().startswith(b"this is not SQLite"), "the damaged database must be left as it is"


def test_second_instance_on_the_same_queue(server):
    server.start()
    server.conf.with_name("second.conf").write_text(
        mta.config_text(server.main, {"smtp": {"listen": f"127.0.0.1:{procs.free_ports(1)[0]}"}}, server.transports)
    )
    done = mta.command("-c", server.conf.with_name("second.conf"), timeout=20)
    assert done.returncode not in (0, 99)
    assert str(server.queue) in (done.stdout + done.stderr).decode()
    with server.connect() as client:
        client.cmd("NOOP", 250)


def test_port_is_taken(server, folder):
    server.start()
    other = folder / "other"
    other.mkdir()
    (other / "mta.conf").write_text(mta.config_text({**server.main, "queue_directory": other}, server.listeners, server.transports))
    done = mta.command("-c", other / "mta.conf", timeout=20)
    assert done.returncode not in (0, 99)
    assert str(server.address()[1]) in (done.stdout + done.stderr).decode()


def test_restart_at_once(server):
    """The port is free again right after the end, with connections still in TIME_WAIT."""
    server.start()
    for _ in range(3):
        with server.connect() as client:
            client.ehlo()
            client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: x\r\n\r\n")
            client.quit()
        server.restart()
