/*
 * The message as a command or a mailbox gets it: see copy.h. Called by pipe.c and maildir.c for each piece of content;
 * owns nothing and waits on nothing. What the flags mean is said in Postfix's pipe(8); the order of what comes first
 * (From_, Return-Path:, X-Original-To:, Delivered-To:) is Postfix's too. Return-Path: RFC 5321 section 4.4.
 */
#include "delivery/copy.h"

#include "core/base/addr.h"
#include "core/conf/conf.h"

#include <time.h>

static const struct slice from_ = {"From ", 5};

static void add_address(struct buf *out, const char *before, const char *address, const char *after)
{
    buf_add_str(out, before);
    if (address[0] != '\0') /* the null sender is nothing, not an empty local part */
        addr_quote(out, slice_str(address));
    buf_add_str(out, after);
}

static void add_from_line(const struct copy_opts *o, struct buf *out)
{
    time_t now = (time_t)(o->now_us / 1000000);
    char date[40] = "";
    struct tm tm;

    /* asctime's form whatever the locale: this program never sets one */
    if (localtime_r(&now, &tm) != NULL)
        strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", &tm);
    add_address(out, "From ", o->sender[0] != '\0' ? o->sender : "MAILER-DAEMON", "  ");
    buf_add_str(out, date);
    buf_add_slice(out, o->eol);
}

void copy_begin(struct copy *c, const struct copy_opts *o, struct buf *out)
{
    *c = (struct copy){.opts = *o};
    if (o->flags & CONF_PIPE_FLAG_FROM_LINE)
        add_from_line(o, out);
    if (o->flags & CONF_PIPE_FLAG_RETURN_PATH) {
        add_address(out, "Return-Path: <", o->sender, ">");
        buf_add_slice(out, o->eol);
    }
    if (o->flags & CONF_PIPE_FLAG_ORIGINAL_TO && o->original_to != NULL && o->original_to[0] != '\0') {
        add_address(out, "X-Original-To: ", o->original_to, "");
        buf_add_slice(out, o->eol);
    }
    if (o->flags & CONF_PIPE_FLAG_DELIVERED_TO) {
        add_address(out, "Delivered-To: ", o->delivered_to, "");
        buf_add_slice(out, o->eol);
    }
}

/* The line's start was "From " as far as it was held, and then something else, or the rest of it. */
static void let_go(struct copy *c, bool quote, struct buf *out)
{
    if (quote)
        buf_add_char(out, '>');
    buf_add_slice(out, slice_head(from_, c->held));
    c->held = 0;
    c->in_line = true;
}

/* Takes what must be looked at before the line can go on; false when more of the line is needed. */
static bool start_line(struct copy *c, struct slice *in, struct buf *out)
{
    if (c->opts.flags & CONF_PIPE_FLAG_QUOTE_FROM) {
        while (in->n > 0 && c->held < from_.n && in->p[0] == from_.p[c->held]) {
            *in = slice_from(*in, 1);
            c->held++;
        }
        if (c->held == from_.n || (c->held > 0 && in->n > 0)) {
            let_go(c, c->held == from_.n, out);
            return true;
        }
    }
    if (in->n == 0)
        return false;
    if (c->opts.flags & CONF_PIPE_FLAG_DOT && in->p[0] == '.')
        buf_add_char(out, '.');
    c->in_line = true;
    return true;
}

static bool passes_unchanged(const struct copy_opts *o)
{
    return !(o->flags & (CONF_PIPE_FLAG_DOT | CONF_PIPE_FLAG_QUOTE_FROM)) && o->eol.n == 1 && o->eol.p[0] == '\n';
}

void copy_piece(struct copy *c, struct slice in, struct buf *out)
{
    if (in.n > 0 && passes_unchanged(&c->opts)) {
        buf_add_slice(out, in);
        c->in_line = in.p[in.n - 1] != '\n';
        return;
    }
    while (in.n > 0) {
        size_t nl;

        if (!c->in_line && !start_line(c, &in, out))
            return;
        nl = slice_find(in, '\n');
        if (nl == SLICE_NOT_FOUND) {
            buf_add_slice(out, in);
            return;
        }
        buf_add_slice(out, slice_head(in, nl));
        buf_add_slice(out, c->opts.eol);
        c->in_line = false;
        in = slice_from(in, nl + 1);
    }
}

void copy_end(struct copy *c, struct buf *out)
{
    if (c->held > 0)
        let_go(c, false, out);
    if (c->in_line)
        buf_add_slice(out, c->opts.eol);
    if (c->opts.flags & CONF_PIPE_FLAG_BLANK_LINE)
        buf_add_slice(out, c->opts.eol);
    c->in_line = false;
}
