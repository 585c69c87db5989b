/* MAIL: RFC 5321 section 4.1.1.2, parameters of RFC 1870, 6152, 3461, 6531. */
#include "core/base/alloc.h"
#include "proto/grammar/address.h"
#include "proto/smtpd/smtpd_int.h"

#include <inttypes.h>

/* The parameters that go with what EHLO offered. After HELO there are none (RFC 5321 section 4.1.1.1). */
unsigned session_extensions(const struct session *s)
{
    static const struct {
        enum ehlo_keyword keyword;
        unsigned ext;
    } pairs[] = {
        {EHLO_SIZE, SMTP_EXT_SIZE},         {EHLO_8BITMIME, SMTP_EXT_8BITMIME}, {EHLO_DSN, SMTP_EXT_DSN},
        {EHLO_SMTPUTF8, SMTP_EXT_SMTPUTF8}, {EHLO_AUTH, SMTP_EXT_AUTH},
    };
    unsigned set = 0;

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (session_offers(s, pairs[i].keyword))
            set |= pairs[i].ext;
    return set;
}

static enum step refuse(struct session *s, int code, const char *dsn, const char *text)
{
    session_reply(s, code, dsn, "%s", text);
    return STEP_DONE;
}

static enum step check_size(struct session *s, uint64_t size)
{
    int64_t limit = s->conf->message_size_limit;

    if (limit == 0 || size <= (uint64_t)limit)
        return STEP_NEXT;
    s->verdict = status_make(STATUS_MESSAGE_TOO_BIG, "Message size exceeds fixed limit");
    session_log_reject(s, "MAIL", &s->verdict);
    session_reply_status(s, &s->verdict);
    return STEP_DONE;
}

/*
 * Is there room for the message: queue_minfree, and 1.5 times the largest message there may be, as in Postfix, or of
 * what SIZE announced when there is no limit. Free space that cannot be asked for refuses nobody.
 */
static enum step judge_room(struct session *s)
{
    const struct conf *c = s->conf;
    uint64_t largest = (uint64_t)c->message_size_limit, need = (uint64_t)c->queue_minfree, room;
    struct log_ctx log = session_log(s, false);

    if (largest < s->mail_params.size)
        largest = s->mail_params.size;
    largest = largest <= UINT64_MAX / 3 ? largest * 3 / 2 : UINT64_MAX; /* SIZE may be anything */
    if (need < largest)
        need = largest;
    if (!queue_room(s->server->queue, &room) || room > need)
        return STEP_NEXT;
    log_event(LOG_SESSION_WARNING, &log, "not enough free space in mail queue: %" PRIu64 " bytes <= %" PRIu64, room,
              need);
    s->verdict = status_of(STATUS_QUEUE_FULL);
    session_log_reject(s, "MAIL", &s->verdict);
    session_reply_status(s, &s->verdict);
    return STEP_DONE;
}

static void on_room(void *owner, enum op_status status, const void *result)
{
    struct session *s = owner;

    (void)status;
    (void)result;
    session_resume(s, judge_room(s));
}

static enum step check_room(struct session *s)
{
    uint64_t unused;

    if (s->server->queue == NULL) /* a probe of a program that is no server */
        return STEP_NEXT;
    if (queue_room(s->server->queue, &unused))
        return judge_room(s);
    queue_look_for_room(s->server->queue, &s->scope, on_room, s);
    return STEP_WAIT;
}

const char *session_qualify(struct session *s, const char *addr)
{
    return addr[0] == '\0' || strchr(addr, '@') != NULL ? addr
                                                        : arena_printf(&s->cmd_arena, "%s@%s", addr, s->conf->myorigin);
}

enum step mail_check(struct session *s)
{
    unsigned flags = ADDRESS_ALLOW_NULL | (s->conf->strict_rfc821_envelopes ? ADDRESS_STRICT : 0);
    struct slice path, rest;
    struct status why;
    enum step step;

    if (s->helo == NULL && s->conf->smtpd_helo_required)
        return refuse(s, 503, "5.5.1", "Error: send HELO/EHLO first");
    if (s->txn.open)
        return refuse(s, 503, "5.5.1", "Error: nested MAIL command");
    if (!smtp_cmd_keyword(s->args, "FROM", &path) || slice_trim(path).n == 0)
        return refuse(s, 501, "5.5.4", "Syntax: MAIL FROM:<address>");
    if (session_offers(s, EHLO_SMTPUTF8) && smtp_params_want_utf8(path))
        flags |= ADDRESS_UTF8;
    switch (address_parse_path(path, flags, &s->cmd_arena, &s->mail, &rest)) {
    case ADDRESS_OK:
        if (s->mail[0] != '-' || s->conf->allow_min_user)
            break;
        return refuse(s, 501, "5.1.7", "Bad sender address syntax"); /* no sender ever becomes an option */
    case ADDRESS_NEEDS_UTF8: return refuse(s, 553, "5.6.7", "Must declare SMTPUTF8 to send unicode address");
    default: return refuse(s, 501, "5.1.7", "Bad sender address syntax");
    }
    s->mail = session_qualify(s, s->mail);
    if (!smtp_params_mail(rest, session_extensions(s), &s->cmd_arena, &s->mail_params, &why)) {
        session_reply_status(s, &why);
        return STEP_DONE;
    }
    step = check_size(s, s->mail_params.size);
    return step == STEP_NEXT ? check_room(s) : step;
}

enum step mail_act(struct session *s)
{
    txn_begin(s);
    session_reply(s, 250, "2.1.0", "Ok");
    return STEP_DONE;
}
