/*
 * See content_edit.h. Content is taken apart into units, a header with its continuations or a line of the body; a unit
 * goes through its stations (checks, addresses, out), waiting where a table is asked. At most one unit is worked on;
 * what was fed behind it waits in `in`.
 *
 * A header longer than header_size_limit is judged by its beginning; what follows of it shares its fate.
 */
#include "proto/content/content_edit.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "proto/grammar/header_addr.h"
#include "proto/grammar/mime_scan.h"

enum stage {
    STAGE_READ,      /* a unit is put together */
    STAGE_CHECK,     /* a table is to be asked about it */
    STAGE_ADDRESSES, /* its addresses are to be changed */
    STAGE_KEEP,      /* it goes out */
    STAGE_DROP,
};

enum fate {
    FATE_NONE, /* nothing is left of the last unit */
    FATE_KEEP, /* what goes on here is kept as it is */
    FATE_DROP,
};

struct content_edit {
    const struct content_edit_config *config;
    const struct content_edit_events *events;
    void *arg;
    struct op_scope scope;
    struct buf in, out;
    struct mime_scan mime;
    enum stage stage;
    bool ended, busy, failed;
    bool through; /* nothing more is to be looked at: what comes is written as it is */
    bool checks;  /* until PASS, REJECT or DISCARD */
    /* the unit */
    enum mime_where where;
    struct buf unit;    /* without its last line end */
    bool newline, more; /* its last line is complete; something of it may follow */
    enum fate fate;     /* of what follows of a unit that was judged by its beginning */
    bool mid_line;      /* what was read last was a part of a line */
    size_t body_seen;   /* bytes of this part's body that were checked */
    /* its addresses */
    bool sender, seeking;
    size_t value_at, addr_at;
    struct header_addr addr;
    struct buf rewritten;
    size_t copied; /* bytes of the unit that are in `rewritten` */
};

static struct slice text_of(const struct buf *b)
{
    return buf_len(b) > 0 ? buf_slice(b) : SLICE_LIT("");
}

static bool in_header(const struct content_edit *e)
{
    return e->where <= MIME_NESTED_HEADER;
}

/* ---- actions ---- */

static const struct {
    const char *word, *name;
    enum content_action action;
} actions[] = {
    {"REJECT", "reject", CONTENT_REJECT},
    {"DISCARD", "discard", CONTENT_DISCARD},
    {"REDIRECT", "redirect", CONTENT_REDIRECT},
    {"BCC", "bcc", CONTENT_BCC},
    {"HOLD", "hold", CONTENT_HOLD},
    {"FILTER", "filter", CONTENT_FILTER},
    {"PREPEND", "prepend", CONTENT_PREPEND},
    {"REPLACE", "replace", CONTENT_REPLACE},
    {"STRIP", "strip", CONTENT_STRIP},
    {"PASS", "pass", CONTENT_PASS},
    {"WARN", "warning", CONTENT_WARN},
    {"INFO", "info", CONTENT_INFO},
};

const char *content_action_name(enum content_action a)
{
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (actions[i].action == a)
            return actions[i].name;
    return "warning";
}

static bool is_mime_header(struct slice unit)
{
    return slice_istarts(unit, SLICE_LIT("Content-")) || slice_istarts(unit, SLICE_LIT("MIME-Version"));
}

/* Which tables a unit goes through, and what it is called in the log. */
static const struct maps *maps_for(const struct content_edit *e, const char **where)
{
    const struct content_edit_config *c = e->config;

    if (!in_header(e)) {
        *where = "body";
        return c->body_checks;
    }
    if (e->where == MIME_PART_HEADER || is_mime_header(text_of(&e->unit))) {
        *where = "mime-header";
        return c->mime_header_checks;
    }
    *where = e->where == MIME_NESTED_HEADER ? "nested-header" : "header";
    return e->where == MIME_NESTED_HEADER ? c->nested_header_checks : c->header_checks;
}

static bool none(const struct maps *m)
{
    return m == NULL || maps_empty(m);
}

bool content_edit_wanted(const struct content_edit_config *c)
{
    return !none(c->header_checks) || !none(c->mime_header_checks) || !none(c->nested_header_checks) ||
           !none(c->body_checks) || c->rewrite != NULL;
}

