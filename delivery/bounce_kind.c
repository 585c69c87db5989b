/*
 * Kinds of delivery report: see bounce_kind.h. Called by bounce.c; owns nothing.
 *
 * Who hears of what is as in Postfix's bounce(8). A failure or a delay is told to the sender first; then, if
 * notify_classes says so, to the postmaster, who gets all recipients whatever their NOTIFY. Of a message from the null
 * sender only the postmaster can hear (the class bounce implies 2bounce).
 */
#include "delivery/bounce_kind.h"

#include "core/base/assert.h"
#include "core/base/slice.h"

#include <stddef.h>

#define ACTION(name)    (1u << ENVELOPE_ACTION_##name)
#define RECIPIENT(name) offsetof(struct conf, name)

/* The first is for failures, and for what another version may have left in the queue. */
static const struct bounce_kind kinds[] = {
    {
        .actions = ACTION(FAILED),
        .text = DSN_KIND_FAILURE,
        .log = "sender non-delivery notification",
        .notify = ENVELOPE_NOTIFY_FAILURE,
        .then = ENVELOPE_ACTION_FAILED_COPY,
        .then_no_sender = ENVELOPE_ACTION_DOUBLE_BOUNCE,
    },
    {
        .actions = ACTION(DELAYED),
        .text = DSN_KIND_DELAY,
        .log = "sender delay notification",
        .notify = ENVELOPE_NOTIFY_DELAY,
        .headers_only = true,
        .then = ENVELOPE_ACTION_DELAYED_COPY,
    },
    {
        .actions = ACTION(DELIVERED) | ACTION(RELAYED) | ACTION(EXPANDED),
        .text = DSN_KIND_SUCCESS,
        .log = "sender delivery status notification",
        .notify = ENVELOPE_NOTIFY_SUCCESS,
        .headers_only = true,
    },
    {
        .actions = ACTION(FAILED_COPY),
        .text = DSN_KIND_FAILURE_COPY,
        .log = "postmaster non-delivery notification",
        .classes = BOUNCE_CLASS_BOUNCE,
        .recipient = RECIPIENT(bounce_notice_recipient),
        .headers_only = true,
    },
    {
        .actions = ACTION(DELAYED_COPY),
        .text = DSN_KIND_DELAY_COPY,
        .log = "postmaster delay notification",
        .classes = BOUNCE_CLASS_DELAY,
        .recipient = RECIPIENT(delay_notice_recipient),
        .headers_only = true,
    },
    {
        .actions = ACTION(DOUBLE_BOUNCE),
        .text = DSN_KIND_FAILURE_COPY,
        .log = "postmaster non-delivery notification",
        .classes = BOUNCE_CLASS_BOUNCE | BOUNCE_CLASS_2BOUNCE,
        .recipient = RECIPIENT(double_bounce_notice_recipient),
    },
};

static const struct {
    const char *word;
    unsigned class;
} words[] = {
    {"bounce", BOUNCE_CLASS_BOUNCE},
    {"2bounce", BOUNCE_CLASS_2BOUNCE},
    {"delay", BOUNCE_CLASS_DELAY},
};

static unsigned classes_of(const struct conf *conf)
{
    struct slice rest = slice_str(conf->notify_classes);
    unsigned classes = 0;

    for (struct slice word; (word = slice_token(&rest, " \t\r\n,")).n > 0;)
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
            if (slice_ieq(word, slice_str(words[i].word)))
                classes |= words[i].class;
    return classes;
}

bool bounce_kind_has(const struct bounce_kind *kind, enum envelope_action action)
{
    return bounce_kind_of(action) == kind;
}

const struct bounce_kind *bounce_kind_of(enum envelope_action action)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if ((unsigned)action < 32 && (kinds[i].actions & (1u << action)) != 0)
            return &kinds[i];
    return &kinds[0];
}

bool bounce_kind_wanted(const struct bounce_kind *kind, unsigned notify)
{
    if (kind->notify == 0)
        return true;
    if (notify == 0) /* RFC 3461 section 4.1: failures, and delays if we like */
        return kind->notify != ENVELOPE_NOTIFY_SUCCESS;
    return (notify & kind->notify) != 0;
}

bool bounce_kind_enabled(const struct bounce_kind *kind, const struct conf *conf)
{
    return (kind->classes & classes_of(conf)) != 0;
}

enum envelope_action bounce_kind_then(const struct bounce_kind *kind, const struct conf *conf, bool null_sender)
{
    enum envelope_action then = null_sender ? kind->then_no_sender : kind->then;

    if (then == ENVELOPE_ACTION_NONE || !bounce_kind_enabled(bounce_kind_of(then), conf))
        return ENVELOPE_ACTION_NONE;
    return then;
}

const char *bounce_kind_postmaster(const struct bounce_kind *kind, const struct conf *conf)
{
    return *(const char *const *)((const char *)conf + kind->recipient);
}
