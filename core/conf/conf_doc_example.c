/*
 * `mta config doc --example`: mta.conf.example, a server that hosts domains listed in MySQL and delivers with Dovecot,
 * then every parameter with its default as comments. Called by conf_doc.c. The file at the top of the tree is what
 * this writes.
 */
#include "core/conf/conf_doc.h"

static const char *const setup[] = {
    "# mta.conf: a server that hosts domains listed in MySQL or MariaDB and delivers their mail with Dovecot.",
    "#",
    "# Copy it to /etc/mta/mta.conf, change the names, and ask `mta --check-config`. A set-up for Postfix can",
    "# be used as it is: `mta -c /etc/postfix`, or made a file like this one by `mta config import /etc/postfix`.",
    "#",
    NULL,
};

static const char *const parameters[] = {
    "",
    "# ---- Who we are ----",
    "",
    "# The full name of this host: it is in the greeting, in Received: and in reports, and should be what its address",
    "# resolves to.",
    "myhostname = mail.example.com",
    "mydomain = example.com",
    "",
    "# The domain added to addresses that have none. /etc/mailname would stand for the first line of that file.",
    "myorigin = $myhostname",
    "",
    "# Domains whose mail goes to UNIX accounts and /etc/aliases. Domains that are hosted do not belong here.",
    "# Delivery to UNIX accounts is not supported yet: until then no domain is local.",
    "#mydestination = $myhostname, localhost.$mydomain, localhost",
    "mydestination =",
    "",
    "# Clients that may send anywhere. IPv6 is written in brackets.",
    "mynetworks = 127.0.0.0/8 [::1]/128",
    "",
    "# Where to listen: all, loopback-only, or addresses. With IPv4, IPv6 or both.",
    "inet_interfaces = all",
    "inet_protocols = all",
    "",
    "# ---- Where things are ----",
    "",
    "queue_directory = /var/spool/mta",
    "data_directory = /var/lib/mta",
    "",
    "# Empty is standard output, for containers and systemd; syslog, or a file, are the other ways.",
    "maillog_file =",
    "",
    "# Log analysers and fail2ban look for this name.",
    "syslog_name = postfix",
    "",
    "# ---- Hosted domains ----",
    "",
    "# Each file says how to ask the database; it holds a password, so nobody but us may read it:",
    "#     user = postfix",
    "#     password = postfix-db-password",
    "#     hosts = 127.0.0.1",
    "#     dbname = postfix",
    "#     query = SELECT domain FROM domain WHERE domain='%s' AND active = '1'",
    "# Try one with `mta lookup example.org mysql:/etc/mta/sql/mysql_virtual_domains_maps.cf`. Files of the same",
    "# form with `dbpath = FILE` in place of the first four lines serve sqlite: tables.",
    "virtual_mailbox_domains = mysql:/etc/mta/sql/mysql_virtual_domains_maps.cf",
    "",
    "#     query = SELECT maildir FROM mailbox WHERE username='%s' AND active = '1'",
    "virtual_mailbox_maps = mysql:/etc/mta/sql/mysql_virtual_mailbox_maps.cf",
    "",
    "#     query = SELECT goto FROM alias WHERE address='%s' AND active = '1'",
    "virtual_alias_maps = mysql:/etc/mta/sql/mysql_virtual_alias_maps.cf",
    "",
    "# Domains that have aliases only. Without this line every key of virtual_alias_maps that is a domain is one.",
    "virtual_alias_domains =",
    "",
    "# user+anything@domain is delivered to user@domain.",
    "recipient_delimiter = +",
    "",
    "# ---- Delivery ----",
    "",
    "# Mail for hosted domains goes to Dovecot, through the transport below, one recipient at a time.",
    "virtual_transport = dovecot",
    "dovecot_destination_recipient_limit = 1",
    "dovecot_time_limit = 1000s",
    "",
    "# Dovecot's LMTP service is faster than a command for each message.",
    "#virtual_transport = lmtp:unix:private/dovecot-lmtp",
    "",
    "# Without Dovecot, deliver into Maildirs: virtual_mailbox_base + what virtual_mailbox_maps answers.",
    "#virtual_transport = virtual",
    "#virtual_mailbox_base = /var/mail/vmail",
    "#virtual_uid_maps = static:5000",
    "#virtual_gid_maps = static:5000",
    "",
    "# ---- Limits ----",
    "",
    "message_size_limit = 10240000",
    "smtpd_recipient_limit = 1000",
    "smtpd_client_connection_count_limit = 50",
    "",
    "# Mail that cannot be delivered yet is tried again after 5 minutes at first, then less and less often, for",
    "# 5 days.",
    "minimal_backoff_time = 300s",
    "maximal_backoff_time = 4000s",
    "maximal_queue_lifetime = 5d",
    "",
    "# ---- Who may do what ----",
    "",
    "# Strangers may send to our domains only; users who have authenticated, and our own networks, anywhere.",
    "smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
    "",
    "# Insist that clients say who they are, and do not tell them which addresses there are.",
    "smtpd_helo_required = yes",
    "disable_vrfy_command = yes",
    "",
    "# ---- Encryption and passwords ----",
    "",
    "# TLS for who wants it. A certificate that was renewed is taken into use by itself, within a minute.",
    "smtpd_tls_security_level = may",
    "smtpd_tls_cert_file = /etc/letsencrypt/live/mail.example.com/fullchain.pem",
    "smtpd_tls_key_file = /etc/letsencrypt/live/mail.example.com/privkey.pem",
    "smtpd_tls_received_header = yes",
    "smtpd_tls_loglevel = 1",
    "",
    "# No password in clear. Dovecot checks them: its auth service listens at this place below queue_directory.",
    "smtpd_tls_auth_only = yes",
    "smtpd_sasl_type = dovecot",
    "smtpd_sasl_path = private/auth",
    "",
    "# ---- Mail to other hosts ----",
    "",
    "# In TLS where the other side has it. Where mail goes through a provider's server:",
    "smtp_tls_security_level = may",
    "#relayhost = [smtp.example.net]:587",
    "#smtp_tls_security_level = secure",
    "#smtp_sasl_auth_enable = yes",
    "#smtp_sasl_password_maps = hash:/etc/mta/relay",
    "",
    "# Not supported yet:",
    "#smtpd_milters = inet:127.0.0.1:8891",
    "#non_smtpd_milters = inet:127.0.0.1:8891",
    "#milter_default_action = accept",
    "",
    "# ---- Sections ----",
    "",
    "# A listener may have its own value of almost every parameter of the SMTP server.",
    "[listener smtp]",
    "listen = :smtp",
    "",
    "# For users' mail programs: with STARTTLS, and with TLS from the first byte.",
    "[listener submission]",
    "listen = :submission",
    "syslog_name = postfix/submission",
    "smtpd_tls_security_level = encrypt",
    "smtpd_sasl_auth_enable = yes",
    "smtpd_client_restrictions = permit_sasl_authenticated, reject",
    "",
    "[listener submissions]",
    "listen = :submissions",
    "syslog_name = postfix/submissions",
    "smtpd_tls_wrappermode = yes",
    "smtpd_sasl_auth_enable = yes",
    "smtpd_client_restrictions = permit_sasl_authenticated, reject",
    "",
    "# A pipe transport runs a command for each delivery: without a shell, never as root.",
    "#   flags  D: Delivered-To:, R: Return-Path:, h and u: domain and user in lower case; O: X-Original-To:",
    "#   argv   ${sender}, ${recipient}, ${user}, ${extension}, ${domain}, ${nexthop}, ${original_recipient}, ...",
    "[transport dovecot]",
    "type = pipe",
    "flags = DORhu",
    "user = vmail:vmail",
    "argv = /usr/lib/dovecot/deliver -e -f ${sender} -a ${recipient} -d ${user}@${nexthop}",
    "",
    "# ---- All parameters, with their defaults ----",
    "#",
    "# To change one, put a line for it before the first section, above; `mta config set NAME=VALUE` does that.",
    NULL,
};

static void lines(FILE *out, const char *const *text)
{
    for (; *text != NULL; text++)
        fprintf(out, "%s\n", *text);
}

static void begin(FILE *out)
{
    lines(out, setup);
    for (size_t i = 0; conf_doc_language[i] != NULL; i++) {
        conf_doc_wrap(out, "# ", conf_doc_language[i]);
        if (conf_doc_language[i + 1] != NULL)
            fputs("#\n", out);
    }
    lines(out, parameters);
}

static void section(FILE *out, const char *title, const char *text, bool of_names)
{
    (void)of_names;
    fprintf(out, "\n# ---- %s ----\n#\n", title);
    conf_doc_wrap(out, "# ", text);
}

static void entry(FILE *out, const struct conf_doc_entry *e)
{
    fputc('\n', out);
    conf_doc_wrap(out, "# ", e->doc);
    conf_doc_wrap(out, "# ", e->remark);
    if (e->computed != NULL)
        fprintf(out, "# By default: %s.\n", e->computed);
    fprintf(out, "#%s =%s%s\n", e->name, e->def[0] != '\0' ? " " : "", e->def);
}

static void end(FILE *out)
{
    (void)out;
}

const struct conf_doc_style conf_doc_example = {begin, section, entry, NULL, end};
