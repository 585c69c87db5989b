/* HELO and EHLO: RFC 5321 section 4.1.1.1. What is offered is a row of the table below. */
#include "core/base/alloc.h"
#include "proto/grammar/received.h"
#include "proto/smtpd/smtpd_int.h"

static bool vrfy_enabled(const struct conf *c)
{
    return !c->disable_vrfy_command;
}
static bool starttls_enabled(const struct conf *c)
{
    return tls_server_wanted(c) && !tls_server_wrapped(c);
}
static bool auth_enabled(const struct conf *c)
{
    return c->smtpd_sasl_auth_enable;
}
static bool utf8_enabled(const struct conf *c)
{
    return c->smtputf8_enable;
}

static const struct {
    const char *word;
    bool (*offered)(const struct conf *); /* NULL: always */
} keywords[EHLO_COUNT] = {
    [EHLO_PIPELINING] = {"PIPELINING", NULL},     [EHLO_SIZE] = {"SIZE", NULL},
    [EHLO_VRFY] = {"VRFY", vrfy_enabled},         [EHLO_ENHANCEDSTATUSCODES] = {"ENHANCEDSTATUSCODES", NULL},
    [EHLO_8BITMIME] = {"8BITMIME", NULL},         [EHLO_DSN] = {"DSN", NULL},
    [EHLO_AUTH] = {"AUTH", auth_enabled},         [EHLO_STARTTLS] = {"STARTTLS", starttls_enabled},
    [EHLO_SMTPUTF8] = {"SMTPUTF8", utf8_enabled}, [EHLO_CHUNKING] = {"CHUNKING", NULL},
};

unsigned ehlo_offered(const struct conf *c, struct buf *err)
{
    /* Words of Postfix that name what we do not offer in the first place. */
    static const char *const harmless[] = {"silent-discard", "etrn", "xclient", "xforward", "xverp", "requiretls"};
    struct slice rest = slice_str(c->smtpd_discard_ehlo_keywords), word;
    unsigned set = 0;

    for (size_t i = 0; i < EHLO_COUNT; i++)
        if (keywords[i].offered == NULL || keywords[i].offered(c))
            set |= 1u << i;
    while ((word = slice_token(&rest, ", \t\r\n")).n > 0) {
        bool known = false;

        for (size_t i = 0; i < EHLO_COUNT; i++)
            if (slice_ieq(word, slice_str(keywords[i].word))) {
                set &= ~(1u << i);
                known = true;
            }
        for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
            known = known || slice_ieq(word, slice_str(harmless[i]));
        if (!known)
            buf_printf(err, "warning: smtpd_discard_ehlo_keywords: unknown EHLO keyword \"%.*s\"\n", (int)word.n,
                       word.p);
    }
    return set;
}

enum step helo_check(struct session *s)
{
    struct buf name = {0};

    if (s->args.n == 0) {
        session_reply(s, 501, NULL, "Syntax: %s hostname", s->cmd->verb);
        return STEP_DONE;
    }
    received_sanitize(&name, arena_slice_dup(&s->cmd_arena, s->args));
    mem_free(s->helo);
    s->helo = mem_strdup(buf_cstr(&name));
    buf_release(&name);
    return STEP_NEXT;
}

enum step helo_act(struct session *s)
{
    txn_reset(s);
    s->esmtp = false;
    session_reply(s, 250, NULL, "%s", s->conf->myhostname);
    return STEP_DONE;
}

/* RFC 4954 section 3; the form with "=" is of its draft. */
static void offer_auth(struct session *s, struct buf *text)
{
    const char *mechanisms = session_auth_offer(s);

    if (mechanisms[0] == '\0')
        return;
    buf_printf(text, "\nAUTH %s", mechanisms);
    if (s->conf->broken_sasl_auth_clients)
        buf_printf(text, "\nAUTH=%s", mechanisms);
}

enum step ehlo_act(struct session *s)
{
    struct buf text = {0};

    txn_reset(s);
    s->esmtp = true;
    buf_add_str(&text, s->conf->myhostname);
    for (size_t i = 0; i < EHLO_COUNT; i++) {
        if (!session_offers(s, (enum ehlo_keyword)i) || (i == EHLO_STARTTLS && !session_may_starttls(s)))
            continue;
        if (i == EHLO_AUTH) {
            offer_auth(s, &text);
            continue;
        }
        buf_printf(&text, "\n%s", keywords[i].word);
        if (i == EHLO_SIZE && s->conf->message_size_limit > 0)
            buf_printf(&text, " %lld", (long long)s->conf->message_size_limit);
    }
    smtp_reply(&s->reply, 250, NULL, buf_cstr(&text));
    buf_release(&text);
    return STEP_DONE;
}
