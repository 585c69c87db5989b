/*
 * `mta config doc`: the reference of all parameters from their rows. Called by cli_config. This file knows what there
 * is to tell and in which order; conf_doc_man.c, conf_doc_md.c and conf_doc_example.c how it is written.
 */
#include "core/conf/conf_doc.h"

#include "core/base/assert.h"

/* ---- groups: the .def files ---- */

#define PARAM(name, TYPE, def, range, apply, doc)              +1
#define PARAM_NAMED(field, name, TYPE, def, range, apply, doc) +1
/* clang-format off */
enum {
    N_CORE = 0
#include "core/conf/params_core.def"
    , N_SMTPD = 0
#include "core/conf/params_smtpd.def"
    , N_TLS = 0
#include "core/conf/params_tls.def"
    , N_AUTH = 0
#include "core/conf/params_auth.def"
    , N_LOOKUP = 0
#include "core/conf/params_lookup.def"
    , N_REWRITE = 0
#include "core/conf/params_rewrite.def"
    , N_CONTENT = 0
#include "core/conf/params_content.def"
    , N_DNS = 0
#include "core/conf/params_dns.def"
    , N_QUEUE = 0
#include "core/conf/params_queue.def"
    , N_DELIVERY = 0
#include "core/conf/params_delivery.def"
    , N_OUTBOUND = 0
#include "core/conf/params_outbound.def"
    , N_ALL = 0
#include "core/conf/params.def"
};
/* clang-format on */
#undef PARAM
#undef PARAM_NAMED
_Static_assert(N_CORE + N_SMTPD + N_TLS + N_AUTH + N_LOOKUP + N_REWRITE + N_CONTENT + N_DNS + N_QUEUE + N_DELIVERY +
                       N_OUTBOUND ==
                   N_ALL,
               "each file of params.def is a group");

static const struct {
    size_t nrows;
    const char *title, *text;
} groups[] = {
    {N_CORE, "Who and where we are", "Names, networks, directories, the log, the form of addresses."},
    {N_SMTPD, "The SMTP server", "Limits, restrictions, replies, and what is done to the headers of a message."},
    {N_TLS, "TLS in the server", "STARTTLS and TLS from the first byte: certificates, versions, ciphers."},
    {N_AUTH, "AUTH in the server", "Who checks passwords, who may authenticate, and how guessing is slowed down."},
    {N_LOOKUP, "Domains and recipients", "The address classes, their tables, and the transport of each class."},
    {N_REWRITE, "Addresses that are changed", "Canonical addresses, copies, the senders of mail that is sent on."},
    {N_CONTENT, "Content", "Checks of headers and bodies."},
    {N_DNS, "DNS", "Who is asked, and what for."},
    {N_QUEUE, "The queue", "When delivery is tried, how often, how much at a time, and what is reported."},
    {N_DELIVERY, "Delivery", "Commands and mailboxes."},
    {N_OUTBOUND, "The SMTP and LMTP client",
     "Hosts, connections, sessions and time-outs, TLS and AUTH to other servers."},
};

/* ---- rows as text ---- */

/* "" of free text. */
static const char *values_text(const struct conf_row *row, struct arena *a)
{
    char words[300];

    switch (row->type) {
    case CONF_TYPE_BOOL: return "Yes or no; ";
    case CONF_TYPE_INT: return arena_printf(a, "A number, %s to %s; ", row->min, row->max);
    case CONF_TYPE_SIZE: return arena_printf(a, "Bytes, %s to %s; ", row->min, row->max);
    case CONF_TYPE_DURATION: return arena_printf(a, "A time, %s to %s; ", row->min, row->max);
    case CONF_TYPE_ENUM: conf_words_list(row->words, words, sizeof words); return arena_printf(a, "One of %s; ", words);
    default: return "";
    }
}

static const char *scope_text(const struct conf_row *row)
{
    switch (row->apply) {
    case CONF_APPLY_LISTENER: return "each listener may have its own";
    case CONF_APPLY_RELOAD: return "one for the whole server";
    default: return "one for the whole server; a change needs a restart";
    }
}

static void tell(const struct conf_doc_style *style, FILE *out, const char *name, const struct conf_row *row,
                 const char *scope)
{
    struct arena a = {0};
    char *remark = arena_printf(&a, "%s%s.", values_text(row, &a), scope);
    struct conf_doc_entry e = {
        .name = name,
        .def = row->def != NULL ? row->def : "",
        .computed = row->def != NULL ? NULL : conf_default_describe(row->name),
        .doc = row->doc,
        .remark = remark,
    };

    remark[0] = ascii_upper(remark[0]);
    style->entry(out, &e);
    arena_clear(&a);
}

/* ---- sections ---- */

static void tell_groups(const struct conf_doc_style *style, FILE *out)
{
    const struct conf_row *row = conf_rows;

    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        style->section(out, groups[i].title, groups[i].text, false);
        for (size_t n = 0; n < groups[i].nrows; n++, row++)
            tell(style, out, row->name, row, scope_text(row));
    }
}

static void tell_listener(const struct conf_doc_style *style, FILE *out)
{
    const struct conf_doc_entry listen = {
        .name = "listen",
        .def = "",
        .doc = "Where clients are waited for; without a host, on $inet_interfaces; a port is a number or the name of a "
               "service, such as smtp, submission and submissions.",
        .remark = "A list of HOST:PORT, [IPV6]:PORT, *:PORT, :PORT or PORT; needed in each listener.",
    };

    style->section(out, "Sections: [listener NAME]",
                   "A listener waits for clients. Besides listen it may have its own value of each parameter of which "
                   "it is said above that each listener may have its own. Without any such section there is one, on "
                   "port 25 of $inet_interfaces.",
                   false);
    style->entry(out, &listen);
}

