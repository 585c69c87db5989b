/*
 * The deep check's strangers: clients from addresses outside mynetworks who try to send mail through each listener, by
 * the listener's own code, to recipients elsewhere, plainly and by the tricks that relays have fallen for: they must be
 * refused. Called by check_deep.c; waits for tables. No mail is made: a session ends before DATA.
 *
 * First two domains are looked for, one of ours to hide behind and one of others; then each stranger has its sessions,
 * one for each sender.
 */
#include "core/check_deep_int.h"

#include "core/base/assert.h"
#include "core/base/ip.h"
#include "core/probe_session.h"

#define SEPARATORS " \t\r\n,"
#define OURS_MOST  20 /* domains of the configuration that are asked about */

/* Documentation's addresses (RFC 5737, RFC 3849), which nobody has. */
static const char *const strangers[] = {"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"};

/* Domains that exist and that hardly anybody hosts; the last is nobody's, whatever a table says (RFC 2606). */
static const char *const elsewhere[] = {"example.net", "example.org", "example.com", "example.edu", "mta.invalid"};

/* $o is a domain of others, $u one of ours. */
static const char *const senders[] = {"MAIL FROM:<>", "MAIL FROM:<mta-probe@$o>", "MAIL FROM:<postmaster@$u>"};
static const char *const recipients[] = {
    "RCPT TO:<mta-probe@$o>",
    "RCPT TO:<mta-probe%$o@$u>",
    "RCPT TO:<@$u:mta-probe@$o>",
    "RCPT TO:<\"mta-probe@$o\"@$u>",
    "RCPT TO:<$o!mta-probe@$u>",
    "RCPT TO:<mta-probe%$o>",
    "RCPT TO:<mta-probe@[203.0.113.9]>",
};

#define LINES_MOST (2 + ARRAY_LEN(recipients))

/* ---- one stranger at one listener ---- */

struct stranger {
    struct deep *deep;
    struct deep_try *try;
    struct smtpd_service *service;
    const char *address;
    const char *ours, *others;

    struct probe_session session;
    const char *lines[LINES_MOST];
    size_t sender, rcpt; /* what the session began with */
    size_t answered;     /* RCPTs of it */

    size_t refused, accepted, unsure; /* of all sessions */
    const char *shown; /* lines and the reply to them: those that were accepted first, else the first ones */
};

static const char *fill_in(const struct stranger *s, const char *line)
{
    struct buf text = {0};
    const char *filled;

    for (const char *c = line; *c != '\0'; c++)
        if (c[0] == '$')
            buf_add_str(&text, *++c == 'o' ? s->others : s->ours);
        else
            buf_add_char(&text, *c);
    filled = arena_strdup(&s->deep->arena, buf_cstr(&text));
    buf_release(&text);
    return filled;
}

static void take_rcpt(struct stranger *s, const char *line, struct slice reply)
{
    bool ok = reply.p[0] == '2';

    s->answered++;
    if (s->shown == NULL || (ok && s->accepted == 0))
        s->shown = arena_printf(&s->deep->arena, "%s, %s: %.*s", s->lines[1], line, (int)reply.n, reply.p);
    s->accepted += ok;
    s->refused += !ok;
    s->unsure += slice_starts(reply, SLICE_LIT("451 4.3.")); /* a table's failure refuses too, and proves nothing */
}

static void on_reply(void *arg, size_t at, struct slice reply)
{
    struct stranger *s = arg;

    if (reply.n == 0 || slice_starts(reply, SLICE_LIT("421")))
        return; /* it ends here, after so many errors */
    if (at != PROBE_GREETING && at >= 2)
        take_rcpt(s, s->lines[at], reply);
    else if (s->shown == NULL && reply.p[0] != '2')
        s->shown = arena_printf(&s->deep->arena, "%s: %.*s", at == PROBE_GREETING ? "the greeting" : s->lines[at],
                                (int)reply.n, reply.p);
}

static void end(struct stranger *s)
{
    if (s->accepted > 0)
        deep_end(s->try, DEEP_FAIL, "open relay: %zu of %zu recipients elsewhere were accepted; %s", s->accepted,
                 s->accepted + s->refused, s->shown);
    else if (s->unsure > 0)
        deep_end(s->try, DEEP_WARN, "not proven, as long as tables fail; %s", s->shown);
    else
        deep_end(s->try, DEEP_OK, "refused, all %zu recipients elsewhere; %s", s->refused,
                 s->shown != NULL ? s->shown : "the connection was closed");
}

static void begin_session(struct stranger *s);

/* What is left for this sender, when its errors cut the session short; else the next sender. */
static void on_session_over(void *arg)
{
    struct stranger *s = arg;

    s->rcpt += s->answered;
    if (s->answered == 0) {
        s->refused += ARRAY_LEN(recipients) - s->rcpt;
        s->rcpt = ARRAY_LEN(recipients);
    }
    if (s->rcpt == ARRAY_LEN(recipients)) {
        s->rcpt = 0;
        s->sender++;
    }
    if (s->sender < ARRAY_LEN(senders))
        begin_session(s);
    else
        end(s);
}