/* Must what follows the primary header be taken apart? */
static bool looks_inside(const struct content_edit_config *c)
{
    return !none(c->mime_header_checks) || !none(c->nested_header_checks) || !none(c->body_checks);
}

/* ---- waiting ---- */

static void run(struct content_edit *e);

static void flush(struct content_edit *e)
{
    struct buf out = e->out;

    e->out = (struct buf){0};
    if (buf_len(&out) > 0)
        e->events->write(e->arg, buf_slice(&out));
    buf_release(&out);
}

/* After a wait: goes on, and tells when all is done. */
static void go_on(struct content_edit *e, enum stage stage)
{
    e->stage = stage;
    e->busy = false;
    run(e);
    if (e->busy)
        return;
    flush(e);
    e->events->ready(e->arg);
}

static void give_up(struct content_edit *e, const char *why)
{
    e->busy = false;
    e->failed = true;
    buf_release(&e->in);
    buf_release(&e->out);
    e->events->failed(e->arg, why != NULL ? why : "timed out");
}

/* ---- checks ---- */

/* What the table said: "REJECT 5.7.1 text". Answers where the unit goes. */
static enum stage judge(struct content_edit *e, const char *where, const char *value)
{
    struct slice rest = slice_str(value), word = slice_token(&rest, " \t\r\n"), text = slice_trim(rest);
    enum content_action action = CONTENT_BAD;
    struct buf said = {0};

    if (slice_ieq(word, SLICE_LIT("DUNNO")) || slice_ieq(word, SLICE_LIT("OK")))
        return STAGE_ADDRESSES;
    if (slice_ieq(word, SLICE_LIT("IGNORE")))
        return STAGE_DROP;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (slice_ieq(word, slice_str(actions[i].word)))
            action = actions[i].action;
    if (e->config->changes_only && (action < CONTENT_PREPEND || action == CONTENT_PASS))
        action = CONTENT_BAD;
    buf_add_slice(&said, action == CONTENT_BAD ? slice_str(value) : text);
    e->events->action(e->arg, action, where, text_of(&e->unit), buf_cstr(&said));
    if (action == CONTENT_PREPEND) {
        buf_add_slice(&e->out, text);
        buf_add_char(&e->out, '\n');
    } else if (action == CONTENT_REPLACE) {
        buf_clear(&e->unit);
        buf_add_slice(&e->unit, text);
    }
    buf_release(&said);
    e->checks = e->checks && action != CONTENT_REJECT && action != CONTENT_DISCARD && action != CONTENT_PASS;
    return action == CONTENT_STRIP ? STAGE_DROP : STAGE_ADDRESSES;
}

static void on_checked(void *owner, enum op_status status, const void *result)
{
    struct content_edit *e = owner;
    const struct table_answer *answer = result;
    const char *where;

    if (status == OP_OK) {
        maps_for(e, &where);
        go_on(e, judge(e, where, answer->value));
    } else if (status == OP_NOTFOUND) {
        go_on(e, STAGE_ADDRESSES);
    } else {
        give_up(e, answer != NULL ? answer->why : NULL);
    }
}

static enum stage check(struct content_edit *e)
{
    const char *where;
    const struct maps *maps = maps_for(e, &where);
    struct slice key = text_of(&e->unit);
    bool look = e->checks && !none(maps) && key.n > 0;

    if (!in_header(e)) {
        look = look && e->body_seen < e->config->body_checks_size_limit;
        e->body_seen += key.n + 1;
        key = slice_head(key, e->config->line_length_limit);
    }
    if (!look)
        return STAGE_ADDRESSES;
    e->busy = true;
    maps_find(maps, &e->scope, key, on_checked, e);
    return STAGE_CHECK;
}

/* ---- addresses ---- */

static struct slice written_address(const struct content_edit *e)
{
    return slice_make(buf_slice(&e->unit).p + e->value_at + e->addr.start, e->addr.end - e->addr.start);
}

