"""Certificates and keys, made by openssl: of any validity, for any names, signed by an authority of the test's own."""

import datetime
import ssl

from support import procs

_CONFIG = """\
[ca]
default_ca = here
[here]
database = {dir}/index
new_certs_dir = {dir}
rand_serial = yes
default_md = sha256
policy = policy
copy_extensions = copy
unique_subject = no
[policy]
commonName = supplied
"""


class Authority:
    """Issues certificates into a folder. `issue` answers (certificate, key): paths."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        (folder / "index").write_text("")
        (folder / "ca.cnf").write_text(_CONFIG.format(dir=folder))
        self.certificate, self.key = self.issue("authority", [], days=(-10, 3650), by=None)

    def issue(self, name, hosts, days=(-1, 90), by="authority", rsa=False):
        """`days`: valid from, until, counted from today. The key is on P-256, or RSA with 2048 bits. The file has the authority's certificate behind its own."""
        key, request, path = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        algorithm = ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"] if rsa else ["EC", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        procs.run(["openssl", "genpkey", "-algorithm", *algorithm, "-out", key])
        names = ["-addext", "subjectAltName=" + ",".join(f"DNS:{host}" for host in hosts)] if hosts else []
        procs.run(["openssl", "req", "-new", "-key", key, "-subj", f"/CN={name}", *names, "-out", request])
        now = datetime.datetime.now(datetime.timezone.utc)
        start, end = ((now + datetime.timedelta(days=count)).strftime("%Y%m%d%H%M%SZ") for count in days)
        signer = ["-cert", self.folder / f"{by}.pem", "-keyfile", self.folder / f"{by}.key"] if by else ["-selfsign", "-keyfile", key]
        procs.run(["openssl", "ca", "-batch", "-notext", "-config", self.folder / "ca.cnf", *signer, "-startdate", start, "-enddate", end, "-in", request, "-out", path])
        if by:
            path.write_text(path.read_text() + (self.folder / f"{by}.pem").read_text())
        key.chmod(0o600)
        return path, key

    def context(self, *certificate, **settings):
        """An ssl.SSLContext of a client that trusts this authority; `certificate`: its own and the key."""
        context = ssl.create_default_context(cafile=self.certificate)
        if certificate:
            context.load_cert_chain(*certificate)
        for name, value in settings.items():
            setattr(context, name, value)
        return context