static void begin_session(struct stranger *s)
{
    size_t n = 0;

    s->lines[n++] = "EHLO client.example";
    s->lines[n++] = fill_in(s, senders[s->sender]);
    for (size_t i = s->rcpt; i < ARRAY_LEN(recipients); i++)
        s->lines[n++] = fill_in(s, recipients[i]);
    s->answered = 0;
    s->session = (struct probe_session){
        .client_addr = s->address,
        .lines = s->lines,
        .nlines = n,
        .replied = on_reply,
        .ended = on_session_over,
        .arg = s,
    };
    MTA_ASSERT(probe_session_start(&s->session, s->deep->loop, s->service)); /* a program that runs for this alone */
}

/* ---- all of them ---- */

/* Does mynetworks have the address in so many words? What its tables say is what is to be found out. */
static bool is_trusted(const char *mynetworks, const char *address)
{
    struct slice rest = slice_str(mynetworks);
    char text[IP_BLOCK_WRITTEN];
    struct ip_block block;
    struct ip ip;

    ip_parse(slice_str(address), &ip);
    for (struct slice word; (word = slice_token(&rest, SEPARATORS)).n > 0;)
        if (ip_block_unbracket(word, text) && ip_block_parse(slice_str(text), &block) == IP_BLOCK_OK &&
            ip_block_contains(&block, &ip))
            return true;
    return false;
}

static void try_listener(struct deep *d, size_t listener, const char *ours, const char *others)
{
    const struct conf_listener *l = &d->conf->listeners[listener];
    size_t n = 0;

    for (size_t i = 0; d->setup->services[listener] != NULL && i < ARRAY_LEN(strangers); i++) {
        struct stranger *s;

        if (is_trusted(l->conf->mynetworks, strangers[i]))
            continue;
        s = ARENA_NEW(&d->arena, struct stranger);
        s->deep = d;
        s->try = deep_begin(d, "relaying by listener %s for %s", l->name, strangers[i]);
        s->service = d->setup->services[listener];
        s->address = strangers[i];
        s->ours = ours;
        s->others = others;
        begin_session(s);
        n++;
    }
    if (n == 0)
        deep_end(deep_begin(d, "relaying by listener %s", l->name), DEEP_WARN,
                 "not tried: mynetworks has every address to try it from");
}

/* ---- domains to try with ---- */

struct search {
    struct deep *deep;
    struct deep_try *try;
    const char *candidates[OURS_MOST];
    size_t n, at;
    const char *ours, *others;
};

static void add_candidate(struct search *f, struct slice domain)
{
    if (f->n < OURS_MOST && domain.n > 0 && domain.p[0] != '/' && domain.p[0] != '!' && domain.p[0] != '.' &&
        slice_find(domain, ':') == SLICE_NOT_FOUND)
        f->candidates[f->n++] = arena_slice_dup(&f->deep->arena, domain);
}

static void add_candidates(struct search *f, const char *list)
{
    struct slice rest = slice_str(list);

    for (struct slice word; (word = slice_token(&rest, SEPARATORS)).n > 0;)
        add_candidate(f, word);
}

static void search_elsewhere(struct search *f);

static void end_search(struct search *f)
{
    struct deep *d = f->deep;

    for (size_t i = 0; i < d->conf->nlisteners; i++)
        try_listener(d, i, f->ours, f->others);
    deep_end(f->try, DEEP_OK, "%s as one of ours, %s as one of others", f->ours, f->others);
}

static void on_elsewhere(void *owner, enum op_status status, const void *result)
{
    struct search *f = owner;

    if (status != OP_OK || *(const enum rules_class *)result == RULES_CLASS_OTHER)
        f->others = elsewhere[f->at]; /* a table that failed once may take its time to fail again */
    f->at++;
    search_elsewhere(f);
}

static void search_elsewhere(struct search *f)
{
    struct deep *d = f->deep;

    if (f->others == NULL && f->at + 1 == ARRAY_LEN(elsewhere))
        f->others = elsewhere[f->at];
    if (f->others != NULL)
        end_search(f);
    else
        rules_classify(d->setup->rules, &d->scope, slice_str(elsewhere[f->at]), on_elsewhere, f);
}

static void search_ours(struct search *f);

static void on_ours(void *owner, enum op_status status, const void *result)
{
    struct search *f = owner;

    if (status != OP_OK || *(const enum rules_class *)result != RULES_CLASS_OTHER)
        f->ours = f->candidates[f->at];
    f->at++;
    search_ours(f);
}

/* When none is ours, our own name does: only the trick is not quite as good. */
static void search_ours(struct search *f)
{
    struct deep *d = f->deep;

    if (f->ours == NULL && f->at == f->n)
        f->ours = d->conf->myhostname;
    if (f->ours != NULL) {
        f->at = 0;
        search_elsewhere(f);
    } else {
        rules_classify(d->setup->rules, &d->scope, slice_str(f->candidates[f->at]), on_ours, f);
    }
}

void deep_relay(struct deep *d)
{
    struct search *f;

    if (d->setup->rules == NULL)
        return;
    f = ARENA_NEW(&d->arena, struct search);
    f->deep = d;
    f->try = deep_begin(d, "relaying is tried with domains");
    add_candidates(f, d->conf->virtual_mailbox_domains);
    add_candidates(f, d->conf->mydestination);
    add_candidates(f, d->conf->virtual_alias_domains);
    add_candidates(f, d->conf->relay_domains);
    add_candidate(f, slice_str(d->conf->mydomain));
    add_candidate(f, slice_str(d->conf->myhostname));
    search_ours(f);
}