static void on_rewritten(void *owner, enum op_status status, const void *result)
{
    struct content_edit *e = owner;
    struct buf old = {0};

    if (status != OP_OK) {
        give_up(e, result != NULL ? ((const struct table_answer *)result)->why : NULL);
        return;
    }
    header_addr_internal(&old, written_address(e));
    if (strcmp(buf_cstr(&old), result) != 0) {
        struct slice unit = buf_slice(&e->unit);

        buf_add(&e->rewritten, unit.p + e->copied, e->value_at + e->addr.start - e->copied);
        addr_quote(&e->rewritten, slice_str(result));
        e->copied = e->value_at + e->addr.end;
    }
    buf_release(&old);
    go_on(e, STAGE_ADDRESSES);
}

/* Does the unit have addresses that may be changed? Sets where they begin. */
static bool seek_addresses(struct content_edit *e)
{
    struct slice unit = text_of(&e->unit);
    size_t colon = slice_find(unit, ':');
    enum header_addr_kind kind;

    if (e->config->rewrite == NULL || e->where != MIME_PRIMARY_HEADER || e->more || colon == SLICE_NOT_FOUND)
        return false;
    kind = header_addr_kind(slice_trim(slice_head(unit, colon)));
    e->sender = kind == HEADER_ADDR_SENDER;
    e->value_at = colon + 1;
    e->addr_at = e->copied = 0;
    return kind != HEADER_ADDR_NONE;
}

static void put_rewritten(struct content_edit *e)
{
    struct slice unit = text_of(&e->unit);

    if (e->copied == 0)
        return;
    buf_add(&e->rewritten, unit.p + e->copied, unit.n - e->copied);
    buf_release(&e->unit);
    e->unit = e->rewritten;
    e->rewritten = (struct buf){0};
}

static enum stage addresses(struct content_edit *e)
{
    struct buf address = {0};

    if (!e->seeking && !seek_addresses(e))
        return STAGE_KEEP;
    e->seeking = true;
    while (header_addr_next(slice_from(buf_slice(&e->unit), e->value_at), &e->addr_at, &e->addr)) {
        header_addr_internal(&address, written_address(e));
        if (buf_len(&address) == 0 ||
            (e->config->leaves != NULL && e->config->leaves(e->arg, buf_cstr(&address), e->sender))) {
            buf_clear(&address);
            continue;
        }
        e->busy = true;
        e->config->rewrite(e->arg, &e->scope, buf_cstr(&address), e->sender, on_rewritten, e);
        buf_release(&address);
        return STAGE_ADDRESSES;
    }
    buf_release(&address);
    e->seeking = false;
    put_rewritten(e);
    return STAGE_KEEP;
}

/* ---- a unit's way out ---- */

static void put(struct content_edit *e, struct slice text, bool newline, enum fate fate)
{
    if (fate == FATE_DROP)
        return;
    buf_add_slice(&e->out, text);
    if (newline)
        buf_add_char(&e->out, '\n');
}

static enum stage unit_over(struct content_edit *e, enum fate fate)
{
    put(e, text_of(&e->unit), e->newline, fate);
    e->fate = e->more ? fate : FATE_NONE;
    buf_release(&e->unit);
    return STAGE_READ;
}

/* ---- content into units ---- */

static void enter(struct content_edit *e, enum mime_where where)
{
    if (where == MIME_BOUNDARY || where == MIME_END_OF_HEADER)
        e->body_seen = 0;
    e->where = where;
    e->fate = FATE_NONE;
    if (where >= MIME_END_OF_HEADER && !looks_inside(e->config))
        e->through = true;
}

/* The unit is as complete as it is waited for: it goes its way. */
static void unit_ready(struct content_edit *e, bool newline, bool more)
{
    e->newline = newline;
    e->more = more;
    if (in_header(e))
        mime_scan_header(&e->mime, text_of(&e->unit));
    e->stage = STAGE_CHECK;
}

/* A line of a header; one that is longer than is waited for is judged by its beginning. */
static void header_line(struct content_edit *e, struct slice line, bool complete)
{
    if (buf_len(&e->unit) > 0)
        buf_add_char(&e->unit, '\n');
    buf_add_slice(&e->unit, line);
    if (!complete || buf_len(&e->unit) >= e->config->header_size_limit)
        unit_ready(e, complete, true);
}

static bool is_continuation(const struct content_edit *e, struct slice line)
{
    return in_header(e) && line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t') &&
           (buf_len(&e->unit) > 0 || e->fate != FATE_NONE);
}

