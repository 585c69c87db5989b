"""Delivery reports (RFC 3464) taken apart."""

import email
import email.parser
import email.policy

from support import maildir


class Report:
    """One report: `raw`, the parsed whole as `mail`, its three parts, the fields of the second."""

    def __init__(self, raw):
        self.raw = raw
        self.mail = email.message_from_bytes(raw, policy=email.policy.default)
        assert self.mail.get_content_type() == "multipart/report" and self.mail.get_param("report-type") == "delivery-status"
        assert self.mail["Auto-Submitted"] in ("auto-replied", "auto-generated")
        assert self.mail["Message-Id"] and self.mail["Date"] and "MAILER-DAEMON@" in self.mail["From"]
        self.text, self.status, self.original = self.mail.iter_parts()
        assert self.text.get_content_type() == "text/plain"
        self.message, *self.recipients = _blocks(self.status)
        assert self.message["Reporting-MTA"].startswith("dns; ") and self.message["Arrival-Date"]

    @property
    def subject(self):
        return self.mail["Subject"]

    @property
    def types(self):
        """The content types of the second and third part."""
        return self.status.get_content_type(), self.original.get_content_type()

    def actions(self):
        """{"user@domain": "failed", …}"""
        actions = {address(recipient["Final-Recipient"]): recipient["Action"] for recipient in self.recipients}
        assert len(actions) == len(self.recipients)
        return actions

    def recipient(self, final):
        """The fields of one recipient."""
        [fields] = [fields for fields in self.recipients if address(fields["Final-Recipient"]) == final]
        return fields


def address(typed):
    """ "rfc822; user@domain" without its type."""
    return typed.split(";", 1)[1].strip()


def _blocks(part):
    """The groups of fields of a delivery-status part; the email package takes only the ASCII form apart."""
    if part.get_content_type() == "message/delivery-status":
        return part.get_payload()
    assert part.get_content_type() == "message/global-delivery-status"
    first = part.get_payload(0)
    rest = first.get_payload(decode=True).decode()
    parser = email.parser.HeaderParser(policy=email.policy.default)
    return [first, *(parser.parsestr(block) for block in rest.strip().split("\n\n"))]


def reports(folder, count, timeout=30):
    """Waits for so many messages in a Maildir, all of them reports."""
    return [Report(raw) for raw in maildir.wait_messages(folder, count, timeout)]
