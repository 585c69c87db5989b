/*
 * The kinds of delivery report, a row each: what it is about, who gets it, who wants it, what comes after it. Used by
 * bounce.c.
 */
#ifndef MTA_DELIVERY_BOUNCE_KIND_H
#define MTA_DELIVERY_BOUNCE_KIND_H

#include "core/conf/conf.h"
#include "core/queue/envelope.h"
#include "proto/grammar/dsn.h"

/* Words of notify_classes that mean something here. */
enum bounce_class {
    BOUNCE_CLASS_BOUNCE = 1,
    BOUNCE_CLASS_2BOUNCE = 2,
    BOUNCE_CLASS_DELAY = 4,
};

struct bounce_kind {
    unsigned actions; /* bits (1 << enum envelope_action): what is said in one report of this kind */
    enum dsn_kind text;
    const char *log;           /* the log line, before the report's queue id */
    unsigned notify;           /* enum envelope_notify: who wants to be in it; 0: no matter what was asked for */
    unsigned classes;          /* enum bounce_class: for the postmaster, if one of them is on; 0: for the sender */
    size_t recipient;          /* offset in struct conf of the parameter that names the postmaster */
    bool headers_only;         /* whatever RET said */
    enum envelope_action then; /* what is to be reported next: a kind for the postmaster; NONE: nothing */
    enum envelope_action then_no_sender; /* the same when the message has the null sender */
};

/* The kind of report that says this. */
const struct bounce_kind *bounce_kind_of(enum envelope_action);
/* Is this recipient's action for a report of that kind? */
bool bounce_kind_has(const struct bounce_kind *, enum envelope_action);
/* Does a report of that kind mention a recipient with this NOTIFY? */
bool bounce_kind_wanted(const struct bounce_kind *, unsigned notify);
/* For the postmaster, and notify_classes asks for it? */
bool bounce_kind_enabled(const struct bounce_kind *, const struct conf *);
/* What is to be reported after it, as configured. */
enum envelope_action bounce_kind_then(const struct bounce_kind *, const struct conf *, bool null_sender);
/* Who gets it, of those for the postmaster. */
const char *bounce_kind_postmaster(const struct bounce_kind *, const struct conf *);

#endif
