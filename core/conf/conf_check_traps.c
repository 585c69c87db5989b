/*
 * Traps: what is allowed, loads, and hardly does what was meant, as people copy it from tutorials (section 1.11 of
 * postfix-semantics). Each is a row with a sentence; all are warnings. Called by conf.c, after everything else has been
 * checked. (Domains that are in two classes are conf_check.c's.)
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

#include <errno.h>
#include <unistd.h>

#define SEPARATORS " \t\r\n,"

/* ---- parameters ---- */

/* Does it go wrong with this value, not empty, in this view? */
typedef bool trap_fn(const struct conf_view *, const char *value);

static const char *value_of(const struct conf_view *v, const char *name)
{
    struct conf_failure failure;
    const char *value = conf_view_value(v, name, &failure);

    return value != NULL ? value : "";
}

static bool is(const char *value, const char *word)
{
    return slice_ieq(slice_str(value), slice_str(word));
}

static bool unless_off(const struct conf_view *v, const char *value)
{
    (void)v;
    return !conf_value_off(value);
}

static bool unless_none(const struct conf_view *v, const char *value)
{
    (void)v;
    return !is(value, "none");
}

static bool unless_cyrus(const struct conf_view *v, const char *value)
{
    (void)v;
    return !is(value, "cyrus");
}

static bool with_dovecot(const struct conf_view *v, const char *value)
{
    (void)value;
    return is(value_of(v, "smtpd_sasl_type"), "dovecot");
}

static bool if_accept(const struct conf_view *v, const char *value)
{
    return is(value, "accept") &&
           (value_of(v, "smtpd_milters")[0] != '\0' || value_of(v, "non_smtpd_milters")[0] != '\0');
}

static bool if_old_protocol(const struct conf_view *v, const char *value)
{
    (void)v;
    return value[0] >= '2' && value[0] <= '5' && value[1] == '\0';
}

#define CLIENT_TYPE                                                                                                    \
    "this is a type for servers; to log in at another server there is only cyrus, and with smtp_sasl_auth_enable = "   \
    "yes no mail would go out"
#define SHOWN                                                                                                          \
    "every server that mail goes to is shown this certificate, which names this machine and which some refuse: leave " \
    "it empty unless a server asks for it"
#define USE_TLS(level) "this is obsolete: say " level ", which overrules it whenever it is set"

static const struct {
    const char *name;
    trap_fn *goes_wrong;
    const char *text;
} traps[] = {
    {"smtp_sasl_type", unless_cyrus, CLIENT_TYPE},
    {"lmtp_sasl_type", unless_cyrus, CLIENT_TYPE},
    {"smtpd_sasl_local_domain", with_dovecot,
     "with smtpd_sasl_type = dovecot it means nothing, and nothing asks saslauthd: realms are Dovecot's "
     "business"},
    {"smtpd_use_tls", unless_off, USE_TLS("smtpd_tls_security_level = may")},
    {"smtpd_enforce_tls", unless_off, USE_TLS("smtpd_tls_security_level = encrypt")},
    {"smtp_use_tls", unless_off, USE_TLS("smtp_tls_security_level = may")},
    {"smtp_enforce_tls", unless_off, USE_TLS("smtp_tls_security_level = encrypt")},
    {"lmtp_use_tls", unless_off, USE_TLS("lmtp_tls_security_level = may")},
    {"lmtp_enforce_tls", unless_off, USE_TLS("lmtp_tls_security_level = encrypt")},
    {"smtpd_tls_session_cache_database", unless_off,
     "this is obsolete: clients keep their sessions themselves, in tickets, and no file is needed"},
    {"smtp_tls_cert_file", unless_none, SHOWN},
    {"smtp_tls_eccert_file", unless_none, SHOWN},
    {"smtp_tls_chain_files", unless_none, SHOWN},
    {"milter_default_action", if_accept,
     "with accept, mail goes on unsigned and unfiltered, and nobody is told, while a milter is down; with tempfail its "
     "senders try again later"},
    {"milter_protocol", if_old_protocol,
     "milters of today speak 6, the default: with less they cannot do all that they should"},
};

static void check_parameters(const struct conf_build *b, const struct conf_view *v)
{
    for (size_t i = 0; i < ARRAY_LEN(traps); i++) {
        const char *value = conf_view_find(v, traps[i].name) != NULL ? value_of(v, traps[i].name) : "";

        if (value[0] != '\0' && traps[i].goes_wrong(v, value))
            conf_complain(b, v, CONF_SEVERITY_WARNING, traps[i].name, "%s", traps[i].text);
    }
}

