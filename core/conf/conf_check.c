/*
 * What takes more than one value to judge and needs no table: names of the host, domains in several classes, transports
 * that are not there, limits that contradict each other. Called by conf.c when every field has a value; complaints go
 * to the report.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

#define LIST_SEPARATORS " \t\r\n,"

/* The file's view under check. */
struct work {
    const struct conf_build *build;
    struct conf_view view;
    const struct conf *conf;
};

#define COMPLAIN(w, severity, name, ...)                                                                               \
    conf_complain((w)->build, &(w)->view, CONF_SEVERITY_##severity, name, __VA_ARGS__)

/* ---- who we are ---- */

/* A default that is wrong is the consequence of something that has been complained about. */
static bool is_set(const struct work *w, const char *name)
{
    return conf_view_find(&w->view, name) != NULL;
}

static void check_host(const struct work *w)
{
    const struct conf *c = w->conf;
    uint64_t level;

    if (!conf_domain_valid(c->myhostname))
        COMPLAIN(w, ERROR, "myhostname", "\"%s\" is not a host name", c->myhostname);
    else if (strchr(c->myhostname, '.') == NULL)
        COMPLAIN(w, WARNING, "myhostname", "\"%s\" is not fully qualified: other servers may refuse it", c->myhostname);
    else if (!is_set(w, "myhostname") && strchr(w->build->machine->hostname, '.') == NULL)
        COMPLAIN(w, WARNING, "myhostname", "it is not set, and this machine's own name has no domain: using %s",
                 c->myhostname);
    if (is_set(w, "mydomain") && !conf_domain_valid(c->mydomain))
        COMPLAIN(w, ERROR, "mydomain", "\"%s\" is not a domain name", c->mydomain);
    if (is_set(w, "myorigin") && !conf_domain_valid(c->myorigin))
        COMPLAIN(w, ERROR, "myorigin", "\"%s\" is not a domain name", c->myorigin);
    if (!conf_level_parse(slice_str(c->compatibility_level), &level))
        COMPLAIN(w, ERROR, "compatibility_level", "\"%s\" is not a release such as 3.6", c->compatibility_level);
    if (c->syslog_name[0] == '\0')
        COMPLAIN(w, ERROR, "syslog_name", "it is empty");
    if (is_set(w, "smtpd_banner") && !slice_istarts(slice_str(c->smtpd_banner), slice_str(c->myhostname)))
        COMPLAIN(w, WARNING, "smtpd_banner", "the greeting must begin with $myhostname (RFC 5321 section 4.2)");
}

static void check_directories(const struct work *w)
{
    const struct {
        const char *name, *value;
    } directories[] = {{"queue_directory", w->conf->queue_directory}, {"data_directory", w->conf->data_directory}};

    for (size_t i = 0; i < ARRAY_LEN(directories); i++)
        if (directories[i].value[0] != '/')
            COMPLAIN(w, ERROR, directories[i].name, "\"%s\" does not begin with a slash", directories[i].value);
}

/* ---- address classes ---- */

struct class_list {
    const char *name, *domains;
};

/* A domain itself: no table, no file, no negation, no parent-domain pattern. */
static bool is_domain(struct slice word)
{
    return word.p[0] != '/' && word.p[0] != '!' && word.p[0] != '.' &&
           (slice_find(word, ':') == SLICE_NOT_FOUND || word.p[0] == '[');
}

static bool lists_domain(const char *list, struct slice domain)
{
    struct slice rest = slice_str(list);

    for (struct slice word; (word = slice_token(&rest, LIST_SEPARATORS)).n > 0;)
        if (slice_ieq(word, domain))
            return true;
    return false;
}

static void check_pair(const struct work *w, const struct class_list *first, const struct class_list *second)
{
    struct slice rest = slice_str(second->domains);

    for (struct slice word; (word = slice_token(&rest, LIST_SEPARATORS)).n > 0;)
        if (is_domain(word) && lists_domain(first->domains, word))
            COMPLAIN(w, WARNING, second->name,
                     "%.*s is in %s too, and that is the one that counts; the order is mydestination, "
                     "virtual_alias_domains, "
                     "virtual_mailbox_domains, relay_domains",
                     (int)word.n, word.p, first->name);
}

/* Postfix warns on every resolution; here it is said once, when the configuration is loaded. */
static void check_classes(const struct work *w)
{
    const struct class_list classes[] = {
        {"mydestination", w->conf->mydestination},
        {"virtual_alias_domains", w->conf->virtual_alias_domains},
        {"virtual_mailbox_domains", w->conf->virtual_mailbox_domains},
        {"relay_domains", w->conf->relay_domains},
    };

    for (size_t second = 1; second < ARRAY_LEN(classes); second++)
        if (is_set(w, classes[second].name))
            for (size_t first = 0; first < second; first++)
                check_pair(w, &classes[first], &classes[second]);
}

/* ---- transports ---- */

static const struct conf_transport *transport_of(const struct work *w, const char *value)
{
    struct slice name = slice_head(slice_str(value), slice_find(slice_str(value), ':'));

    return conf_transport_find(w->conf, arena_slice_dup(w->build->arena, name));
}

static void check_transport(const struct work *w, const char *param, const char *value, const char *whose)
{
    struct slice name = slice_head(slice_str(value), slice_find(slice_str(value), ':'));
    const char *copy = arena_slice_dup(w->build->arena, name);
    struct conf_near near = {.name = copy};

    if (transport_of(w, value) != NULL)
        return; /* when its type is not supported yet, the section says so */
    if (conf_transport_to_come(name)) {
        COMPLAIN(w, WARNING, param, "%s is not supported yet: mail for %s is deferred", copy, whose);
        return;
    }
    for (size_t i = 0; i < w->conf->ntransports; i++)
        conf_near_try(&near, w->conf->transports[i].name);
    if (near.best != NULL)
        COMPLAIN(w, ERROR, param, "there is no [transport %s]; did you mean %s?", copy, near.best);
    else
        COMPLAIN(w, ERROR, param, "there is no [transport %s]", copy);
}

static void check_transports(const struct work *w)
{
    const struct conf *c = w->conf;

    if (c->mydestination[0] != '\0')
        check_transport(w, "local_transport", c->local_transport, "$mydestination");
    if (c->virtual_mailbox_domains[0] != '\0')
        check_transport(w, "virtual_transport", c->virtual_transport, "$virtual_mailbox_domains");
    if (c->relay_domains[0] != '\0')
        check_transport(w, "relay_transport", c->relay_transport, "$relay_domains");
    check_transport(w, "default_transport", c->default_transport, "all other domains");
}

static void check_maildir(const struct work *w)
{
    const struct conf *c = w->conf;
    const struct conf_transport *t = transport_of(w, c->virtual_transport);
    const struct {
        const char *name, *value;
    } needed[] = {{"virtual_mailbox_maps", c->virtual_mailbox_maps},
                  {"virtual_uid_maps", c->virtual_uid_maps},
                  {"virtual_gid_maps", c->virtual_gid_maps}};

    /* Warnings: transport_maps may send all of these domains elsewhere. */
    if (c->virtual_mailbox_domains[0] == '\0' || t == NULL || t->type != CONF_TRANSPORT_TYPE_MAILDIR)
        return;
    if (c->virtual_mailbox_base[0] != '/')
        COMPLAIN(w, WARNING, "virtual_mailbox_base",
                 "the directory of the mailboxes is needed, beginning with a slash");
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (needed[i].value[0] == '\0')
            COMPLAIN(w, WARNING, needed[i].name, "it is empty: no mail can be delivered to a mailbox");
    if (c->virtual_mailbox_limit > 0 &&
        (c->message_size_limit == 0 || c->message_size_limit > c->virtual_mailbox_limit))
        COMPLAIN(w, ERROR, "virtual_mailbox_limit",
                 "it is smaller than message_size_limit: mail that was accepted would not fit");
}

static void check_queue(const struct work *w)
{
    if (w->conf->minimal_backoff_time_ms > w->conf->maximal_backoff_time_ms)
        COMPLAIN(w, WARNING, "minimal_backoff_time", "it is greater than maximal_backoff_time");
    if (w->conf->smtpd_soft_error_limit > w->conf->smtpd_hard_error_limit)
        COMPLAIN(w, WARNING, "smtpd_soft_error_limit", "it is greater than smtpd_hard_error_limit");
}

/* ---- reports ---- */

/* Words of notify_classes: those for session transcripts, which the default has, are known and do nothing. */
static const struct {
    const char *word;
    bool transcript;
} notify_words[] = {
    {"bounce", false}, {"2bounce", false}, {"delay", false},   {"data", true},
    {"policy", true},  {"protocol", true}, {"resource", true}, {"software", true},
};

static void check_notify_class(const struct work *w, struct slice word)
{
    for (size_t i = 0; i < ARRAY_LEN(notify_words); i++) {
        if (!slice_ieq(word, slice_str(notify_words[i].word)))
            continue;
        if (notify_words[i].transcript && strcmp(w->conf->notify_classes, conf_row_find("notify_classes")->def) != 0)
            COMPLAIN(w, WARNING, "notify_classes",
                     "%s has no effect: the postmaster is sent no transcripts of sessions", notify_words[i].word);
        return;
    }
    COMPLAIN(w, ERROR, "notify_classes",
             "\"%.*s\" is none of bounce, 2bounce, delay, policy, protocol, resource, software", (int)word.n, word.p);
}

static void check_reports(const struct work *w)
{
    const struct conf *c = w->conf;
    const struct {
        const char *name, *value;
    } needed[] = {{"bounce_notice_recipient", c->bounce_notice_recipient},
                  {"2bounce_notice_recipient", c->double_bounce_notice_recipient},
                  {"delay_notice_recipient", c->delay_notice_recipient},
                  {"double_bounce_sender", c->double_bounce_sender}};
    struct slice rest = slice_str(c->notify_classes);

    for (struct slice word; (word = slice_token(&rest, LIST_SEPARATORS)).n > 0;)
        check_notify_class(w, word);
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        if (needed[i].value[0] == '\0')
            COMPLAIN(w, ERROR, needed[i].name, "it is empty");
}

/* ---- listeners ---- */

/* Milters come later. What was to be refused without them must not get in without them. */
static bool milters_missing(const struct conf_view *v)
{
    struct conf_failure failure;
    const char *milters = conf_view_value(v, "smtpd_milters", &failure);
    const char *otherwise = conf_view_value(v, "milter_default_action", &failure);

    return milters != NULL && otherwise != NULL && !conf_value_off(milters) &&
           !slice_ieq(slice_str(otherwise), SLICE_LIT("accept"));
}

static bool own_milters_missing(const struct conf_build *b, const struct conf_section *listener)
{
    struct conf_view v = conf_build_view(b, listener);

    return (conf_section_get(listener, "smtpd_milters") != NULL ||
            conf_section_get(listener, "milter_default_action") != NULL) &&
           milters_missing(&v);
}

#define MILTERS_MISSING                                                                                                \
    "milters are not supported yet, and mail is to be let in without them only with milter_default_action = accept"

static void check_milters(const struct conf_build *b, const struct conf_view *v)
{
    if (milters_missing(v))
        conf_complain(b, v, CONF_SEVERITY_ERROR, "smtpd_milters", MILTERS_MISSING);
}

bool conf_listener_closed(const struct conf_build *b, const struct conf_section *listener)
{
    if (!b->source->postfix)
        return false;
    for (size_t i = 0; i < listener->n; i++)
        if (conf_check_demand(b, listener, &listener->items[i]))
            return true;
    return own_milters_missing(b, listener);
}

static void check_view(const struct conf_build *b, const struct conf_section *listener, const struct conf *conf)
{
    struct conf_view v = conf_build_view(b, listener);

    conf_check_access(b, &v, conf);
    check_milters(b, &v);
}

static void check_listeners(const struct conf_build *b)
{
    size_t n = 0;

    for (size_t i = 1; i < b->source->nsections; i++) {
        const struct conf_section *section = &b->source->sections[i];
        struct conf_view v = conf_build_view(b, section);

        if (section->kind != CONF_SECTION_LISTENER)
            continue;
        if (!conf_listener_closed(b, section))
            check_view(b, section, b->conf->listeners[n++].conf);
        else if (own_milters_missing(b, section))
            conf_complain(b, &v, CONF_SEVERITY_WARNING, "smtpd_milters", "listener %s is not opened: " MILTERS_MISSING,
                          section->name);
    }
    if (n == 0 && b->conf->nlisteners > 0)
        check_view(b, NULL, b->conf);
}

void conf_check(const struct conf_build *b)
{
    struct work w = {b, conf_build_view(b, NULL), b->conf};

    check_host(&w);
    check_directories(&w);
    check_classes(&w);
    check_transports(&w);
    check_maildir(&w);
    check_queue(&w);
    check_reports(&w);
    check_listeners(b);
}
