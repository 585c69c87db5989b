/* RSET, NOOP, HELP, QUIT: RFC 5321 sections 4.1.1.5, 4.1.1.8 to 4.1.1.10. */
#include "proto/smtpd/smtpd_int.h"

enum step rset_act(struct session *s)
{
    txn_reset(s);
    session_reply(s, 250, "2.0.0", "Ok");
    return STEP_DONE;
}

enum step noop_act(struct session *s)
{
    session_reply(s, 250, "2.0.0", "Ok");
    return STEP_DONE;
}

enum step help_act(struct session *s)
{
    session_reply(s, 214, "2.0.0", "Commands:"
#define SMTPD_CMD(verb, check, stage, act, flags, doing) " " #verb
#include "proto/smtpd/cmds.def"
#undef SMTPD_CMD
    );
    return STEP_DONE;
}

enum step quit_act(struct session *s)
{
    session_reply(s, 221, "2.0.0", "Bye");
    return STEP_CLOSE;
}
