/*
 * Whose sender address is it: reject_sender_login_mismatch and its variants. Rows of restrict_checks.def; waits for
 * smtpd_sender_login_maps, which give the logins that own an address. The null sender is nobody's and everybody's.
 */
#include "proto/smtpd/smtpd_int.h"

/* Is the login among the owners, "a@example.com, b"? */
static bool owns(const char *owners, const char *login)
{
    struct slice rest = slice_str(owners), owner;

    while ((owner = slice_token(&rest, ", \t\r\n")).n > 0)
        if (slice_ieq(owner, slice_str(login)))
            return true;
    return false;
}

static enum restrict_verdict not_owned(struct session *s)
{
    s->verdict = status_reply(STATUS_ACCESS_DENIED, 553, "5.7.1", "<%s>: Sender address rejected: not owned by user %s",
                              restrict_sender(s), s->login);
    return RESTRICT_REJECT;
}

/* Of a client that has authenticated: `unknown` is the verdict on addresses without an owner. */
static void judge_user(struct session *s, enum op_status st, const void *result, enum restrict_verdict unknown)
{
    const struct maps_address_answer *a = result;

    if (st == OP_OK)
        restrict_answer(s, owns(a->value, s->login) ? RESTRICT_DUNNO : not_owned(s));
    else if (st == OP_NOTFOUND)
        restrict_answer(s, unknown == RESTRICT_REJECT ? not_owned(s) : unknown);
    else
        restrict_answer(s, restrict_table_failed(s, a != NULL ? a->why : NULL));
}

static void on_owner(void *owner, enum op_status st, const void *result)
{
    judge_user(owner, st, result, RESTRICT_REJECT);
}

static void on_owner_if_any(void *owner, enum op_status st, const void *result)
{
    judge_user(owner, st, result, RESTRICT_DUNNO);
}

static void on_owner_of_stranger(void *owner, enum op_status st, const void *result)
{
    struct session *s = owner;
    const struct maps_address_answer *a = result;

    if (st == OP_OK) {
        s->verdict = status_reply(STATUS_ACCESS_DENIED, 553, "5.7.1", "<%s>: Sender address rejected: not logged in",
                                  restrict_sender(s));
        restrict_answer(s, RESTRICT_REJECT);
    } else if (st == OP_NOTFOUND)
        restrict_answer(s, RESTRICT_DUNNO);
    else
        restrict_answer(s, restrict_table_failed(s, a != NULL ? a->why : NULL));
}

static enum restrict_verdict ask(struct session *s, op_done_fn *done)
{
    const char *sender = restrict_sender(s);
    struct rules *rules = s->service->rules;

    if (sender[0] == '\0' || s->service->auth == NULL)
        return RESTRICT_DUNNO;
    rules_find_address(rules, &s->scope, s->service->login_maps,
                       rules_canonical(rules, &s->cmd_arena, slice_str(sender)), done, s);
    return RESTRICT_WAIT;
}

enum restrict_verdict check_authenticated_sender_login(struct session *s)
{
    return s->login != NULL ? ask(s, on_owner) : RESTRICT_DUNNO;
}

enum restrict_verdict check_unauthenticated_sender_login(struct session *s)
{
    return s->login == NULL ? ask(s, on_owner_of_stranger) : RESTRICT_DUNNO;
}

enum restrict_verdict check_sender_login(struct session *s)
{
    return ask(s, s->login != NULL ? on_owner : on_owner_of_stranger);
}

enum restrict_verdict check_known_sender_login(struct session *s)
{
    return ask(s, s->login != NULL ? on_owner_if_any : on_owner_of_stranger);
}
