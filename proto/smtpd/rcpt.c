/* RCPT and VRFY: RFC 5321 sections 4.1.1.3 and 4.1.1.6. VRFY asks the same questions as RCPT and adds nobody. */
#include "proto/grammar/address.h"
#include "proto/smtpd/smtpd_int.h"

#include "core/base/addr.h"
#define RCPT_OVERSHOOT_MAX                                                                                             \
    1000 /* recipients beyond the limit that do not count as errors (smtpd_recipient_overshoot_limit) */

static enum step parse_path(struct session *s, struct slice path, bool utf8, struct slice *rest)
{
    unsigned flags = (utf8 ? ADDRESS_UTF8 : 0) | (s->conf->strict_rfc821_envelopes ? ADDRESS_STRICT : 0);

    switch (address_parse_path(path, flags, &s->cmd_arena, &s->rcpt, rest)) {
    case ADDRESS_OK:
        if (s->rcpt[0] != '-' || s->conf->allow_min_user)
            return STEP_NEXT;
        session_reply(s, 501, "5.1.3", "Bad recipient address syntax"); /* no recipient ever becomes an option */
        return STEP_DONE;
    case ADDRESS_NEEDS_UTF8:
        session_reply(s, 553, "5.6.7", "Must declare SMTPUTF8 to send unicode address");
        return STEP_DONE;
    default: session_reply(s, 501, "5.1.3", "Bad recipient address syntax"); return STEP_DONE;
    }
}

/* RFC 5321 section 4.5.1: <postmaster> without a domain must always be accepted. */
static enum step skip_for_postmaster(struct session *s)
{
    if (slice_ieq(slice_str(s->rcpt), SLICE_LIT("postmaster"))) {
        s->station++; /* no restrictions */
    }
    s->rcpt = session_qualify(s, s->rcpt);
    return STEP_NEXT;
}

enum step rcpt_check(struct session *s)
{
    struct slice path, rest;
    struct status why;

    if (s->bdat_state != BDAT_NONE) {
        session_reply(s, 503, "5.5.1", "Error: RCPT after BDAT");
        return STEP_DONE;
    }
    if (!smtp_cmd_keyword(s->args, "TO", &path) || slice_trim(path).n == 0) {
        session_reply(s, 501, "5.5.4", "Syntax: RCPT TO:<address>");
        return STEP_DONE;
    }
    if (parse_path(s, path, s->txn.env.smtputf8, &rest) != STEP_NEXT)
        return STEP_DONE;
    if (!smtp_params_rcpt(rest, session_extensions(s) & (s->txn.env.smtputf8 ? ~0u : ~(unsigned)SMTP_EXT_SMTPUTF8),
                          &s->cmd_arena, &s->rcpt_params, &why)) {
        session_reply_status(s, &why);
        return STEP_DONE;
    }
    if (s->txn.env.nrcpts >= (size_t)s->conf->smtpd_recipient_limit) {
        session_reply(s, 452, "4.5.3", "Error: too many recipients");
        if (s->overshoot++ < RCPT_OVERSHOOT_MAX)
            s->errors--; /* RFC 5321 section 4.5.3.1.10: the client is to send the rest in another transaction */
        return STEP_DONE;
    }
    return skip_for_postmaster(s);
}

enum step rcpt_act(struct session *s)
{
    txn_add_rcpt(s);
    session_reply(s, 250, "2.1.5", "Ok");
    return STEP_DONE;
}

enum step vrfy_check(struct session *s)
{
    struct slice rest;
    enum step step;
    bool utf8 = session_offers(s, EHLO_SMTPUTF8);

    if (s->conf->disable_vrfy_command) {
        session_reply(s, 502, "5.5.1", "VRFY command is disabled");
        return STEP_DONE;
    }
    if (s->args.n == 0) {
        session_reply(s, 501, "5.5.4", "Syntax: VRFY address%s", utf8 ? " [SMTPUTF8]" : "");
        return STEP_DONE;
    }
    step = parse_path(s, s->args, utf8 && smtp_params_want_utf8(s->args), &rest);
    if (step == STEP_NEXT && rest.n > 0 && !(utf8 && slice_ieq(rest, SLICE_LIT("SMTPUTF8")))) {
        session_reply(s, 501, "5.1.3", "Bad recipient address syntax");
        step = STEP_DONE;
    }
    return step == STEP_NEXT ? skip_for_postmaster(s) : step;
}

enum step vrfy_act(struct session *s)
{
    struct buf addr = {0};

    addr_quote(&addr, slice_str(s->rcpt));
    session_reply(s, 252, "2.0.0", "%s", buf_cstr(&addr));
    buf_release(&addr);
    return STEP_DONE;
}
