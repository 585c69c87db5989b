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

/* Which addresses canonical_classes, masquerade_classes and so on speak of. */
enum rules_rewrite {
    RULES_REWRITE_ENVELOPE_SENDER = 1,
    RULES_REWRITE_ENVELOPE_RECIPIENT = 2,
    RULES_REWRITE_HEADER_SENDER = 4,
    RULES_REWRITE_HEADER_RECIPIENT = 8,
};
/* Is there anything that rewrites such addresses? */
bool rules_rewrites(const struct rules *, enum rules_rewrite);
/*
 * One address through sender_canonical_maps or recipient_canonical_maps, canonical_maps and masquerade_domains
 * (ADDRESS_REWRITING_README). Result of OP_OK: const char *, the complete address, also when nothing has changed; of
 * OP_TEMPFAIL: struct table_answer.
 */
void rules_rewrite(struct rules *, struct op_scope *, const char *address, enum rules_rewrite, op_done_fn *done,
                   void *owner);
/*
 * One address as smtp_generic_maps and the like change it on the way out (generic(5)): one search of `maps`, which must
 * live until the answer. Result of OP_OK: const char *, the address itself when nothing is found; of OP_TEMPFAIL:
 * struct table_answer.
 */
void rules_generic(struct rules *, struct op_scope *, const struct maps *, const char *address, op_done_fn *done,
                   void *owner);
/*
 * The envelope's sender and recipients, in place (new strings live in `arena`); then always_bcc, sender_bcc_maps and
 * recipient_bcc_maps add recipients of whom nothing is reported. To be done before rules_expand. Result always a const
 * struct status *: OK, TABLE_TEMPFAIL (logged). On failure the envelope is as it was.
 */
void rules_rewrite_envelope(struct rules *, struct op_scope *, struct envelope *, struct arena *, op_done_fn *done,
                            void *owner);

/*
 * Expands virtual_alias_maps over the envelope's recipients, in place (new recipients live in `arena`): limits,
 * extensions, "@other" results, self references, duplicates as in section 1.3; a loop through several addresses is
 * named. Sets envelope_rcpt.orig of what changed; NOTIFY and ORCPT go to all results, but for NOTIFY=SUCCESS: an alias
 * of a sender that wants to hear of it is left among the recipients with action EXPANDED. Result always a const struct
 * status *: OK, TABLE_TEMPFAIL, ALIAS_ERROR (logged, with more detail). On failure the envelope is as it was. Envelope
 * and arena must live until the callback or the end of the scope.
 */
void rules_expand(struct rules *, struct op_scope *, struct envelope *, struct arena *, op_done_fn *done, void *owner);

/* The complete address: with a domain ($myorigin when it has none) and without a dot at its end. */
const char *rules_canonical(const struct rules *, struct arena *, struct slice address);
/*
 * maps_find_address with "user" alone where virtual(5) has it; the address must be complete. Result: struct
 * maps_address_answer.
 */
void rules_find_address(struct rules *, struct op_scope *, const struct maps *, const char *address, op_done_fn *done,
                        void *owner);

/* Where a recipient goes; strings borrowed for the callback. */
struct rules_route {
    struct scheduler_route to; /* first: the scheduler's route hook gets this answer as it is */
    enum rules_class cls;
};
/*
 * The class's transport (local_transport, virtual_transport, relay_transport, default_transport or, by the sender,
 * sender_dependent_default_transport_maps) and for other hosts' domains relayhost or sender_dependent_relayhost_maps as
 * next hop; then transport_maps; who is in relocated_maps gets the transport "error". A virtual alias domain's address
 * that is left is "error:5.1.1 User unknown in virtual alias table". `sender` NULL: nothing depends on it; "" is the
 * null sender. `orig` is the address before aliases, NULL when it is the same: with srs_forwarding, mail of a stranger
 * that an alias of ours sends on to another host gets a sender of ours, to.sender. Result of OP_OK: struct rules_route;
 * OP_TEMPFAIL: struct table_answer. A local part starting with "-" is refused by the transport "error"
 * (allow_min_user).
 */
void rules_route(struct rules *, struct op_scope *, const char *sender, const char *orig, const char *address,
                 op_done_fn *done, void *owner);

#endif