static void tell_transport(const struct conf_doc_style *style, FILE *out)
{
    struct arena a = {0};
    char types[300];
    struct conf_doc_entry type = {
        .name = "type",
        .def = "",
        .doc = "What delivers: a command, Maildirs, or nothing but a verdict about the mail.",
    };

    conf_words_list(conf_words_transport_type, types, sizeof types);
    type.remark = arena_printf(&a, "One of %s; needed in each transport.", types);
    style->section(out, "Sections: [transport NAME]",
                   "A transport delivers. Its NAME is what virtual_transport and its like, and the results of "
                   "transport_maps, begin with. error, retry, discard and virtual are there without a section.",
                   false);
    style->entry(out, &type);
    for (size_t i = 0; i < conf_ntransport_rows; i++)
        tell(style, out, conf_transport_rows[i].name, &conf_transport_rows[i],
             conf_transport_rows[i].types == 1u << CONF_TRANSPORT_TYPE_PIPE ? "of type pipe" : "of every type");
    arena_clear(&a);
}

static void tell_dynamic(const struct conf_doc_style *style, FILE *out)
{
    struct arena a = {0};

    style->section(out, "Parameters of each transport",
                   "They stand with the other parameters, not in the transport's section, and their names begin with "
                   "that of the transport, as in dovecot_time_limit.",
                   false);
    for (size_t i = 0; i < conf_ndynamic_rows; i++)
        tell(style, out, arena_printf(&a, "<transport>_%s", conf_dynamic_rows[i].name), &conf_dynamic_rows[i],
             "one for each transport");
    arena_clear(&a);
}

/* ---- names of Postfix ---- */

static const struct {
    enum conf_known_kind kind;
    const char *title, *text;
} kinds[] = {
    {CONF_KNOWN_EQUIVALENT, "Parameters of Postfix that are done in another way", "They may stay in a configuration."},
    {CONF_KNOWN_HARMLESS, "Parameters of Postfix that mean nothing here",
     "They may stay in a configuration, and nothing is lost."},
    {CONF_KNOWN_LATER, "Parameters of Postfix that are not supported yet",
     "They have no effect, and mta --check-config says so."},
    {CONF_KNOWN_DEMAND, "Parameters of Postfix that are not supported yet, and refused",
     "They ask for a protection, and a configuration with one does not start, since without it:"},
    {CONF_KNOWN_UNSUPPORTED, "Parameters of Postfix that are not supported",
     "They have no effect, and mta --check-config says what to do instead."},
};

static bool same_text(const struct conf_known *a, const struct conf_known *b)
{
    return a->kind == b->kind && strcmp(a->text, b->text) == 0;
}

static bool told(size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (same_text(&conf_known[i], &conf_known[n]))
            return true;
    return false;
}

/* All names with the text of the row, which is the first of them. */
static void tell_alike(const struct conf_doc_style *style, FILE *out, size_t first)
{
    struct buf names = {0};

    for (size_t i = first; i < conf_nknown; i++)
        if (same_text(&conf_known[i], &conf_known[first]))
            buf_printf(&names, "%s%s%s", i > first ? ", " : "", conf_known[i].suffix ? "<transport>_" : "",
                       conf_known[i].name);
    style->names(out, buf_cstr(&names), conf_known[first].text);
    buf_release(&names);
}

static void tell_known(const struct conf_doc_style *style, FILE *out)
{
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        style->section(out, kinds[k].title, kinds[k].text, true);
        for (size_t i = 0; i < conf_nknown; i++)
            if (conf_known[i].kind == kinds[k].kind && !told(i))
                tell_alike(style, out, i);
    }
}

/* ---- the whole ---- */

const char *const conf_doc_language[] = {
    "The language is that of Postfix's main.cf. A parameter is a line NAME = VALUE. A line that begins with white "
    "space "
    "continues the line before it; blank lines, and lines whose first character besides white space is #, are "
    "comments; a # behind a value is part of the value. The last definition of a name counts.",
    "$NAME and ${NAME} stand for the value of another parameter, $$ for a dollar. ${NAME?{A}:{B}} is A when NAME is "
    "not "
    "empty, else B; ${{X} == {Y} ? {A} : {B}} compares. Names that are no parameters may be set to be used so.",
    "A list has commas or white space between its items. TYPE:NAME stands for a table, /FILE for the items in a file, "
    "!ITEM for an exception; IPv6 addresses are written in brackets. A time is a number with s, m, h, d or w behind "
    "it.",
    "[listener NAME] and [transport NAME] begin a section that lasts until the next one. Parameters stand before the "
    "first section.",
    NULL,
};

void conf_doc_wrap(FILE *out, const char *prefix, const char *text)
{
    struct slice rest = slice_str(text);
    size_t column = 0;

    for (struct slice word; (word = slice_token(&rest, " ")).n > 0;) {
        if (column > 0 && column + 1 + word.n > 100) {
            fputc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%s%.*s", column == 0 ? prefix : " ", (int)word.n, word.p);
    }
    fputc('\n', out);
}

void conf_doc(enum conf_doc_format format, FILE *out)
{
    static const struct conf_doc_style *const styles[] = {
        [CONF_DOC_MAN] = &conf_doc_man, [CONF_DOC_MD] = &conf_doc_md, [CONF_DOC_EXAMPLE] = &conf_doc_example};
    const struct conf_doc_style *style = styles[format];

    style->begin(out);
    tell_groups(style, out);
    tell_dynamic(style, out);
    tell_listener(style, out);
    tell_transport(style, out);
    if (style->names != NULL)
        tell_known(style, out);
    style->end(out);
}