/* ---- access tables that nobody has made ---- */

static const char *const lists[] = {
    "smtpd_client_restrictions",      "smtpd_helo_restrictions",      "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",       "smtpd_recipient_restrictions", "smtpd_data_restrictions",
    "smtpd_end_of_data_restrictions", "smtpd_etrn_restrictions",
};

/* "hash:/etc/postfix/access" -> the path; "" when it is no table of a file. */
static struct slice table_file(struct slice table)
{
    static const char *const types[] = {"hash", "btree", "lmdb", "cdb", "dbm", "texthash", "regexp", "pcre", "cidr"};
    size_t colon;

    if (slice_starts(table, SLICE_LIT("proxy:")))
        table = slice_from(table, strlen("proxy:"));
    colon = slice_find(table, ':');
    for (size_t i = 0; colon != SLICE_NOT_FOUND && i < ARRAY_LEN(types); i++)
        if (slice_eq(slice_head(table, colon), slice_str(types[i])))
            return slice_from(table, colon + 1);
    return SLICE_EMPTY;
}

static void check_table(const struct conf_build *b, const struct conf_view *v, const char *list, struct slice table)
{
    const char *path = arena_slice_dup(b->arena, table_file(table));

    if (path[0] == '/' && access(path, F_OK) != 0)
        conf_complain(b, v, CONF_SEVERITY_WARNING, list,
                      "%.*s: %s: Postfix answers 451 to all mail that gets to this check, until there is one",
                      (int)table.n, table.p, strerror(errno));
}

static void check_list(const struct conf_build *b, const struct conf_view *v, const char *list)
{
    struct slice rest = slice_str(value_of(v, list)), word;
    bool table_follows = false;

    while ((word = slice_token(&rest, SEPARATORS)).n > 0) {
        if (table_follows)
            check_table(b, v, list, word);
        table_follows = slice_istarts(word, SLICE_LIT("check_")) && word.n > strlen("_access") &&
                        slice_ieq(slice_from(word, word.n - strlen("_access")), SLICE_LIT("_access"));
    }
}

static void check_lists(const struct conf_build *b, const struct conf_view *v)
{
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        if (conf_view_find(v, lists[i]) != NULL)
            check_list(b, v, lists[i]);
}

/* ---- users that meet another policy on another port ---- */

/* Does the list let nobody pass but users who have logged in? */
static bool users_only(const char *list)
{
    struct slice rest = slice_str(list), word;
    bool users = false;

    while ((word = slice_token(&rest, SEPARATORS)).n > 0) {
        if (slice_ieq(word, SLICE_LIT("reject")))
            return users;
        users = users || slice_ieq(word, SLICE_LIT("permit_sasl_authenticated"));
    }
    return false;
}

static bool for_users(const struct conf_view *v)
{
    if (!is(value_of(v, "smtpd_sasl_auth_enable"), "yes"))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        if (users_only(value_of(v, lists[i])))
            return true;
    return false;
}

static bool same_list(const char *one, const char *two)
{
    struct slice a = slice_str(one), b = slice_str(two), word;

    do {
        word = slice_token(&a, SEPARATORS);
        if (!slice_ieq(word, slice_token(&b, SEPARATORS)))
            return false;
    } while (word.n > 0);
    return true;
}

static void compare_listeners(const struct conf_build *b, const struct conf_view *first, const struct conf_view *second)
{
    struct buf names = {0};

    for (size_t i = 0; i <= ARRAY_LEN(lists); i++) {
        const char *name = i < ARRAY_LEN(lists) ? lists[i] : "smtpd_reject_unlisted_recipient";

        if (!same_list(value_of(first, name), value_of(second, name)))
            buf_printf(&names, "%s%s", buf_len(&names) > 0 ? ", " : "", name);
    }
    if (buf_len(&names) > 0)
        conf_report_add(b->report, CONF_SEVERITY_WARNING, second->listener->file, second->listener->line,
                        "listener %s: the same user meets another policy here than at listener %s, by %s",
                        second->listener->name, first->listener->name, buf_cstr(&names));
    buf_release(&names);
}

/* Each listener for users with the first of them. */
static void check_listeners(const struct conf_build *b)
{
    const struct conf_section *first = NULL;

    for (size_t i = 1; i < b->source->nsections; i++) {
        const struct conf_section *section = &b->source->sections[i];
        struct conf_view first_view, view = conf_build_view(b, section);

        if (section->kind != CONF_SECTION_LISTENER || !for_users(&view))
            continue;
        if (first == NULL)
            first = section;
        first_view = conf_build_view(b, first);
        compare_listeners(b, &first_view, &view);
    }
}

