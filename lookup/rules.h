/*
 * The rules of address classes, recipients and aliases, compiled from one configuration snapshot: the one place that
 * decides which class a domain is in and whether a recipient exists, used by the server and by delivery alike.
 */
#ifndef MTA_LOOKUP_RULES_H
#define MTA_LOOKUP_RULES_H

#include "core/base/arena.h"
#include "core/base/status.h"
#include "core/conf/conf.h"
#include "core/queue/envelope.h"
#include "core/queue/scheduler.h"
#include "lookup/maps.h"

struct rules;

/* Classes in order of precedence (ADDRESS_CLASS_README; section 1.4 of postfix-semantics: local wins). */
enum rules_class {
    RULES_CLASS_LOCAL,           /* mydestination, user@[own address] */
    RULES_CLASS_VIRTUAL_ALIAS,   /* virtual_alias_domains */
    RULES_CLASS_VIRTUAL_MAILBOX, /* virtual_mailbox_domains */
    RULES_CLASS_RELAY,           /* relay_domains */
    RULES_CLASS_OTHER,
};

/*
 * Rules with one reference; they hold one to conf; tables must live as long. All complaints go to `err`, one a line,
 * "PARAMETER: text"; those that begin with "warning: " are no errors. NULL when there is an error.
 */
struct rules *rules_new(struct loop *, struct tables *, const struct conf *, struct buf *err);
struct rules *rules_ref(struct rules *);
/* Nulls the pointer; NULL in it is fine. Questions under way hold a reference of their own until they are answered. */
void rules_unref(struct rules **);

/* Result of OP_OK: const enum rules_class *. OP_TEMPFAIL: a struct table_answer. */
void rules_classify(struct rules *, struct op_scope *, struct slice domain, op_done_fn *done, void *owner);

/*
 * Is the recipient one we know? Result always a const struct status *: OK; USER_UNKNOWN with what Postfix says behind
 * "<address>: Recipient address rejected: " ("User unknown in virtual mailbox table") and the code of the
 * unknown_*_reject_code; TABLE_TEMPFAIL. A recipient whose transport is "error" or "retry" is USER_UNKNOWN too, with
 * that transport's text (550, 450). Other domains of RULES_CLASS_OTHER are not checked. A bare "user" is at $myorigin.
 * Section 1.8.
 */
void rules_check_recipient(struct rules *, struct op_scope *, const char *address, op_done_fn *done, void *owner);

/*
 * Expands virtual_alias_maps over the envelope's recipients, in place (new recipients live in `arena`): limits,
 * extensions, "@other" results, self references, duplicates as in section 1.3; a loop through several addresses is
 * named. Sets envelope_rcpt.orig of what changed; NOTIFY and ORCPT go to all results, but for NOTIFY=SUCCESS: an alias
 * of a sender that wants to hear of it is left among the recipients with action EXPANDED. Result always a const struct
 * status *: OK, TABLE_TEMPFAIL, ALIAS_ERROR (logged, with more detail). On failure the envelope is as it was. Envelope
 * and arena must live until the callback or the end of the scope.
 */
void rules_expand(struct rules *, struct op_scope *, struct envelope *, struct arena *, op_done_fn *done, void *owner);

/* Where a recipient goes; strings borrowed for the callback. */
struct rules_route {
    struct scheduler_route to; /* first: the scheduler's route hook gets this answer as it is */
    enum rules_class cls;
};
/*
 * transport_maps, then the class's transport (local_transport, virtual_transport, relay_transport, default_transport);
 * a virtual alias domain's address that is left is "error:5.1.1 User unknown in virtual alias table". Result of OP_OK:
 * struct rules_route; OP_TEMPFAIL: struct table_answer. A local part starting with "-" is refused by the transport
 * "error" (allow_min_user).
 */
void rules_route(struct rules *, struct op_scope *, const char *address, op_done_fn *done, void *owner);

#endif
