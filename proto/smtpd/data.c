/*
 * DATA (RFC 5321 section 4.1.1.4) and BDAT (RFC 3030): the commands. Their content goes from dispatch.c to txn.c.
 *
 * A BDAT that is refused is answered at once; its chunk, which the client sends in any case, is read and thrown away,
 * and so are the following ones until the client gives up this transaction.
 */
#include "proto/smtpd/smtpd_int.h"

#include <inttypes.h>

enum step data_check(struct session *s)
{
    if (s->bdat_state != BDAT_NONE) {
        session_reply(s, 503, "5.5.1", "Error: DATA after BDAT");
        return STEP_DONE;
    }
    if (s->txn.env.nrcpts == 0) {
        session_reply(s, 554, "5.5.1", "Error: no valid recipients");
        return STEP_DONE;
    }
    return STEP_NEXT;
}

enum step data_act(struct session *s)
{
    txn_content_begin(s);
    s->phase = SESSION_PHASE_DATA;
    smtp_reply(&s->reply, 354, NULL, "End data with <CR><LF>.<CR><LF>");
    return STEP_CONTENT;
}

static enum step refuse_chunk(struct session *s, int code, const char *dsn, const char *text)
{
    s->bdat_state = BDAT_ERROR;
    s->phase = s->bdat_left > 0 ? SESSION_PHASE_BDAT : SESSION_PHASE_COMMAND;
    session_reply(s, code, dsn, "%s", text);
    return STEP_DONE;
}

enum step bdat_unclear(struct session *s)
{
    session_reply(s, 521, "5.5.4", "Syntax: BDAT count [LAST]");
    return STEP_CLOSE;
}

enum step bdat_check(struct session *s)
{
    struct slice rest = s->args, size = slice_token(&rest, " \t"), last = slice_token(&rest, " \t");

    s->bdat_last = slice_ieq(last, SLICE_LIT("LAST"));
    if (!slice_u64(size, INT64_MAX, &s->bdat_left) || (last.n > 0 && !s->bdat_last) || slice_trim(rest).n > 0 ||
        buf_len(&s->line) >= (size_t)s->conf->line_length_limit) /* it was cut */
        return bdat_unclear(s);
    if (session_needs_tls(s))
        return refuse_chunk(s, 530, "5.7.0", "Must issue a STARTTLS command first");
    if (!session_offers(s, EHLO_CHUNKING))
        return refuse_chunk(s, 502, "5.5.1", "Error: command not implemented");
    if (s->bdat_state == BDAT_ERROR)
        return refuse_chunk(s, 551, "5.0.0", "Discarded the chunk after an earlier error");
    if (!s->txn.open)
        return refuse_chunk(s, 503, "5.5.1", "Error: need RCPT command");
    if (s->txn.env.nrcpts == 0)
        return refuse_chunk(s, 554, "5.5.1", "Error: no valid recipients");
    if (s->bdat_left == 0 && !s->bdat_last)
        return refuse_chunk(s, 551, "5.7.1", "Null BDAT request"); /* there would be no end of them */
    /* Should a restriction refuse it, the chunk is read away. */
    s->phase = s->bdat_left > 0 ? SESSION_PHASE_BDAT : SESSION_PHASE_COMMAND;
    s->bdat_size = s->bdat_left;
    return STEP_NEXT;
}

enum step bdat_act(struct session *s)
{
    if (s->bdat_state == BDAT_NONE) {
        txn_content_begin(s);
        s->bdat_state = BDAT_OPEN;
    }
    return s->bdat_left > 0 ? STEP_CONTENT : bdat_end(s);
}

enum step bdat_end(struct session *s)
{
    if (s->bdat_last) {
        smtp_body_finish(&s->txn.body, &s->txn.held);
        txn_content(s);
        s->bdat_state = BDAT_NONE;
        return STEP_NEXT;
    }
    if (s->txn.too_big)
        return refuse_chunk(s, 552, "5.3.4", "Error: message file too big");
    session_reply(s, 250, "2.0.0", "Ok: %" PRIu64 " bytes", s->bdat_size);
    return STEP_DONE;
}