/* A line, or so much of it as there is. False: it stays, since the header before it is complete now. */
static bool take_line(struct content_edit *e, struct slice line, bool complete)
{
    if (is_continuation(e, line)) {
        mime_scan_line(&e->mime, line);
        if (e->fate != FATE_NONE)
            put(e, line, complete, e->fate);
        else
            header_line(e, line, complete);
        return true;
    }
    if (buf_len(&e->unit) > 0) {
        unit_ready(e, true, false);
        return false;
    }
    enter(e, mime_scan_line(&e->mime, line));
    if (in_header(e)) {
        header_line(e, line, complete);
    } else if (e->where == MIME_BODY && !e->through) {
        buf_add_slice(&e->unit, line);
        unit_ready(e, complete, !complete);
    } else {
        e->fate = complete ? FATE_NONE : FATE_KEEP;
        put(e, line, complete, FATE_KEEP);
    }
    return true;
}

/* What follows of a line whose beginning is done. */
static void take_rest(struct content_edit *e, struct slice rest, bool complete)
{
    put(e, rest, complete, e->fate);
    if (complete && !in_header(e))
        e->fate = FATE_NONE;
}

/* One step with what is in `in`; false: more has to come. */
static bool read_more(struct content_edit *e)
{
    struct slice in = text_of(&e->in), line;
    size_t lf = slice_find(in, '\n');
    bool complete = lf != SLICE_NOT_FOUND || (e->ended && !e->mid_line);

    if (in.n == 0) {
        if (!e->ended || buf_len(&e->unit) == 0)
            return false;
        unit_ready(e, true, false);
        return true;
    }
    if (e->through) {
        buf_add_slice(&e->out, in);
        buf_clear(&e->in);
        return true;
    }
    if (!complete && !e->mid_line && in.n < e->config->header_size_limit)
        return false;
    line = slice_head(in, lf);
    if (e->mid_line)
        take_rest(e, line, lf != SLICE_NOT_FOUND);
    else if (!take_line(e, line, complete))
        return true;
    e->mid_line = !complete;
    buf_consume(&e->in, lf != SLICE_NOT_FOUND ? lf + 1 : in.n);
    return true;
}

static void run(struct content_edit *e)
{
    while (!e->busy && !e->failed)
        switch (e->stage) {
        case STAGE_READ:
            if (!read_more(e))
                return;
            break;
        case STAGE_CHECK: e->stage = check(e); break;
        case STAGE_ADDRESSES: e->stage = addresses(e); break;
        case STAGE_KEEP: e->stage = unit_over(e, FATE_KEEP); break;
        case STAGE_DROP: e->stage = unit_over(e, FATE_DROP); break;
        }
}

/* ---- the caller's side ---- */

struct content_edit *content_edit_new(const struct content_edit_config *config,
                                      const struct content_edit_events *events, void *arg,
                                      const struct op_scope *within)
{
    struct content_edit *e = NEW(struct content_edit);

    e->config = config;
    e->events = events;
    e->arg = arg;
    e->checks = true;
    e->mime.nesting_limit = config->mime_nesting_limit;
    op_scope_init_within(&e->scope, "content", within);
    return e;
}

static bool done(struct content_edit *e)
{
    if (e->busy)
        return false;
    flush(e);
    return true;
}

bool content_edit_feed(struct content_edit *e, struct slice bytes)
{
    MTA_ASSERT(!e->busy && !e->ended);
    if (e->failed)
        return true;
    if (e->through && buf_len(&e->in) == 0) {
        if (bytes.n > 0)
            e->events->write(e->arg, bytes);
        return true;
    }
    buf_add_slice(&e->in, bytes);
    run(e);
    return done(e);
}

bool content_edit_end(struct content_edit *e)
{
    MTA_ASSERT(!e->busy);
    e->ended = true;
    run(e);
    return done(e);
}

bool content_edit_busy(const struct content_edit *e)
{
    return e->busy;
}

void content_edit_free(struct content_edit **ep)
{
    struct content_edit *e = *ep;

    *ep = NULL;
    if (e == NULL)
        return;
    op_scope_close(&e->scope);
    mime_scan_release(&e->mime);
    buf_release(&e->in);
    buf_release(&e->out);
    buf_release(&e->unit);
    buf_release(&e->rewritten);
    mem_free(e);
}
