"""testssl.sh finds nothing worse than "low" with the default settings."""

import json

from support import certs, mta, procs

# About the test's certificate, and about the openssl that testssl.sh runs; not about the server.
NOT_OURS = ("cert_revocation", "engine_problem", "service", "RC4")


def test_nothing_above_low(make_mta, folder):
    authority = certs.Authority(folder / "ca")
    (rsa, rsa_key), (ecdsa, ecdsa_key) = authority.issue("rsa", [mta.HOSTNAME], rsa=True), authority.issue("ecdsa", [mta.HOSTNAME])
    main = {"smtpd_tls_cert_file": rsa, "smtpd_tls_key_file": rsa_key, "smtpd_tls_eccert_file": ecdsa, "smtpd_tls_eckey_file": ecdsa_key}
    server = make_mta(main, {"smtps": {"smtpd_tls_wrappermode": "yes"}})
    host, port = server.address()
    said = folder / "findings.json"
    options = ["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--fast", f"--ip={host}", "--add-ca", authority.certificate, "--jsonfile", said]
    what = ["--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--vulnerable"]
    done = procs.run(["testssl", *options, *what, f"{mta.HOSTNAME}:{port}"], timeout=500, check=False)
    findings = json.loads(said.read_text())
    assert {"TLS1_2", "TLS1_3", "cert_trust <cert#1>", "heartbleed"} <= {one["id"] for one in findings}, done.stdout.decode(errors="replace")[-3000:]
    # A check that testssl.sh could not make in its own time, on a busy machine, has found nothing.
    findings = [one for one in findings if "check failed because of connect problem" not in one["finding"]]
    bad = [(one["id"], one["severity"], one["finding"]) for one in findings if one["severity"] not in ("OK", "INFO", "LOW", "DEBUG") and not one["id"].startswith(NOT_OURS)]
    assert bad == []