/* ---- commands ---- */

struct mentions {
    const char *names; /* separated by spaces */
    bool any;
};

static void on_macro(void *ctx, const char *name, bool tested)
{
    struct mentions *m = ctx;
    struct slice rest = slice_str(m->names);

    (void)tested;
    for (struct slice word; (word = slice_token(&rest, " ")).n > 0;)
        m->any = m->any || slice_eq(word, slice_str(name));
}

/* Does the text have one of these macros? */
static bool mentions(const char *text, const char *names)
{
    struct mentions m = {names, false};

    conf_expand_scan(text, on_macro, &m);
    return m.any;
}

static bool original_lost(const struct conf *c, const struct conf_transport *t)
{
    return (t->pipe_flags & CONF_PIPE_FLAG_ORIGINAL_TO) == 0 && c->virtual_alias_maps[0] != '\0' &&
           !mentions(t->argv, "original_recipient");
}

static bool extension_lost(const struct conf *c, const struct conf_transport *t)
{
    return c->recipient_delimiter[0] != '\0' && mentions(t->argv, "user") &&
           !mentions(t->argv, "recipient original_recipient extension mailbox");
}

static bool quota_by_sendmail(const struct conf *c, const struct conf_transport *t)
{
    struct slice rest = slice_str(t->argv), word = slice_token(&rest, SEPARATORS);
    size_t slash = slice_rfind(word, '/');

    (void)c;
    word = slash != SLICE_NOT_FOUND ? slice_from(word, slash + 1) : word;
    if (!slice_eq(word, SLICE_LIT("deliver")) && !slice_eq(word, SLICE_LIT("dovecot-lda")))
        return false;
    while ((word = slice_token(&rest, SEPARATORS)).n > 0)
        if (slice_eq(word, SLICE_LIT("-e")))
            return false;
    return true;
}

static const struct {
    const char *key; /* the setting at whose place it is said */
    bool (*goes_wrong)(const struct conf *, const struct conf_transport *);
    const char *text;
} command_traps[] = {
    {"flags", original_lost,
     "flags: without O nobody can see the address that mail was sent to when an alias has replaced it; with O it is in "
     "X-Original-To:"},
    {"argv", extension_lost,
     "argv: ${user} is without the extension that recipient_delimiter splits off, and no other macro has it: the "
     "command never sees it (for Dovecot, add -a ${recipient})"},
    {"argv", quota_by_sendmail,
     "argv: without -e Dovecot's program says \"delivered\" of mail over quota and returns it by itself, through "
     "/usr/sbin/sendmail; with -e it says why"},
};

static const struct conf_section *section_of(const struct conf_build *b, const struct conf_transport *t)
{
    for (size_t i = 1; i < b->source->nsections; i++)
        if (b->source->sections[i].kind == CONF_SECTION_TRANSPORT && strcmp(b->source->sections[i].name, t->name) == 0)
            return &b->source->sections[i];
    return NULL;
}

/* Of those that are in use: Debian's master.cf has many that are not. */
static void check_commands(const struct conf_build *b)
{
    for (size_t t = 0; t < b->conf->ntransports; t++) {
        const struct conf_transport *transport = &b->conf->transports[t];
        const struct conf_section *section = section_of(b, transport);

        if (transport->type != CONF_TRANSPORT_TYPE_PIPE || section == NULL || !conf_transport_used(b->conf, transport))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(command_traps); i++) {
            const struct conf_assignment *at = conf_section_get(section, command_traps[i].key);

            if (command_traps[i].goes_wrong(b->conf, transport))
                conf_report_add(b->report, CONF_SEVERITY_WARNING, section->file, at != NULL ? at->line : section->line,
                                "transport %s: %s", transport->name, command_traps[i].text);
        }
    }
}

static void check_view(const struct conf_build *b, const struct conf_section *listener)
{
    struct conf_view v = conf_build_view(b, listener);

    check_parameters(b, &v);
    check_lists(b, &v);
}

void conf_check_traps(const struct conf_build *b)
{
    check_view(b, NULL);
    for (size_t i = 1; i < b->source->nsections; i++)
        if (b->source->sections[i].kind == CONF_SECTION_LISTENER)
            check_view(b, &b->source->sections[i]);
    check_listeners(b);
    check_commands(b);
}
